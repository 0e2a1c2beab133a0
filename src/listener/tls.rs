//! TLS of the listener, with certificates from files that are loaded again when they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tracing::{error, info};

use super::metrics;

/// Interval at which the files are read.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        cause: std::io::Error,
    },
    /// A file has no certificate or key in PEM.
    #[error("{path} has no {what} in PEM: {reason}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was expected.
        what: &'static str,
        /// The reason of the parser.
        reason: String,
    },
    /// Certificate and key do not belong together, or are of an unsupported kind.
    #[error("{cert} and {key} cannot be used: {cause}")]
    Unusable {
        /// File of the certificates.
        cert: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// The reason of the library.
        cause: rustls::Error,
    },
}

/// The files of a certificate, and what they had when they were read.
#[derive(Debug)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

/// Text of both files.
type Contents = (Vec<u8>, Vec<u8>);

/// The certificate that new connections get.
#[derive(Debug)]
pub(super) struct Tls {
    files: Files,
    current: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Loads the certificates (the router's own first) and their key; returns also what was read.
    pub(super) async fn load(cert: &Path, key: &Path) -> Result<(Self, LoadedFiles), TlsError> {
        let files = Files { cert: cert.to_owned(), key: key.to_owned() };
        let contents = files.read().await?;
        let current = ArcSwap::new(files.parse(&contents)?);
        Ok((Self { files, current }, LoadedFiles(contents)))
    }

    /// Returns what accepts a connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Loads the files again whenever they change, until the future is dropped. Files that cannot be used
    /// change nothing: a key is often written after its certificate.
    pub(super) async fn reload_on_change(&self, loaded: LoadedFiles) {
        let LoadedFiles(mut known) = loaded;
        loop {
            sleep(CHECK_INTERVAL).await;
            let read = self.files.read().await;
            if read.as_ref().is_ok_and(|contents| *contents == known) {
                continue;
            }
            let parsed = read.and_then(|contents| Ok((self.files.parse(&contents)?, contents)));
            match parsed {
                Ok((config, contents)) => {
                    self.current.store(config);
                    known = contents;
                    metrics::certificate_loaded("ok");
                    info!(file = %self.files.cert.display(), "certificate loaded");
                }
                Err(error) => {
                    metrics::certificate_loaded("failed");
                    error!(%error, "certificate not loaded; the one before is used");
                }
            }
        }
    }
}

/// What the files had when they were loaded.
pub(super) struct LoadedFiles(Contents);

impl Files {
    async fn read(&self) -> Result<Contents, TlsError> {
        let read = async |path: &Path| {
            let read = tokio::fs::read(path).await;
            read.map_err(|cause| TlsError::Read { path: path.to_owned(), cause })
        };
        Ok((read(&self.cert).await?, read(&self.key).await?))
    }

    fn parse(&self, (cert, key): &Contents) -> Result<Arc<ServerConfig>, TlsError> {
        let pem = |path: &Path, what, reason: String| TlsError::Pem {
            path: path.to_owned(),
            what,
            reason,
        };
        let certificates = CertificateDer::pem_slice_iter(cert).collect::<Result<Vec<_>, _>>();
        let certificates =
            certificates.map_err(|error| pem(&self.cert, "certificate", error.to_string()))?;
        if certificates.is_empty() {
            return Err(pem(&self.cert, "certificate", "there is none".into()));
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| pem(&self.key, "private key", error.to_string()))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(certificates, key));
        let mut config = config.map_err(|cause| TlsError::Unusable {
            cert: self.cert.clone(),
            key: self.key.clone(),
            cause,
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
