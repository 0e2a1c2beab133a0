//! The token with which a Forge remote calls back: it names the installation and lives two hours.
//!
//! **Source:** Forge, "Remote" reference, `x-forge-oauth-system`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::KeyRing;
use crate::domain::{AppId, InstallationId};

/// Issuer and audience alike; no other token of ours carries it, so that none passes for this one.
const ISSUER: &str = "switchyard/system-token";
/// How long it is valid, in seconds.
const LIFE_S: i64 = 2 * 3600;

/// What the token of an installation of `app` says.
#[must_use]
pub fn claims(app: &AppId, installation: &InstallationId, now_s: i64) -> Value {
    json!({
        "iss": ISSUER,
        "aud": ISSUER,
        "iat": now_s,
        "exp": now_s.saturating_add(LIFE_S),
        "app": {"id": app, "installationId": installation},
    })
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    exp: i64,
    app: Bearer,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bearer {
    id: AppId,
    installation_id: InstallationId,
}

/// Why a token names nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SystemTokenError {
    /// We did not sign it, or not for this.
    Foreign,
    /// We signed it, but its time is over.
    Expired {
        /// For how long, in seconds.
        ago_s: i64,
    },
}

/// Whom a token that we signed names.
///
/// # Errors
/// It is of another kind or too old.
pub fn verify(
    keys: &KeyRing,
    token: &str,
    now_s: i64,
) -> Result<(AppId, InstallationId), SystemTokenError> {
    let Claims { iss, aud, exp, app } = keys.verify(token).ok_or(SystemTokenError::Foreign)?;
    match (iss == ISSUER && aud == ISSUER, now_s < exp) {
        (false, _) => Err(SystemTokenError::Foreign),
        (true, false) => Err(SystemTokenError::Expired { ago_s: now_s.saturating_sub(exp) }),
        (true, true) => Ok((app.id, app.installation_id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::KeyRecord;

    #[test]
    fn only_a_system_token_that_still_lives_names_its_bearer() {
        let keys = KeyRing::default();
        keys.apply(&[KeyRecord::generate().unwrap()]).unwrap();
        let made = keys.sign(&claims(&"app".into(), &"inst".into(), 0), 0).unwrap();
        let named = Ok(("app".into(), "inst".into()));
        assert_eq!(verify(&keys, &made, LIFE_S - 1), named);
        assert_eq!(verify(&keys, &made, LIFE_S + 9), Err(SystemTokenError::Expired { ago_s: 9 }));
        let mut other = claims(&"app".into(), &"inst".into(), 0);
        other["iss"] = json!("forge/invocation-token");
        assert_eq!(
            verify(&keys, &keys.sign(&other, 0).unwrap(), 1),
            Err(SystemTokenError::Foreign)
        );
    }
}
