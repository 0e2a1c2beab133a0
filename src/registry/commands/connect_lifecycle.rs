//! Connect lifecycle callbacks: installed, enabled, disabled, uninstalled.
//!
//! An app with an `installed` callback must accept it, or the installation fails: the callback
//! transfers the shared secret. The other callbacks are notices.
//!
//! **Source:** Atlassian Connect, "Lifecycle events": `installed` and `uninstalled` are signed with
//! a published key, the others with the shared secret.

use bytes::Bytes;
use serde_json::{Value, json};
use tracing::warn;
use url::Url;
use uuid::Uuid;

use super::context::Context;
use crate::clock;
use crate::domain::Secret;
use crate::event::sources::source_of;
use crate::jwt::{self, qsh};
use crate::registry::app_calls::{AppCall, CallAuth};
use crate::registry::error::RegisterError;
use crate::registry::metrics;
use crate::registry::model::{
    AppKind, AppRecord, CALLBACK, InstallationRecord, InstallationState, PendingNotice,
};

/// Lifetime of callback tokens, in seconds; the same as the vendor's.
const TOKEN_LIFE_S: i64 = 180;
const SERVER_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The lifecycle event that a change of an installation causes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LifecycleEvent {
    Installed,
    Enabled,
    Disabled,
    Uninstalled,
}

impl LifecycleEvent {
    const ALL: [Self; 4] = [Self::Installed, Self::Enabled, Self::Disabled, Self::Uninstalled];

    fn name(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Uninstalled => "uninstalled",
        }
    }

    /// Whether the app does not know the shared secret yet, or must not trust it any more.
    fn needs_published_key(self) -> bool {
        matches!(self, Self::Installed | Self::Uninstalled)
    }
}

/// Whether the app must accept `after` before it is stored.
pub(super) fn needs_acceptance(
    before: Option<&InstallationRecord>,
    after: &InstallationRecord,
) -> bool {
    let knows = |before: &InstallationRecord| {
        before.state != InstallationState::Uninstalled
            && before.client_key == after.client_key
            && before.shared_secret == after.shared_secret
    };
    after.state == InstallationState::Enabled && !before.is_some_and(knows)
}

/// Lifecycle callbacks to Connect apps.
#[derive(Clone, Copy)]
pub(super) struct ConnectLifecycle<'a> {
    context: &'a Context,
}

