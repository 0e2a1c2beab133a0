//! The module types that this release knows.

use super::{connect_module, forge_module};
use crate::registry::model::{DYNAMIC_WEBHOOK, TRIGGER, WEBHOOKS};

/// Whether modules of this type can be registered, routed or not.
pub(crate) fn is_known_type(name: &str) -> bool {
    let is_stored_only = forge_module::is_stored_only(name) || connect_module::is_stored_only(name);
    [TRIGGER, WEBHOOKS, DYNAMIC_WEBHOOK].contains(&name) || is_stored_only
}
