//! Operator commands on access tokens of the operator API.

use jiff::Timestamp;
use serde::Deserialize;
use tracing::info;
use utoipa::ToSchema;

use super::context::Context;
use crate::clock;
use crate::domain::{InstallationId, Scope, Secret, UnknownMembers};
use crate::registry::credentials;
use crate::registry::error::RegisterError;
use crate::registry::model::{
    ACCESS_RATE_DEFAULT, ACCESS_RATE_MAX, ACCESS_TOKENS_MAX, AccessTokenRecord, BoundInstallation,
    FORMAT, InstallationState, Problem, code,
};
use crate::registry::transaction::Mutation;

/// Longest id, in bytes.
const ID_BYTES_MAX: usize = 64;
/// Longest description, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 500;
/// Names of callers that have no access token.
const RESERVED: [&str; 2] = ["admin", "dev"];

/// An access token as an operator submits it.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"scope": "read", "installation": "inst-a", "expiresAt": "2027-01-01T00:00:00Z"}))]
pub struct AccessTokenSpec {
    /// `read` looks at everything, `operate` also acts on deliveries and subscriptions, `admin` also changes what is
    /// registered and who has access.
    #[schema(value_type = String)]
    scope: Scope,
    /// The only installation that its caller sees, with the scope `read` or `operate`.
    #[schema(value_type = Option<String>)]
    installation: Option<InstallationId>,
    /// When it ends; never by default.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<String>,
    /// Requests per second at one replica, 1 to 1000; 50 by default.
    requests_per_second: Option<u32>,
    /// What it is for.
    description: Option<String>,
}

/// Result of [`AccessTokens::put`].
#[derive(Clone, Debug)]
pub struct AccessTokenPut {
    /// The token, if it did not exist before; it is shown only once.
    pub token: Option<Secret>,
}

/// Operator commands on access tokens.
#[derive(Clone, Copy)]
pub struct AccessTokens<'a> {
    context: &'a Context,
}

impl<'a> AccessTokens<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Creates an access token, or changes what its caller may do.
    ///
    /// # Errors
    /// The request is invalid, the installation does not exist, or there are as many tokens as may be.
    pub async fn put(
        self,
        id: &str,
        spec: AccessTokenSpec,
    ) -> Result<AccessTokenPut, RegisterError> {
        let expires = spec.expires_at.as_deref().map(str::parse::<Timestamp>).transpose();
        let expires_ms = expires.as_ref().ok().copied().flatten().map(Timestamp::as_millisecond);
        let malformed = expires.err().map(|_| {
            let message = "a time in RFC 3339, such as 2027-01-01T00:00:00Z";
            Problem::new(code::FORM, "expiresAt", message)
        });
        let problems: Vec<Problem> = problems(id, &spec).chain(malformed).collect();
        if !problems.is_empty() {
            return Err(RegisterError::Invalid(problems));
        }
        let new = Secret::new(credentials::new_access_token()?);
        let token = self
            .context
            .transactions
            .update_document(id, |current: Option<AccessTokenRecord>| {
                if current.is_none() && self.context.state().access_tokens() >= ACCESS_TOKENS_MAX {
                    return Err(RegisterError::invalid(too_many()));
                }
                check_expiry(current.as_ref(), expires_ms)?;
                let is_new = current.is_none();
                let record = self.record(id, (&spec, expires_ms), current, &new)?;
                Ok(Mutation::Put(Box::new(record), is_new.then(|| new.clone())))
            })
            .await?;
        info!(
            token = id,
            scope = spec.scope.as_str(),
            created = token.is_some(),
            "access token stored"
        );
        Ok(AccessTokenPut { token })
    }

    /// Returns the record after `spec` is submitted for `current`.
    fn record(
        self,
        id: &str,
        (spec, expires_ms): (&AccessTokenSpec, Option<i64>),
        current: Option<AccessTokenRecord>,
        new: &Secret,
    ) -> Result<AccessTokenRecord, RegisterError> {
        let now_ms = clock::now_ms();
        let mut record = current.unwrap_or_else(|| AccessTokenRecord {
            format: FORMAT,
            id: id.to_owned(),
            token_hash: credentials::digest(new.reveal()),
            scope: spec.scope,
            installation: None,
            expires_ms: None,
            requests_per_second: ACCESS_RATE_DEFAULT,
            description: None,
            created_ms: now_ms,
            updated_ms: now_ms,
            unknown: UnknownMembers::default(),
        });
        let bound = spec.installation.as_ref().map(|id| self.bound(id)).transpose()?;
        // What a later release stored with the same installation stays.
        if record.installation.as_ref().map(|it| (&it.id, it.created_ms))
            != bound.as_ref().map(|it| (&it.id, it.created_ms))
        {
            record.installation = bound;
        }
        record.scope = spec.scope;
        record.expires_ms = expires_ms;
        record.requests_per_second = spec.requests_per_second.unwrap_or(ACCESS_RATE_DEFAULT);
        record.description.clone_from(&spec.description);
        record.updated_ms = now_ms;
        Ok(record)
    }

    fn bound(self, id: &InstallationId) -> Result<BoundInstallation, RegisterError> {
        let state = self.context.state();
        let found = state.installation(id.as_str());
        let found = found.filter(|one| one.record.state != InstallationState::Uninstalled);
        let found = found.ok_or_else(|| {
            let known = state.installation_ids();
            let known = known.iter().map(|id| id.as_str());
            RegisterError::not_provisioned("installation", id.as_str(), known)
        })?;
        let (id, created_ms) = (id.clone(), found.record.created_ms);
        Ok(BoundInstallation { id, created_ms, unknown: UnknownMembers::default() })
    }

    /// Replaces the secret of an access token; the old one is refused from then on.
    ///
    /// # Errors
    /// The token does not exist.
    pub async fn rotate(self, id: &str) -> Result<Secret, RegisterError> {
        let new = Secret::new(credentials::new_access_token()?);
        self.context
            .transactions
            .update_document(id, |current: Option<AccessTokenRecord>| {
                let mut record = current.ok_or(RegisterError::NotFound)?;
                record.token_hash = credentials::digest(new.reveal());
                record.updated_ms = clock::now_ms();
                Ok(Mutation::Put(Box::new(record), ()))
            })
            .await?;
        info!(token = id, "access token rotated");
        Ok(new)
    }

    /// Deletes an access token; it is refused from then on.
    ///
    /// # Errors
    /// The token does not exist.
    pub async fn delete(self, id: &str) -> Result<(), RegisterError> {
        self.context
            .transactions
            .update_document(id, |current: Option<AccessTokenRecord>| {
                current.ok_or(RegisterError::NotFound).map(|_| Mutation::Delete(()))
            })
            .await?;
        info!(token = id, "access token deleted");
        Ok(())
    }

    /// Deletes the access tokens of an installation.
    ///
    /// # Errors
    /// The store fails.
    pub(super) async fn delete_of(self, installation: &str) -> Result<(), RegisterError> {
        for id in self.context.state().access_tokens_of(installation) {
            self.context
                .transactions
                .update_document(&id, |current: Option<AccessTokenRecord>| {
                    let of = current.filter(|record| {
                        record.installation_id().is_some_and(|of| of.as_str() == installation)
                    });
                    Ok(of.map_or(Mutation::Keep(()), |_| Mutation::Delete(())))
                })
                .await?;
            info!(token = id, installation, "access token of a deleted installation deleted");
        }
        Ok(())
    }
}

