//! Operator commands on installations and OAuth clients.

use std::sync::Arc;

use serde::Deserialize;
use tracing::info;

use crate::clock;
use crate::domain::{AppId, CloudId, InstallationId, Product, Secret};
use crate::registry::commands::connect_lifecycle::needs_acceptance;
use crate::registry::compile::applied::AppliedApp;
use crate::registry::credentials;
use crate::registry::model::document::{
    AppKind, ClientRecord, FORMAT, InstallationRecord, InstallationState,
};
use crate::registry::model::problem::{Problem, code};
use crate::registry::model::replay_guard::ReplayGuard;
use crate::registry::registry::{Mutation, RegisterError, Registry};

/// Attempts to install while concurrent installs change the same record.
const INSTALLS_MAX: usize = 4;

/// An installation as an operator submits it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstallationSpec {
    app: AppId,
    cloud_id: CloudId,
    product: Product,
    client_key: Option<String>,
    shared_secret: Option<String>,
    #[serde(default = "licensed")]
    licensed: bool,
    #[serde(default = "production")]
    environment: String,
    #[serde(default)]
    state: InstallationState,
    app_account_id: Option<String>,
}

/// An OAuth client as an operator submits it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSpec {
    token: String,
    user: String,
    installation: InstallationId,
}

fn licensed() -> bool {
    true
}

fn production() -> String {
    "PRODUCTION".into()
}

/// Result of [`Registry::put_installation`].
#[derive(Clone, Debug)]
pub struct InstallationPut {
    /// Whether the installation did not exist before.
    pub created: bool,
    /// Bearer token of a new Forge installation; it is shown only once.
    pub token: Option<String>,
}

impl Registry {
    /// Provisions an installation or changes one; its modules stay.
    ///
    /// The secret that an app accepted last is the stored one, also for concurrent installs: a call
    /// that lost the race calls the app again.
    ///
    /// # Errors
    /// The installation is invalid, the app does not exist or does not accept it.
    pub async fn put_installation(
        &self,
        id: &InstallationId,
        spec: InstallationSpec,
    ) -> Result<InstallationPut, RegisterError> {
        let mut was_asked = false;
        for _ in 0..INSTALLS_MAX {
            match self.install(id, spec.clone(), &mut was_asked).await {
                Err(RegisterError::StaleRevision) => self.catch_up().await,
                put => return put,
            }
        }
        Err(RegisterError::Contended)
    }

    /// Makes one attempt. [`RegisterError::StaleRevision`] means that a concurrent call changed the
    /// secret: which of the two the app accepted last is unknown then.
    async fn install(
        &self,
        id: &InstallationId,
        spec: InstallationSpec,
        was_asked: &mut bool,
    ) -> Result<InstallationPut, RegisterError> {
        let app = self.app(spec.app.as_str());
        let app = app.ok_or_else(|| not_provisioned("app", spec.app.as_str()))?;
        let before = self.installation(id.as_str()).map(|live| Arc::clone(&live.record));
        let problems = installation_problems(&app, before.as_deref(), &spec);
        if !problems.is_empty() {
            return Err(RegisterError::Invalid(problems));
        }
        let spec = with_secret(spec, &app, before.as_deref())?;
        let planned = match &before {
            Some(before) => changed_installation(before.as_ref().clone(), &spec),
            None => new_installation(id, &spec, None),
        };
        if needs_acceptance(before.as_deref(), &planned) || *was_asked {
            *was_asked = true;
            self.request_acceptance(&app.record, &planned).await?;
        }
        let new_token = match app.record.kind {
            AppKind::Forge => Some(credentials::new_token()?),
            AppKind::Connect => None,
        };
        let put = self
            .update_document(id.as_str(), |current: Option<InstallationRecord>| {
                if current.as_ref().map(handshake) != before.as_deref().map(handshake) {
                    return Err(RegisterError::StaleRevision);
                }
                let Some(current) = current else {
                    let token = new_token.clone();
                    let record = new_installation(id, &spec, token.as_deref());
                    return Ok(Mutation::Put(
                        Box::new(record),
                        InstallationPut { created: true, token },
                    ));
                };
                check_fixed(&current, &spec)?;
                let record = changed_installation(current, &spec);
                Ok(Mutation::Put(Box::new(record), InstallationPut { created: false, token: None }))
            })
            .await?;
        self.notify_state_change(&app.record, before.map(|before| before.state), &planned);
        info!(installation = %id, app = %spec.app, created = put.created, "installation provisioned");
        Ok(put)
    }

