//! How a connection authenticates: with a `.creds` file, or with the seed of an nkey.

use std::io;

use async_nats::ConnectOptions;

/// First characters of the seed of a user.
const SEED_PREFIX: &str = "SU";

/// Returns `options` with the credentials of a file.
///
/// # Errors
/// The file cannot be read, or has neither a seed nor a token with its seed. The error has no part
/// of the file.
pub(super) async fn with_credentials_file(
    options: ConnectOptions,
    path: &str,
) -> io::Result<ConnectOptions> {
    let text = tokio::fs::read_to_string(path).await?;
    let seed = text.trim();
    if !seed.starts_with(SEED_PREFIX) {
        return options.credentials(&text).map_err(|_| {
            io::Error::other("it is neither a .creds file nor the seed of an nkey (SU...)")
        });
    }
    match nkeys::KeyPair::from_seed(seed) {
        Ok(_) => Ok(options.nkey(seed.to_owned())),
        Err(_) => Err(io::Error::other("the seed of the nkey is damaged")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn opened(text: &str) -> Result<(), String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap();
        let opened = with_credentials_file(ConnectOptions::new(), path).await;
        opened.map(drop).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn file_has_a_seed_or_a_token_with_its_seed() {
        let seed = nkeys::KeyPair::new_user().seed().unwrap();
        let creds = format!(
            "-----BEGIN NATS USER JWT-----\neyJ0.eyJh.c2ln\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        for text in [seed.clone(), format!("{seed}\n"), creds] {
            assert_eq!(opened(&text).await, Ok(()), "{text}");
        }
        for text in ["", "password", &seed[..50]] {
            let error = opened(text).await.unwrap_err();
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
    }
}
