//! Settings of the sites that post webhooks: what authenticates a webhook, set by file or environment.

use toml::{Table, Value};

use super::error::ConfigError;
use super::secret_length;
use super::sections::{IngestConfig, IngestSiteConfig};
use crate::domain::Secret;

/// Most characters of a token in a path.
const TOKEN_CHARS_MAX: usize = 128;

/// Sets `SWITCHYARD_INGEST__<PRODUCT>__<SITE>__<KEY>`, given by its lower-case parts; returns the value if they name a
/// setting of a site.
pub(super) fn set_site(
    table: &mut Table,
    keys: &[&str],
    text: &str,
) -> Result<Option<Value>, String> {
    let ["ingest", product, site, key] = keys else { return Ok(None) };
    let value = match *key {
        "secret" | "token" | "previous_secret" | "previous_token" => Value::String(text.into()),
        "unsigned" => match text.trim().parse() {
            Ok(unsigned) => Value::Boolean(unsigned),
            Err(_) => return Err(format!("`{text}` is not a boolean")),
        },
        _ => return Ok(None),
    };
    let sites = table.get_mut("ingest").and_then(|ingest| ingest.get_mut(*product));
    let Some(sites) = sites.and_then(Value::as_table_mut) else { return Ok(None) };
    let settings = sites.entry((*site).to_owned()).or_insert_with(|| Value::Table(Table::new()));
    if let Some(settings) = settings.as_table_mut() {
        settings.insert((*key).to_owned(), value.clone());
    }
    Ok(Some(value))
}

/// Refuses a site whose webhooks anybody could send, unless its settings say so, and settings that
/// accept nothing.
pub(super) fn check(config: &IngestConfig) -> Result<(), ConfigError> {
    for (product, sites) in config {
        for (site, settings) in sites {
            let path = format!("ingest.{product}.{site}");
            check_site(&path, settings)
                .map_err(|message| ConfigError::invalid("configuration", message))?;
        }
    }
    Ok(())
}

fn check_site(path: &str, settings: &IngestSiteConfig) -> Result<(), String> {
    let IngestSiteConfig { secret, token, previous_secret, previous_token, unsigned } = settings;
    for (key, current, previous) in
        [("secret", secret, previous_secret), ("token", token, previous_token)]
    {
        if previous.is_some() && current.is_none() {
            return Err(format!(
                "`{path}.previous_{key}` is set without `{path}.{key}`; rename it"
            ));
        }
    }
    match (secret, token, unsigned) {
        (None, None, false) => {
            return Err(format!(
                "`{path}` sets nothing, so no webhook of the site would be accepted; set `secret` (webhooks with a signature), `token` (webhooks without one, to /{}/<token>) or `unsigned = true` (everybody may send)",
                path.replace('.', "/")
            ));
        }
        (None, None, true) | (_, _, false) => {}
        (_, _, true) => {
            return Err(format!(
                "`{path}.unsigned` accepts every webhook, so that `secret` and `token` protect nothing; remove either"
            ));
        }
    }
    for (key, secret) in [("secret", secret), ("previous_secret", previous_secret)] {
        if let Some(secret) = secret {
            secret_length::check(&format!("{path}.{key}"), secret)?;
        }
    }
    for (key, token) in [("token", token), ("previous_token", previous_token)] {
        if let Some(token) = token {
            check_token(&format!("{path}.{key}"), token)?;
        }
    }
    Ok(())
}

/// Refuses a token that can be guessed, or that is no part of a path.
fn check_token(path: &str, token: &Secret) -> Result<(), String> {
    secret_length::check(path, token)?;
    let token = token.reveal();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if token.len() > TOKEN_CHARS_MAX || !token.bytes().all(is_plain) {
        return Err(format!(
            "`{path}` is a part of a path; it must be at most {TOKEN_CHARS_MAX} of the characters A-Z, a-z, 0-9, _ and -, such as from `openssl rand -hex 32`"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::sections::Config;

    const LONG: &str = "0123456789abcdef0123456789abcdef";

    fn with(settings: &[(&str, &str)]) -> Result<Config, String> {
        let variable = |(key, value): &(&str, &str)| {
            (format!("SWITCHYARD_INGEST__JIRA__C1__{key}"), (*value).to_owned())
        };
        let variables: Vec<_> = settings.iter().map(variable).collect();
        Config::from_sources(None, variables.into_iter()).map_err(|error| error.to_string())
    }

    fn from_file(text: &str) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let loaded = Config::from_sources(Some(file.path()), std::iter::empty());
        loaded.map_err(|error| error.to_string())
    }

    #[test]
    fn secret_token_and_the_word_unsigned_are_accepted() {
        let config = with(&[("SECRET", LONG), ("TOKEN", LONG)]).unwrap();
        let site = &config.ingest["jira"]["c1"];
        let both =
            [&site.secret, &site.token].map(|secret| secret.as_ref().map(|one| one.reveal()));
        assert_eq!(both, [Some(LONG); 2]);
        assert!(!site.unsigned);
        assert!(with(&[("UNSIGNED", "true")]).unwrap().ingest["jira"]["c1"].unsigned);
        let config = from_file("[ingest.jira.C2]\nunsigned = true\n").unwrap();
        assert!(config.ingest["jira"]["C2"].unsigned);
    }

    #[test]
    fn settings_that_protect_nothing_or_accept_nothing_are_refused() {
        for (settings, reason) in [
            (&[("SECRET", "")][..], "`ingest.jira.c1.secret` is empty"),
            (&[("SECRET", "fifteen letters")], "has 15 characters; it must have at least 32"),
            (&[("TOKEN", "")], "`ingest.jira.c1.token` is empty"),
            (&[("TOKEN", "0123456789abcdef0123456789abcde/")], "is a part of a path"),
            (&[("UNSIGNED", "false")], "sets nothing"),
            (&[("UNSIGNED", "true"), ("SECRET", LONG)], "protect nothing"),
            (&[("UNSIGNED", "perhaps")], "`perhaps` is not a boolean"),
        ] {
            let found = with(settings).unwrap_err();
            assert!(found.contains(reason), "{settings:?}: {found}");
            assert!(!found.contains("fifteen"), "an error shows no secret: {found}");
        }
        assert!(from_file("[ingest.jira.c1]\n").unwrap_err().contains("sets nothing"));
        assert!(from_file("[ingest.jira.c1]\nsecret = \"\"\n").unwrap_err().contains("is empty"));
        assert!(from_file("[ingest.jira.c1]\nsecrets = \"\"\n").is_err());
    }
}
