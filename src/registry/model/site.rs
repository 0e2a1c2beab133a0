//! Records of sites: counters shared by the apps of one site.

use serde::{Deserialize, Serialize};

use super::document::Document;
use crate::domain::{CloudId, UnknownMembers};

/// Counters of a site.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SiteRecord {
    /// Format version of the document.
    pub(crate) format: u32,
    /// The site.
    pub(crate) id: CloudId,
    /// Id of the next dynamic webhook; never decreases, so that no id is reused.
    pub(crate) next_webhook: u64,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub(crate) unknown: UnknownMembers,
}

impl Document for SiteRecord {
    const FAMILY: &'static str = "site";

    fn format(&self) -> u32 {
        self.format
    }

    fn set_format(&mut self, format: u32) {
        self.format = format;
    }
}
