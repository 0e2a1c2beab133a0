//! URL of a webhook: variables of the event, and the part of the path that tokens cover.

use url::Url;

use crate::domain::WebhookHandler;
use crate::event::members::Members;
use crate::jwt::qsh;

/// Variables of a webhook URL.
const VARIABLES: &[&str] = &[
    "issue.id",
    "issue.key",
    "project.id",
    "project.key",
    "sprint.id",
    "board.id",
    "version.id",
    "mergedVersion.id",
];

/// Returns the URL with its variables replaced; a variable without a value becomes empty.
pub(super) fn resolve(webhook: &WebhookHandler, event: &Members<'_>) -> String {
    replaced(webhook, |name| value_of(name, event).unwrap_or_default())
}

/// Whether `url`, the resolved URL, is where the app's template points: at the same origin, with as
/// many path segments, and below the base URL if the template is relative to it.
///
/// A value that completes the template to `..` would otherwise reach the path of another app on the
/// same host, since a parsed URL has no dot segments left.
pub(super) fn is_within_template(webhook: &WebhookHandler, url: &Url) -> bool {
    let segments = |url: &Url| url.path().split('/').count();
    let with_plain_values = Url::parse(&replaced(webhook, |_| "0".to_owned()));
    let keeps_shape = with_plain_values
        .is_ok_and(|plain| plain.origin() == url.origin() && segments(&plain) == segments(url));
    let is_absolute = webhook.dynamic.is_some();
    keeps_shape && (is_absolute || is_below(&webhook.base, url))
}

fn is_below(base: &Url, url: &Url) -> bool {
    let rest = url.path().strip_prefix(base.path().trim_end_matches('/'));
    url.origin() == base.origin()
        && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn replaced(webhook: &WebhookHandler, value: impl Fn(&str) -> String) -> String {
    let mut text = String::new();
    if webhook.dynamic.is_none() {
        text.push_str(webhook.base.as_str().trim_end_matches('/'));
        text.push('/');
    }
    let mut rest = match webhook.dynamic {
        None => webhook.address.trim_start_matches('/'),
        Some(_) => &webhook.address,
    };
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let variable = after.split_once('}').filter(|(name, _)| VARIABLES.contains(name));
        rest = match variable {
            Some((name, after)) => {
                text.push_str(&qsh::encode(&value(name)));
                after
            }
            None => {
                text.push('{');
                after
            }
        };
    }
    text.push_str(rest);
    text
}

/// A project is a top-level member of its own events, and a field of the issue in others.
fn value_of(variable: &str, event: &Members<'_>) -> Option<String> {
    let (holder, name) = variable.split_once('.')?;
    let at_top = event.object(holder).and_then(|found| found.id(name));
    let value =
        at_top.or_else(|| event.object("issue")?.object("fields")?.object(holder)?.id(name))?;
    // Dots alone would leave the path, percent-encoded or not.
    Some(value).filter(|value| !value.bytes().all(|byte| byte == b'.'))
}

/// Returns the path below the app's base URL, as the app sees its requests.
pub(super) fn covered_path<'u>(base: &Url, url: &'u Url) -> &'u str {
    url.path().strip_prefix(base.path().trim_end_matches('/')).unwrap_or(url.path())
}
