//! Candidates for values: names that the router, the user or this program knows. Whatever fails, there
//! are no candidates.

use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::engine::CompletionCandidate;
use hyper::Method;
use serde_json::Value;

use crate::cli::client::{ApiClient, block_on, path_segment};
use crate::cli::contexts::Contexts;
use crate::cli::server_args::ServerArgs;
use crate::registry::catalog;

/// Longest time for the answer of the router.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Most candidates of the router.
const CANDIDATES_MAX: usize = 500;

/// Returns the subscriptions that begin with a text.
pub(super) fn subscriptions(current: &OsStr) -> Vec<CompletionCandidate> {
    let text = current.to_str().unwrap_or_default();
    let path = match text {
        "" => "/admin/v1/subscriptions?".to_owned(),
        text => format!("/admin/v1/subscriptions?q={}&", path_segment(text)),
    };
    of_router(text, &path, |item| item.get("id")?.as_str())
}

/// Returns the installations that begin with a text.
pub(super) fn installations(current: &OsStr) -> Vec<CompletionCandidate> {
    let text = current.to_str().unwrap_or_default();
    of_router(text, "/admin/v1/installations?", |item| item.get("id")?.as_str())
}

/// Returns the contexts that begin with a text.
pub(super) fn contexts(current: &OsStr) -> Vec<CompletionCandidate> {
    let all = Contexts::open().and_then(|contexts| contexts.all());
    let names = all.into_iter().flatten().map(|context| context.name);
    beginning_with(current.to_str().unwrap_or_default(), names)
}

/// Returns the event types that begin with a text.
pub(super) fn event_types(current: &OsStr) -> Vec<CompletionCandidate> {
    beginning_with(current.to_str().unwrap_or_default(), catalog::names())
}

fn beginning_with(text: &str, names: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    names.filter(|name| name.starts_with(text)).map(CompletionCandidate::new).collect()
}

/// Returns the names in a list of the router. `path` ends with `?` or `&`.
fn of_router(
    text: &str,
    path: &str,
    name: impl Fn(&Value) -> Option<&str>,
) -> Vec<CompletionCandidate> {
    let Ok(client) = server(std::env::args()).client() else { return Vec::new() };
    let listed = block_on(list(client, &format!("{path}limit={CANDIDATES_MAX}")));
    let items = listed.ok().and_then(|mut listed| listed.get_mut("items").map(Value::take));
    let items = items.as_ref().and_then(Value::as_array).into_iter().flatten();
    beginning_with(text, items.filter_map(name).map(str::to_owned))
}

async fn list(client: ApiClient, path: &str) -> anyhow::Result<Value> {
    let answer = client.send(Method::GET, path, &[], &Value::Null);
    tokio::time::timeout(ANSWER_MAX, answer).await?
}

/// Returns the router that the words of a command line mean.
fn server(words: impl Iterator<Item = String>) -> ServerArgs {
    let words: Vec<String> = words.collect();
    let value = |names: [&str; 2]| {
        let with_equals = |word: &String| {
            let (name, value) = word.split_once('=')?;
            names.contains(&name).then(|| value.to_owned())
        };
        let next = || {
            let at = words.iter().rposition(|word| names.contains(&word.as_str()))?;
            words.get(at + 1).cloned()
        };
        words.iter().rev().find_map(with_equals).or_else(next).filter(|value| !value.is_empty())
    };
    ServerArgs {
        server: value(["--server", "-s"]),
        token_file: value(["--token-file", "--token-file"]).map(Into::into),
        context: value(["--context", "--context"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_command_line_say_which_router_is_asked() {
        let words = |line: &str| server(line.split(' ').map(str::to_owned));
        let found = words("x explain -s http://a --context=prod --subscription");
        assert_eq!(found.server.as_deref(), Some("http://a"));
        assert_eq!(found.context.as_deref(), Some("prod"));
        assert!(words("x explain --context").context.is_none());
    }
}
