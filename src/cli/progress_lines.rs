//! Answers that come as lines of progress with the result as the last line.

use std::io::{IsTerminal, Write};

use serde_json::Value;

use super::client::{ApiClient, ErrorStatus};

/// Requests `path`, with a body if there is one, and returns the member `name` of the last line. On a terminal, shows on standard error
/// what `describe` makes of each line of progress.
///
/// # Errors
/// The router does not answer, rejects the request, or ends its answer early.
pub(super) async fn fetch(
    client: &ApiClient,
    (path, body): (&str, Option<&Value>),
    name: &str,
    describe: impl Fn(&Value) -> String,
) -> anyhow::Result<Value> {
    let (mut result, mut refused) = (Value::Null, None);
    let is_shown = std::io::stderr().is_terminal();
    let read = client
        .lines(path, body, |mut line| {
            if let Some(progress) = line.get("progress").filter(|_| is_shown) {
                show(&describe(progress));
            }
            if let Some(found) = line.get_mut(name) {
                result = found.take();
            }
            if let Some(error) = line.get("error") {
                let status = line.get("status").and_then(Value::as_u64);
                let status = status.and_then(|status| u16::try_from(status).ok());
                refused = Some(ErrorStatus::late(status.unwrap_or(500), error));
            }
        })
        .await;
    if is_shown {
        show("");
    }
    read?;
    match (refused, result) {
        (Some(error), _) => Err(error.into()),
        (None, Value::Null) => anyhow::bail!("the router ended its answer early"),
        (None, result) => Ok(result),
    }
}

/// Replaces the line of progress.
fn show(text: &str) {
    let _ = write!(std::io::stderr().lock(), "\r\x1b[K{text}");
}
