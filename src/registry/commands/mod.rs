//! Commands that change the registry.

pub(crate) mod apps;
pub(crate) mod connect_lifecycle;
pub(crate) mod connect_modules;
pub(crate) mod discovery;
pub(crate) mod dynamic_webhooks;
pub(crate) mod forge_batch;
pub(crate) mod forge_modules;
pub(crate) mod installations;
pub(crate) mod notices;
pub(crate) mod rate_limit;
pub(crate) mod signing_keys;