/// A token ends in the future, unless it is stored with this end: the same request may be sent again.
fn check_expiry(
    current: Option<&AccessTokenRecord>,
    expires_ms: Option<i64>,
) -> Result<(), RegisterError> {
    let is_stored = current.is_some_and(|current| current.expires_ms == expires_ms);
    if is_stored || expires_ms.is_none_or(|expires_ms| expires_ms > clock::now_ms()) {
        return Ok(());
    }
    let problem = Problem::new(code::FORM, "expiresAt", "this time has passed");
    Err(RegisterError::invalid(problem.with_help("delete the token to end it now")))
}

/// Returns what is wrong with a request, whatever is stored.
fn problems(id: &str, spec: &AccessTokenSpec) -> impl Iterator<Item = Problem> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_id = (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(plain);
    let form = (!is_id).then(|| {
        let message =
            format!("an id has 1 to {ID_BYTES_MAX} characters of A-Z, a-z, 0-9, `.`, `_`, `-`");
        Problem::new(code::FORM, "id", message)
    });
    let is_reserved = RESERVED.iter().any(|name| name.eq_ignore_ascii_case(id));
    let reserved = is_reserved.then(|| {
        let message = format!("`{id}` is the name of callers without an access token");
        Problem::new(code::FORM, "id", message)
    });
    let is_bound_admin = spec.scope == Scope::Admin && spec.installation.is_some();
    let scope = is_bound_admin.then(|| {
        let message = "a token of one installation has the scope read or operate";
        Problem::new(code::FORM, "scope", message)
    });
    let rate = spec.requests_per_second.filter(|rate| !(1..=ACCESS_RATE_MAX).contains(rate));
    let rate = rate.map(|rate| {
        let message = format!("{rate} is not from 1 to {ACCESS_RATE_MAX}");
        Problem::new(code::FORM, "requestsPerSecond", message)
    });
    let text = spec.description.as_ref().filter(|text| text.len() > DESCRIPTION_BYTES_MAX);
    let text = text.map(|_| {
        let message = format!("a description has at most {DESCRIPTION_BYTES_MAX} bytes");
        Problem::new(code::FORM, "description", message)
    });
    [form, reserved, scope, rate, text].into_iter().flatten()
}

fn too_many() -> Problem {
    let message = format!("there are {ACCESS_TOKENS_MAX} access tokens, as many as may be");
    Problem::new(code::FORM, "", message).with_help("delete one: `switchyard tokens ls` lists them")
}
