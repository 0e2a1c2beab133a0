//! Operator commands on installations: provision, change, rotate the token, uninstall.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use tracing::{info, warn};
use utoipa::ToSchema;

use super::access_tokens::AccessTokens;
use super::connect_lifecycle::{ConnectLifecycle, needs_acceptance};
use super::context::Context;
use crate::clock;
use crate::domain::{AppId, CloudId, InstallationId, Product, Secret, UnknownMembers};
use crate::registry::compile::AppliedApp;
use crate::registry::credentials;
use crate::registry::error::RegisterError;
use crate::registry::model::{
    AppKind, ClientRecord, FORMAT, InstallationRecord, InstallationState, Problem, ReplayGuard,
    Retention, RetiringSecret, StoredWith, code,
};
use crate::registry::settings::BODIES_DAYS_MAX;
use crate::registry::transaction::Mutation;
use crate::registry::validation::{issued_secret_problem, issued_secret_warning};

/// Attempts to install while concurrent installs change the same record.
const INSTALLS_MAX: u32 = 4;

/// An installation as an operator submits it.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstallationSpec {
    #[schema(value_type = String)]
    app: AppId,
    /// Id of the site.
    #[schema(value_type = String)]
    cloud_id: CloudId,
    product: Product,
    /// Of a Connect installation.
    client_key: Option<String>,
    /// Of a Connect installation.
    #[schema(value_type = Option<String>)]
    shared_secret: Option<Secret>,
    /// True by default.
    #[serde(default = "licensed")]
    licensed: bool,
    /// `PRODUCTION` by default.
    #[serde(default = "production")]
    environment: String,
    #[serde(default)]
    state: InstallationState,
    app_account_id: Option<String>,
    retention: Option<RetentionSpec>,
}

/// For how long bodies are kept, as an operator submits it.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RetentionSpec {
    bodies_days: u32,
}

fn licensed() -> bool {
    true
}

fn production() -> String {
    "PRODUCTION".into()
}

/// Result of [`Installations::put`].
#[derive(Clone, Debug)]
pub struct InstallationPut {
    /// Whether the installation did not exist before.
    pub created: bool,
    /// Bearer token of a new Forge installation; it is shown only once.
    pub token: Option<Secret>,
    /// What is questionable.
    pub warnings: Vec<Problem>,
}

/// Operator commands on installations.
#[derive(Clone, Copy)]
pub struct Installations<'a> {
    context: &'a Context,
}