impl<'a> ConnectLifecycle<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Calls the `installed` callback, if the app declares one.
    pub(super) async fn request_acceptance(
        self,
        app: &AppRecord,
        after: &InstallationRecord,
    ) -> Result<(), RegisterError> {
        let Some(call) = self.callback(app, after, LifecycleEvent::Installed)? else {
            return Ok(());
        };
        match self.context.calls.call(call).await {
            Ok(_) => Ok(()),
            Err(error) => Err(RegisterError::AppRefused(error.0)),
        }
    }

    /// Adds the callback for a changed state to the record that is about to be stored, if the app
    /// declares it.
    pub(super) fn add_callback(
        self,
        app: &AppRecord,
        before: Option<InstallationState>,
        after: &mut InstallationRecord,
    ) {
        let event = match after.state {
            state if before == Some(state) => return,
            InstallationState::Enabled => LifecycleEvent::Enabled,
            InstallationState::Disabled => LifecycleEvent::Disabled,
            InstallationState::Uninstalled => LifecycleEvent::Uninstalled,
        };
        // The newest state counts: an app that is installed again must not be called later as if it
        // was uninstalled.
        after.notices.retain(|notice| !notice.kind.starts_with(CALLBACK));
        if app.kind != AppKind::Connect || app.lifecycle.path(event.name()).is_none() {
            return;
        }
        let kind = format!("{CALLBACK}{}", event.name());
        if let Some(replaced) = after.add_notice(&kind, Value::Null) {
            metrics::app_called("notice", false);
            warn!(installation = %after.id, kind = replaced, "notice dropped: too many wait");
        }
    }

    /// Returns the request of a notice that is a lifecycle callback; none if it is another notice. The
    /// inner value is none if the app no longer declares the callback.
    pub(super) fn pending_callback(
        self,
        app: &AppRecord,
        record: &InstallationRecord,
        notice: &PendingNotice,
    ) -> Option<Option<AppCall>> {
        let name = notice.kind.strip_prefix(CALLBACK)?;
        let event = LifecycleEvent::ALL.into_iter().find(|event| event.name() == name);
        let call = event.map_or(Ok(None), |event| self.callback(app, record, event));
        let call = call.unwrap_or_else(|error| {
            warn!(installation = %record.id, %error, "lifecycle callback not sent");
            None
        });
        Some(call.map(|call| AppCall { id: notice.id.clone(), ..call }))
    }

    /// Builds the callback for `event`; none if the app does not declare it.
    fn callback(
        &self,
        app: &AppRecord,
        installation: &InstallationRecord,
        event: LifecycleEvent,
    ) -> Result<Option<AppCall>, RegisterError> {
        let path = app.lifecycle.path(event.name());
        let base = app.base_url.as_deref().filter(|_| app.kind == AppKind::Connect);
        let Some((path, base)) = path.zip(base) else { return Ok(None) };
        let base = base.trim_end_matches('/');
        let url = Url::parse(&format!("{base}/{}", path.trim_start_matches('/')));
        let url = url.map_err(|error| RegisterError::AppRefused(error.to_string()))?;
        let token =
            self.callback_token(installation, event, base, &url).ok_or(RegisterError::NoKey)?;
        Ok(Some(AppCall {
            kind: event.name(),
            id: Uuid::new_v4().to_string(),
            url,
            auth: CallAuth::Token(Secret::new(format!("JWT {token}"))),
            body: Bytes::from(self.payload(app, installation, event).to_string()),
        }))
    }

    fn callback_token(
        &self,
        installation: &InstallationRecord,
        event: LifecycleEvent,
        base: &str,
        url: &Url,
    ) -> Option<String> {
        let client_key = installation.client_key.as_deref()?;
        let folder = Url::parse(base).ok()?.path().trim_end_matches('/').to_owned();
        let path = url.path().strip_prefix(&folder).unwrap_or(url.path());
        let hash = qsh::hash("POST", path, url.query().unwrap_or_default());
        let now_ms = clock::now_ms();
        let now_s = now_ms.div_euclid(1000);
        if !event.needs_published_key() {
            let secret = installation.shared_secret.as_ref()?;
            return jwt::sign(secret, client_key, &hash, now_s).ok();
        }
        let expires_s = now_s.saturating_add(TOKEN_LIFE_S);
        let claims = json!({
            "iss": client_key, "aud": [base], "iat": now_s, "exp": expires_s, "qsh": hash,
        });
        self.context.state().keyring().sign(&claims, now_ms)
    }

    fn payload(
        &self,
        app: &AppRecord,
        installation: &InstallationRecord,
        event: LifecycleEvent,
    ) -> Value {
        let public_url = self.context.settings.public_url.trim_end_matches('/');
        let source = source_of(installation.product);
        let base_url = format!("{public_url}{}", source.context_path());
        let mut payload = json!({
            "key": app.id,
            "clientKey": installation.client_key,
            "serverVersion": SERVER_VERSION,
            "pluginsVersion": SERVER_VERSION,
            "baseUrl": base_url,
            "displayUrl": base_url,
            "productType": source.name(),
            "description": format!("Switchyard, site {}", installation.cloud_id),
            "eventType": event.name(),
        });
        if let (LifecycleEvent::Installed, Some(secret), Value::Object(members)) =
            (event, &installation.shared_secret, &mut payload)
        {
            members.insert("sharedSecret".into(), secret.reveal().into());
        }
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::testing::connect_installation;

    #[test]
    fn app_is_asked_when_it_cannot_know_the_secret() {
        let after = connect_installation();
        assert!(needs_acceptance(None, &after));
        assert!(!needs_acceptance(Some(&after), &after));
        let uninstalled =
            InstallationRecord { state: InstallationState::Uninstalled, ..after.clone() };
        assert!(needs_acceptance(Some(&uninstalled), &after), "a reinstall");
        let other =
            InstallationRecord { shared_secret: Some(Secret::new("other")), ..after.clone() };
        assert!(needs_acceptance(Some(&other), &after), "a new secret");
        let paused = InstallationRecord { state: InstallationState::Disabled, ..after.clone() };
        assert!(!needs_acceptance(Some(&paused), &after));
        assert!(!needs_acceptance(None, &paused));
    }
}
