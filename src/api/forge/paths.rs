//! Paths of the Forge API.

/// Version 2.
pub(super) const V2: &str = "/forge/installation/v2/dynamic/module";
/// Version 1.
pub(super) const V1: &str = "/forge/installation/v1/dynamic/module";
/// Version 1 as a container's proxy calls it.
pub(super) const V1_CONTAINER: &str = "/atlassian/forge/installation/v1/dynamic/module";
