//! Reads of the environment other than settings: the token of commands, variables of manifests, paths
//! and environment of `nats-server`.

use std::ffi::OsString;
use std::path::PathBuf;

/// Variables that a `nats-server` may use: to find programs and folders, and the settings of the Go
/// runtime. All others, such as the secrets of this process, are kept from it.
const BROKER_VARIABLES: [&str; 7] =
    ["PATH", "HOME", "TMPDIR", "TZ", "GOMAXPROCS", "GOMEMLIMIT", "GOGC"];

/// Returns the admin token for commands that call a router: `SWITCHYARD_TOKEN`, else
/// `SWITCHYARD_ADMIN_TOKEN`.
#[must_use]
pub fn client_token() -> Option<String> {
    let text = |name| std::env::var_os(name)?.into_string().ok();
    let named = |name| text(name).filter(|token: &String| !token.is_empty());
    named("SWITCHYARD_TOKEN").or_else(|| named("SWITCHYARD_ADMIN_TOKEN"))
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