impl<'a> Installations<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Provisions an installation or changes one; its modules stay.
    ///
    /// The secret that an app accepted last is the stored one, also for concurrent installs: a call
    /// that lost the race calls the app again.
    ///
    /// # Errors
    /// The installation is invalid, the app does not exist or does not accept it.
    pub async fn put(
        self,
        id: &InstallationId,
        spec: InstallationSpec,
    ) -> Result<InstallationPut, RegisterError> {
        let mut was_asked = false;
        for _ in 0..INSTALLS_MAX {
            match self.install(id, spec.clone(), &mut was_asked).await {
                Err(RegisterError::StaleRevision) => self.context.transactions.catch_up().await,
                put => return put,
            }
        }
        Err(RegisterError::Contended { attempts: INSTALLS_MAX })
    }

    /// Makes one attempt. [`RegisterError::StaleRevision`] means that a concurrent call changed the
    /// secret: which of the two the app accepted last is unknown then.
    async fn install(
        &self,
        id: &InstallationId,
        spec: InstallationSpec,
        was_asked: &mut bool,
    ) -> Result<InstallationPut, RegisterError> {
        let lifecycle = ConnectLifecycle::new(self.context);
        let app = self.context.state().app(spec.app.as_str());
        let app = app.ok_or_else(|| {
            let known = self.context.state().app_ids();
            let known = known.iter().map(AppId::as_str);
            RegisterError::not_provisioned("app", spec.app.as_str(), known)
        })?;
        let before =
            self.context.state().installation(id.as_str()).map(|known| Arc::clone(&known.record));
        let problems = installation_problems(&app, before.as_deref(), &spec);
        if !problems.is_empty() {
            return Err(RegisterError::Invalid(problems));
        }
        let warning = issued_secret_warning(spec.shared_secret.as_ref(), "sharedSecret");
        let no_bodies = no_bodies_warning(&spec);
        let spec = with_secret(spec, &app, before.as_deref())?;
        let planned = match &before {
            Some(before) => changed_installation(before.as_ref().clone(), &spec),
            None => new_installation(id, &spec, None),
        };
        if needs_acceptance(before.as_deref(), &planned) || *was_asked {
            *was_asked = true;
            lifecycle.request_acceptance(&app.record, &planned).await?;
        }
        let new_token = match app.record.kind {
            AppKind::Forge => Some(Secret::new(credentials::new_token()?)),
            AppKind::Connect => None,
        };
        let mut put = self
            .context
            .transactions
            .update_document(id.as_str(), |current: Option<InstallationRecord>| {
                if current.as_ref().map(handshake) != before.as_deref().map(handshake) {
                    return Err(RegisterError::StaleRevision);
                }
                let Some(current) = current else {
                    let token = new_token.clone();
                    let mut record = new_installation(id, &spec, token.as_ref());
                    lifecycle.add_callback(&app.record, None, &mut record);
                    let put = InstallationPut { created: true, token, warnings: Vec::new() };
                    return Ok(Mutation::Put(Box::new(record), put));
                };
                check_fixed(&current, &spec)?;
                let before = current.state;
                let mut record = changed_installation(current, &spec);
                lifecycle.add_callback(&app.record, Some(before), &mut record);
                let put = InstallationPut { created: false, token: None, warnings: Vec::new() };
                Ok(Mutation::Put(Box::new(record), put))
            })
            .await?;
        if let Some(warning) = warning {
            warn!(installation = %id, "the shared secret is short");
            put.warnings.push(warning);
        }
        put.warnings.extend(no_bodies);
        info!(installation = %id, app = %spec.app, created = put.created, "installation provisioned");
        Ok(put)
    }

    /// Replaces the bearer token of an installation; the old one is rejected from then on.
    ///
    /// # Errors
    /// The installation does not exist.
    pub async fn rotate_token(self, id: &str) -> Result<String, RegisterError> {
        let new = credentials::new_token()?;
        self.context
            .transactions
            .update_document(id, |current: Option<InstallationRecord>| {
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
    /// them for a reinstall. Its access tokens are deleted.
    ///
    /// # Errors
    /// The installation does not exist.
    pub async fn delete(self, id: &str) -> Result<(), RegisterError> {
        let before = self.context.state().installation(id).ok_or(RegisterError::NotFound)?;
        AccessTokens::new(self.context).delete_of(id).await?;
        let app = self.context.state().app(before.record.app.as_str());
        if !app.as_ref().is_some_and(|app| app.record.kind == AppKind::Connect) {
            return self.purge(id).await;
        }
        self.context
            .transactions
            .update_document(id, |current: Option<InstallationRecord>| {
                let mut record = current.ok_or(RegisterError::NotFound)?;
                let before = std::mem::replace(&mut record.state, InstallationState::Uninstalled);
                record.updated_ms = clock::now_ms();
                if let Some(app) = &app {
                    let lifecycle = ConnectLifecycle::new(self.context);
                    lifecycle.add_callback(&app.record, Some(before), &mut record);
                }
                Ok(Mutation::Put(Box::new(record), ()))
            })
            .await?;
        info!(installation = id, "installation uninstalled, its modules are kept");
        Ok(())
    }

    /// Deletes an installation with its OAuth clients and its access tokens.
    ///
    /// # Errors
    /// The store fails.
    pub(super) async fn purge(self, id: &str) -> Result<(), RegisterError> {
        AccessTokens::new(self.context).delete_of(id).await?;
        for client in self.context.state().clients_of(id) {
            self.context
                .transactions
                .update_document(&client, |current: Option<ClientRecord>| {
                    Ok(current.map_or(Mutation::Keep(()), |_| Mutation::Delete(())))
                })
                .await?;
        }
        self.context
            .transactions
            .update_document(id, |current: Option<InstallationRecord>| {
                Ok(current.map_or(Mutation::Keep(()), |_| Mutation::Delete(())))
            })
            .await
    }
}

/// Says what it means to keep no bodies.
fn no_bodies_warning(spec: &InstallationSpec) -> Option<Problem> {
    let keeps_none = spec.retention.is_some_and(|retention| retention.bodies_days == 0);
    let message = "dead letters of this installation have no body and cannot be redriven";
    keeps_none.then(|| Problem::new(code::NO_BODIES, "retention.bodiesDays", message))
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
    problems.extend(issued_secret_problem(spec.shared_secret.as_ref(), "sharedSecret"));
    if spec.retention.is_some_and(|retention| retention.bodies_days > BODIES_DAYS_MAX) {
        let message = format!("bodies are kept for 0 to {BODIES_DAYS_MAX} days");
        problems.push(Problem::new(code::FORM, "retention.bodiesDays", message));
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
    Ok(InstallationSpec { shared_secret: Some(secret), ..spec })
}

/// What the app agreed to when it accepted an installation.
fn handshake(record: &InstallationRecord) -> (Option<&str>, Option<&str>, bool) {
    let secret = record.shared_secret.as_ref().map(Secret::reveal);
    let is_uninstalled = record.state == InstallationState::Uninstalled;
    (record.client_key.as_deref(), secret, is_uninstalled)
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
    token: Option<&Secret>,
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
        previous_shared_secret: None,
        licensed: spec.licensed,
        environment: String::new(),
        state: spec.state,
        app_account_id: None,
        retention: None,
        token_hash: token.map(|token| credentials::digest(token.reveal())),
        oauth_clients: BTreeMap::new(),
        ended_clients: Vec::new(),
        discovery: None,
        warned_until_ms: 0,
        dropped: None,
        replay_guard: ReplayGuard::default(),
        notices: Vec::new(),
        modules: Vec::new(),
        next_order: 1,
        created_ms: now_ms,
        updated_ms: now_ms,
        stored_with: StoredWith::default(),
        unknown: UnknownMembers::default(),
    };
    changed_installation(empty, spec)
}

/// Returns the secret that retires when `spec` replaces `record`. An app that was uninstalled, or is
/// now, has no valid secret from before.
fn retiring_secret(record: &InstallationRecord, spec: &InstallationSpec) -> Option<RetiringSecret> {
    let ends = [record.state, spec.state].contains(&InstallationState::Uninstalled);
    let (Some(old), Some(new), false) = (&record.shared_secret, &spec.shared_secret, ends) else {
        return None;
    };
    RetiringSecret::after(old, record.previous_shared_secret.as_ref(), new, clock::now_ms())
}

fn changed_installation(
    mut record: InstallationRecord,
    spec: &InstallationSpec,
) -> InstallationRecord {
    record.product = spec.product;
    record.client_key.clone_from(&spec.client_key);
    record.previous_shared_secret = retiring_secret(&record, spec);
    record.shared_secret.clone_from(&spec.shared_secret);
    record.licensed = spec.licensed;
    record.environment.clone_from(&spec.environment);
    record.state = spec.state;
    record.app_account_id.clone_from(&spec.app_account_id);
    // Members that a later release added stay with the days.
    let unknown = record.retention.take().map(|before| before.unknown).unwrap_or_default();
    record.retention =
        spec.retention.map(|RetentionSpec { bodies_days }| Retention { bodies_days, unknown });
    record.updated_ms = clock::now_ms();
    record
}