    /// Replaces the bearer token of an installation; the old one is rejected from then on.
    ///
    /// # Errors
    /// The installation does not exist.
    pub async fn rotate_token(&self, id: &str) -> Result<String, RegisterError> {
        let new = credentials::new_token()?;
        self.update_document(id, |current: Option<InstallationRecord>| {
            let mut record = current.ok_or(RegisterError::NotFound)?;
            record.token_hash = Some(credentials::digest(&new));
            record.updated_ms = clock::now_ms();
            Ok(Mutation::Put(Box::new(record), ()))
        })
        .await?;
        info!(installation = id, "token rotated");
        Ok(new)
    }

    /// Uninstalls. A Forge installation is deleted with its modules; a Connect installation keeps
    /// them for a reinstall.
    ///
    /// # Errors
    /// The installation does not exist.
    pub async fn delete_installation(&self, id: &str) -> Result<(), RegisterError> {
        let live = self.installation(id).ok_or(RegisterError::NotFound)?;
        let app = self.app(live.record.app.as_str());
        if !app.as_ref().is_some_and(|app| app.record.kind == AppKind::Connect) {
            return self.purge_installation(id).await;
        }
        let gone = self
            .update_document(id, |current: Option<InstallationRecord>| {
                let mut record = current.ok_or(RegisterError::NotFound)?;
                record.state = InstallationState::Uninstalled;
                record.updated_ms = clock::now_ms();
                Ok(Mutation::Put(Box::new(record.clone()), record))
            })
            .await?;
        if let Some(app) = app {
            self.notify_state_change(&app.record, Some(live.record.state), &gone);
        }
        info!(installation = id, "installation uninstalled, its modules are kept");
        Ok(())
    }

    /// Provisions an OAuth client; returns whether it did not exist before.
    ///
    /// # Errors
    /// The client is invalid, or the installation does not exist.
    pub async fn put_client(&self, id: &str, spec: ClientSpec) -> Result<bool, RegisterError> {
        let installation = spec.installation.as_str();
        self.installation(installation)
            .ok_or_else(|| not_provisioned("installation", installation))?;
        if spec.token.is_empty() {
            let problem = Problem::new(code::FORM, "token", "a token is a non-empty string");
            return Err(RegisterError::invalid(problem));
        }
        let token_hash = credentials::digest(&spec.token);
        if self.client_by_token(&token_hash).is_some_and(|other| other.id != id) {
            let problem = Problem::new(code::DUPLICATE, "token", "another client has this token");
            return Err(RegisterError::invalid(problem));
        }
        let (user, installation) = (spec.user, spec.installation);
        let record =
            ClientRecord { format: FORMAT, id: id.to_owned(), token_hash, user, installation };
        self.update_document(id, |current: Option<ClientRecord>| {
            Ok(Mutation::Put(Box::new(record.clone()), current.is_none()))
        })
        .await
    }

    pub(crate) async fn purge_installation(&self, id: &str) -> Result<(), RegisterError> {
        for client in self.state.clients_of(id) {
            self.update_document(&client, |current: Option<ClientRecord>| {
                Ok(current.map_or(Mutation::Keep(()), |_| Mutation::Delete(())))
            })
            .await?;
        }
        self.update_document(id, |current: Option<InstallationRecord>| {
            Ok(current.map_or(Mutation::Keep(()), |_| Mutation::Delete(())))
        })
        .await
    }
}

