//! Reads the tokens of operators, and reads their file again when it changes.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail, ensure};
use metrics::counter;

use crate::api::{AdminTokens, parse_token_file};
use crate::config::Config;
use crate::domain::{SECRET_CHARS_MIN, Secret};

/// Interval at which the file is looked at.
const INTERVAL: Duration = Duration::from_secs(2);
/// Maximum size of the file.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// How to make a token.
const ADVICE: &str = "`openssl rand -hex 32` makes one";

/// Returns the tokens of the configuration and of its file.
///
/// # Errors
/// There is no token, the file cannot be used, or a token has fewer than 32 characters and the
/// listener is not on loopback. The message has no part of a token.
pub fn admin_tokens(config: &Config) -> anyhow::Result<AdminTokens> {
    let admin = &config.admin;
    if admin.token.is_empty() && admin.token_file.is_empty() {
        bail!(
            "no operator token: set SWITCHYARD_ADMIN_TOKEN, or admin.token_file in the \
             configuration, to at least {SECRET_CHARS_MIN} random characters ({ADVICE}); \
             `switchyard dev` generates one"
        );
    }
    let policy = TokenPolicy::of(config);
    if !admin.token.is_empty() {
        policy.check(&admin.token, "the operator token (SWITCHYARD_ADMIN_TOKEN or admin.token)")?;
    }
    let of_file = match admin.token_file.as_str() {
        "" => Vec::new(),
        file => policy.read(Path::new(file))?,
    };
    Ok(AdminTokens::new(admin.token.clone(), of_file))
}

/// Which tokens are accepted.
#[derive(Clone, Copy, Debug)]
struct TokenPolicy {
    /// Whether other machines reach the listener: only then a short token is refused, on loopback
    /// it is a warning.
    is_exposed: bool,
}

impl TokenPolicy {
    fn of(config: &Config) -> Self {
        let listen = &config.server.listen;
        let is_local = match listen.parse::<std::net::SocketAddr>() {
            Ok(address) => address.ip().is_loopback(),
            Err(_) => listen.rsplit_once(':').is_some_and(|(host, _)| host == "localhost"),
        };
        Self { is_exposed: !is_local }
    }

    fn check(self, token: &Secret, name: &str) -> anyhow::Result<()> {
        if token.is_short() {
            let text = format!(
                "{name} has {} characters; it needs at least {SECRET_CHARS_MIN} random ones ({ADVICE})",
                token.chars()
            );
            ensure!(!self.is_exposed, text);
            tracing::warn!("{text}; it is accepted because the listener is on loopback");
        }
        Ok(())
    }

    fn read(self, file: &Path) -> anyhow::Result<Vec<Secret>> {
        let name = file.display();
        let size = std::fs::metadata(file).with_context(|| format!("admin.token_file {name}"))?;
        ensure!(
            size.len() <= FILE_BYTES_MAX,
            "admin.token_file {name} is larger than {FILE_BYTES_MAX} bytes"
        );
        let text =
            std::fs::read_to_string(file).with_context(|| format!("admin.token_file {name}"))?;
        let tokens = parse_token_file(&text)
            .map_err(|reason| anyhow::anyhow!("admin.token_file {name}: {reason}"))?;
        for (index, token) in tokens.iter().enumerate() {
            self.check(token, &format!("token {} of {name}", index + 1))?;
        }
        Ok(tokens)
    }
}

