//! Sets up the logs of the process.

use std::fmt::{self, Debug};
use std::io::{self, IsTerminal};

use anyhow::Context;
use tracing::field::Field;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{self, Writer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::escape::Escaped;

/// Sends logs to stderr, as `json` (one object a line) or `text`. Whatever the filter says, libraries
/// log no bodies: see [`shows_no_secret`].
///
/// # Errors
/// The format is unknown or the filter is invalid.
pub fn install_logs(format: &str, filter: &str) -> anyhow::Result<()> {
    let filter = check_settings(format, filter)?;
    let installed = match format {
        "json" => {
            let logs = tracing_subscriber::fmt().with_env_filter(filter);
            let logs = logs.with_writer(|| EscapedStderr).json().flatten_event(true);
            logs.finish().with(filter_fn(shows_no_secret)).try_init()
        }
        _ => {
            let is_terminal = io::stderr().is_terminal();
            text_logs(filter, is_terminal, io::stderr).try_init()
        }
    };
    installed.map_err(|error| anyhow::anyhow!("logs are set up already: {error}"))
}

/// Returns the filter, if the settings can be used.
///
/// # Errors
/// As [`install_logs`].
pub fn check_settings(format: &str, filter: &str) -> anyhow::Result<EnvFilter> {
    if !["json", "text"].contains(&format) {
        anyhow::bail!("log.format = {format:?}: expected `text` or `json`");
    }
    EnvFilter::try_new(filter).with_context(|| {
        format!("log.filter = {filter:?}: expected a level such as `info`, or `target=level` after commas")
    })
}

/// Returns logs as text, in which the values of all fields are escaped: strangers choose some of them.
fn text_logs<W>(
    filter: EnvFilter,
    has_colors: bool,
    to: W,
) -> impl Subscriber + Send + Sync + 'static
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(has_colors)
        .with_writer(to)
        .fmt_fields(format::debug_fn(write_field).delimited(" "))
        .finish()
        .with(filter_fn(shows_no_secret))
}

/// Whether events of a place in the code show no secret. Below `info`, the client of the broker logs
/// requests and messages, so documents of the registry; below `debug`, other libraries log what they
/// send. The code of this crate shows no secret at any level.
fn shows_no_secret(metadata: &Metadata<'_>) -> bool {
    let crate_name = metadata.target().split(':').next().unwrap_or_default();
    let most = match crate_name {
        "switchyard" | "switchyard_expr" => Level::TRACE,
        "async_nats" | "nkeys" => Level::INFO,
        _ => Level::DEBUG,
    };
    *metadata.level() <= most
}

/// Standard error for lines of JSON, in which harmful characters are escaped, too: people read them on
/// terminals. A line is written at once.
#[derive(Debug)]
struct EscapedStderr;

impl io::Write for EscapedStderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        io::stderr().lock().write_all(Escaped::lines(&text).to_string().as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn write_field(to: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    let text = format!("{value:?}");
    if field.name() == "message" {
        write!(to, "{}", Escaped::line(&text))
    } else {
        write!(to, "{}={}", field.name(), Escaped::line(&text))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn text_that_strangers_choose_forges_no_line_and_no_command() {
        let lines = Lines::default();
        let to = lines.clone();
        let logs = text_logs(EnvFilter::new("info"), true, move || to.clone());
        let name = "x\n2026-01-01T00:00:00Z ERROR forged\x1b[2J\u{202e}";
        tracing::subscriber::with_default(logs, || {
            let error = io::Error::other(name);
            tracing::info!(site = %name, key = name, %error, reason = ?name, count = 7, "refused {name}");
            tracing::info_span!("work", app = %name).in_scope(|| tracing::info!("done"));
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        let harmful = |char: char| char.is_control() || char == '\u{202e}';
        // The colors of the formatter itself are the only commands.
        let without_colors = text.split('\x1b').map(|part| match part.split_once('m') {
            Some((color, rest)) if color.starts_with('[') => rest,
            _ => part,
        });
        let shown: String = without_colors.collect();
        assert!(!shown.replace('\n', "").contains(harmful), "{shown:?}");
        assert!(!shown.contains("[2J") || shown.contains(r"\u001b[2J"), "{shown:?}");
        assert!(shown.contains("count=7") && shown.contains(r"site=x\u000a2026"), "{shown}");
    }
}
