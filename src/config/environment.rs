//! Reads of the environment other than settings: which router commands call, folders of the user,
//! variables of manifests, paths and environment of `nats-server`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::domain::Secret;

/// Variables that a `nats-server` may use: to find programs and folders, and the settings of the Go
/// runtime. All others, such as the secrets of this process, are kept from it.
const BROKER_VARIABLES: [&str; 7] =
    ["PATH", "HOME", "TMPDIR", "TZ", "GOMAXPROCS", "GOMEMLIMIT", "GOGC"];

/// Which router commands call, as the environment says.
#[derive(Clone, Debug, Default)]
pub struct ClientEnvironment {
    /// `SWITCHYARD_SERVER`.
    pub server: Option<String>,
    /// `SWITCHYARD_CONTEXT`.
    pub context: Option<String>,
    /// `SWITCHYARD_TOKEN_FILE`.
    pub token_file: Option<PathBuf>,
    /// `SWITCHYARD_TOKEN`, else `SWITCHYARD_ADMIN_TOKEN`.
    pub token: Option<Secret>,
}

/// Returns which router commands call, as the environment says. An empty variable counts as unset.
#[must_use]
pub fn client_environment() -> ClientEnvironment {
    let named = |name| {
        let text = std::env::var_os(name)?.into_string().ok();
        text.filter(|text: &String| !text.is_empty())
    };
    let token = named("SWITCHYARD_TOKEN").or_else(|| named("SWITCHYARD_ADMIN_TOKEN"));
    ClientEnvironment {
        server: named("SWITCHYARD_SERVER"),
        context: named("SWITCHYARD_CONTEXT"),
        token_file: named("SWITCHYARD_TOKEN_FILE").map(PathBuf::from),
        token: token.map(Secret::new),
    }
}

/// Returns the secret of `SWITCHYARD_VERIFY_SECRET`, which `verify` checks signatures with.
#[must_use]
pub fn verify_secret() -> Option<Secret> {
    let text = std::env::var_os("SWITCHYARD_VERIFY_SECRET")?.into_string().ok();
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).map(Secret::new)
}

/// Returns the folder of the user's settings: `$XDG_CONFIG_HOME/switchyard`, else
/// `~/.config/switchyard`; none without a home.
#[must_use]
pub fn user_config_dir() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let config = folder("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
    let config = config.or_else(|| folder("HOME").map(|home| home.join(".config")));
    config.map(|config| config.join("switchyard"))
}

/// Whether a folder is one of those where the shell finds programs.
#[must_use]
pub fn is_on_path(folder: &Path) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|one| one == folder)
}

/// Returns a variable that a checked manifest declares.
#[must_use]
pub fn manifest_variable(name: &str) -> Option<String> {
    std::env::var_os(name)?.into_string().ok()
}

/// Returns paths of `nats-server` in order of preference: `NATS_SERVER`, the folders of `PATH`,
/// `.tools/nats/bin`. They need not exist.
#[must_use]
pub fn nats_server_candidates() -> Vec<PathBuf> {
    let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("nats-server"));
    let own = PathBuf::from(".tools/nats/bin/nats-server");
    named.into_iter().chain(on_path).chain([own]).collect()
}

/// Returns the environment for a managed `nats-server`: a few variables of this process that have no
/// secrets.
#[must_use]
pub fn broker_environment() -> Vec<(&'static str, OsString)> {
    let value = |name| Some((name, std::env::var_os(name)?));
    BROKER_VARIABLES.into_iter().filter_map(value).collect()
}
