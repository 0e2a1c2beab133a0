//! Figures, shares and the values that decided.

use maud::{Markup, html};
use serde_json::Value;

/// Shows a number with its name, and what it counts.
pub(in crate::console) fn figure(name: &str, value: &str, note: &str) -> Markup {
    html! { div.figure { span.name { (name) } span.value { (value) } small.quiet { (note) } } }
}

/// Returns the share of attempts that succeeded.
pub(in crate::console) fn success(delivered: u64, failed: u64) -> String {
    match delivered + failed {
        0 => "–".to_owned(),
        all => format!("{} %", delivered * 100 / all),
    }
}

/// Shows the values that decided.
pub(in crate::console) fn values(found: &Value) -> Markup {
    let members = found.as_object();
    html! {
        @if let Some(members) = members { @if !members.is_empty() {
            dl.facts { @for (name, value) in members { dt { code { (name) } } dd { code { (value) } } } }
        } }
    }
}