/// Reads the file of tokens again whenever it changes, until the future is dropped. A file that
/// cannot be used changes nothing.
pub(super) async fn follow_token_file(config: &Config, tokens: AdminTokens) {
    let (policy, file) = (TokenPolicy::of(config), PathBuf::from(&config.admin.token_file));
    let mut seen = stamp(&file);
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = stamp(&file);
        if now == seen {
            continue;
        }
        seen = now;
        let path = file.clone();
        let read = tokio::task::spawn_blocking(move || policy.read(&path)).await;
        let (result, count) = match read.map_err(anyhow::Error::from).flatten() {
            Ok(of_file) => {
                let count = of_file.len();
                tokens.replace(of_file);
                ("ok", count)
            }
            Err(error) => {
                tracing::error!("operator tokens not read again, the known ones stay: {error:#}");
                ("error", 0)
            }
        };
        counter!("switchyard_config_reloads_total", "result" => result).increment(1);
        if result == "ok" {
            tracing::info!(tokens = count, file = %file.display(), "operator tokens read again");
        }
    }
}

/// What changes with the file, also when it is replaced by another one with the same time.
fn stamp(file: &Path) -> Option<(SystemTime, u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(file).ok()?;
    Some((found.modified().ok()?, found.len(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "0123456789abcdef0123456789abcdef";

    fn config(listen: &str, token: &str, file: &str) -> Config {
        let mut config = Config::defaults().unwrap();
        listen.clone_into(&mut config.server.listen);
        config.admin.token = Secret::new(token);
        file.clone_into(&mut config.admin.token_file);
        config
    }

    fn refused(listen: &str, token: &str, file: &str) -> String {
        format!("{:#}", admin_tokens(&config(listen, token, file)).unwrap_err())
    }

    #[test]
    fn short_token_is_refused_where_others_reach_the_listener() {
        for listen in ["0.0.0.0:8089", "[::]:0", "10.0.0.1:1", "router:80"] {
            let error = refused(listen, "short-and-secret", "");
            assert!(
                error.contains("has 16 characters") && error.contains("openssl rand"),
                "{error}"
            );
            assert!(!error.contains("short-and-secret"), "{error}");
            assert!(admin_tokens(&config(listen, LONG, "")).is_ok());
        }
        for listen in ["127.0.0.1:0", "[::1]:1", "localhost:80"] {
            assert!(admin_tokens(&config(listen, "short", "")).is_ok(), "{listen}");
        }
    }

    #[test]
    fn missing_token_and_unusable_file_are_named() {
        assert!(refused("127.0.0.1:0", "", "").contains("openssl rand -hex 32"));
        assert!(refused("127.0.0.1:0", "", "/nowhere/tokens").contains("/nowhere/tokens"));
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        assert!(refused("0.0.0.0:0", LONG, path).contains("no token"));
        std::fs::write(file.path(), format!("{LONG}\nshort")).unwrap();
        let error = refused("0.0.0.0:0", "", path);
        assert!(error.contains("token 2 of") && !error.contains(LONG), "{error}");
        std::fs::write(file.path(), format!("{LONG}\n")).unwrap();
        let tokens = admin_tokens(&config("0.0.0.0:0", "", path)).unwrap();
        assert!(tokens.accepts(LONG) && !tokens.accepts(""));
    }

    #[tokio::test(start_paused = true)]
    async fn changed_file_replaces_its_tokens_and_a_bad_one_changes_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let token = |number: u32| format!("{LONG}-{number}");
        std::fs::write(file.path(), token(1)).unwrap();
        let config = config("0.0.0.0:0", "", file.path().to_str().unwrap());
        let tokens = admin_tokens(&config).unwrap();
        let follower = tokens.clone();
        let following = tokio::spawn(async move { follow_token_file(&config, follower).await });
        tokio::time::sleep(INTERVAL / 2).await;
        std::fs::write(file.path(), format!("{}\n{}", token(2), token(3))).unwrap();
        tokio::time::sleep(INTERVAL * 3).await;
        assert!(
            tokens.accepts(&token(2)) && tokens.accepts(&token(3)) && !tokens.accepts(&token(1))
        );
        std::fs::write(file.path(), "short").unwrap();
        tokio::time::sleep(INTERVAL * 3).await;
        assert!(tokens.accepts(&token(2)), "a bad file changes nothing");
        following.abort();
    }
}
