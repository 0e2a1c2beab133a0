//! Forms: search, fields, and buttons that say their effect.

use maud::{Markup, html};

use crate::console::visitor::Visitor;

/// Shows a search form that keeps its state in the URL.
pub(in crate::console) fn search_form(path: &str, fields: &[Markup]) -> Markup {
    html! {
        form.filters action=(path) method="get" {
            @for field in fields { (field) }
            div.field { div.actions { button.main { "Show" } a.button href=(path) { "Clear" } } }
        }
    }
}

/// Shows a field for a text.
pub(in crate::console) fn field(name: &str, label: &str, value: &str, example: &str) -> Markup {
    let id = format!("field-{name}");
    html! {
        div.field.wide {
            label for=(id) { (label) }
            input id=(id) name=(name) value=(value) placeholder=(example) autocomplete="off" spellcheck="false";
        }
    }
}

/// Shows a choice; each option is a value with its label.
pub(in crate::console) fn select(
    name: &str,
    label: &str,
    value: &str,
    options: &[(&str, &str)],
) -> Markup {
    let id = format!("field-{name}");
    html! {
        div.field {
            label for=(id) { (label) }
            select id=(id) name=(name) { @for (option, shown) in options {
                option value=(option) selected[*option == value] { (shown) }
            } }
        }
    }
}

/// Shows a checkbox whose value is `true`.
pub(in crate::console) fn check(name: &str, label: &str, is_checked: bool) -> Markup {
    let id = format!("field-{name}");
    html! {
        div.field { div.check {
            input type="checkbox" id=(id) name=(name) value="true" checked[is_checked];
            label for=(id) { (label) }
        } }
    }
}

/// A button that changes something.
pub(in crate::console) struct Action<'a> {
    /// Where it is posted.
    pub(in crate::console) path: String,
    /// What it does, with the count if it does it to several.
    pub(in crate::console) label: &'a str,
    /// What follows, such as that waiting deliveries are kept.
    pub(in crate::console) effect: &'a str,
    pub(in crate::console) is_dangerous: bool,
    /// Names and values that are posted.
    pub(in crate::console) values: Vec<(&'a str, String)>,
}

impl Action<'_> {
    /// Shows the button with its effect.
    pub(in crate::console) fn show(&self, visitor: &Visitor) -> Markup {
        html! {
            form.actions action=(self.path) method="post" {
                (visitor.csrf_field())
                @for (name, value) in &self.values { input type="hidden" name=(name) value=(value); }
                button.danger[self.is_dangerous] { (self.label) }
                @if !self.effect.is_empty() { span.hint { (self.effect) } }
            }
        }
    }
}

/// Periods that can be asked for.
pub(in crate::console) const PERIODS: [(&str, &str); 5] = [
    ("5m", "5 minutes"),
    ("15m", "15 minutes"),
    ("1h", "1 hour"),
    ("24h", "1 day"),
    ("72h", "3 days"),
];