fn installation_problems(
    app: &AppliedApp,
    before: Option<&InstallationRecord>,
    spec: &InstallationSpec,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    if spec.cloud_id.as_str().is_empty() {
        problems.push(Problem::new(code::FORM, "cloudId", "a site has a non-empty id"));
    }
    if app.record.kind == AppKind::Connect {
        // An app with an `installed` callback gets a generated secret.
        let has_secret = spec.shared_secret.is_some()
            || app.record.lifecycle.installed.is_some()
            || before.is_some_and(|before| before.shared_secret.is_some());
        let required = [("clientKey", spec.client_key.is_some()), ("sharedSecret", has_secret)];
        for (name, _) in required.iter().filter(|(_, is_there)| !is_there) {
            let message = "an installation of a Connect app has one";
            problems.push(Problem::new(code::MISSING, *name, message));
        }
    }
    problems
}

/// The installation with its secret: the submitted one, the one the app knows, or a generated one.
fn with_secret(
    spec: InstallationSpec,
    app: &AppliedApp,
    before: Option<&InstallationRecord>,
) -> Result<InstallationSpec, RegisterError> {
    if app.record.kind != AppKind::Connect || spec.shared_secret.is_some() {
        return Ok(spec);
    }
    // A reinstall with an `installed` callback gets a new secret.
    let is_asked = app.record.lifecycle.installed.is_some();
    let installed =
        before.filter(|before| !is_asked || before.state != InstallationState::Uninstalled);
    let secret = match installed.and_then(|before| before.shared_secret.clone()) {
        Some(known) => known,
        None => credentials::new_shared_secret()?,
    };
    Ok(InstallationSpec { shared_secret: Some(secret.reveal().to_owned()), ..spec })
}

/// What the app agreed to when it accepted an installation.
fn handshake(record: &InstallationRecord) -> (Option<&str>, Option<&str>, bool) {
    let secret = record.shared_secret.as_ref().map(Secret::reveal);
    let is_uninstalled = record.state == InstallationState::Uninstalled;
    (record.client_key.as_deref(), secret, is_uninstalled)
}

fn not_provisioned(what: &str, id: &str) -> RegisterError {
    let message = format!("there is no {what} `{id}`");
    RegisterError::invalid(Problem::new(code::NOT_PROVISIONED, what, message))
}

/// The app and the site identify an installation: its modules were validated against that app and
/// receive events of that site.
fn check_fixed(current: &InstallationRecord, spec: &InstallationSpec) -> Result<(), RegisterError> {
    let mut problems = Vec::new();
    for (path, same) in
        [("app", current.app == spec.app), ("cloudId", current.cloud_id == spec.cloud_id)]
    {
        if !same {
            let message = "an installation keeps its app and its site";
            problems.push(Problem::new(code::FIXED, path, message));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(RegisterError::Invalid(problems)) }
}

fn new_installation(
    id: &InstallationId,
    spec: &InstallationSpec,
    token: Option<&str>,
) -> InstallationRecord {
    let now_ms = clock::now_ms();
    let empty = InstallationRecord {
        format: FORMAT,
        id: id.clone(),
        app: spec.app.clone(),
        cloud_id: spec.cloud_id.clone(),
        product: spec.product,
        client_key: None,
        shared_secret: None,
        licensed: spec.licensed,
        environment: String::new(),
        state: spec.state,
        app_account_id: None,
        token_hash: token.map(credentials::digest),
        discovery: None,
        warned_until_ms: 0,
        dropped: None,
        replay_guard: ReplayGuard::default(),
        modules: Vec::new(),
        next_order: 1,
        created_ms: now_ms,
        updated_ms: now_ms,
    };
    changed_installation(empty, spec)
}

fn changed_installation(
    mut record: InstallationRecord,
    spec: &InstallationSpec,
) -> InstallationRecord {
    record.product = spec.product;
    record.client_key.clone_from(&spec.client_key);
    record.shared_secret = spec.shared_secret.as_deref().map(Secret::new);
    record.licensed = spec.licensed;
    record.environment.clone_from(&spec.environment);
    record.state = spec.state;
    record.app_account_id.clone_from(&spec.app_account_id);
    record.updated_ms = clock::now_ms();
    record
}
