//! Number of modules by effective status.

/// Number of modules by effective status on this replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Modules that receive events.
    pub active: i64,
    /// Modules that receive no events.
    pub inactive: i64,
    /// Modules shadowed by a static module of the app.
    pub shadowed: i64,
    /// Dynamic webhooks that expired without a refresh.
    pub expired: i64,
    /// Modules whose events are parked.
    pub paused: i64,
    /// Webhooks of apps that are never delivered.
    pub undelivered: i64,
    /// Installations with at least one module.
    pub installations: i64,
    /// Filters that are compared with those of their modules; these are counted in addition.
    pub shadows: i64,
}
