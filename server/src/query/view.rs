//! What a question may look at: sources, and of what is in them the series of one tenant.

use crate::ingest::labels::{ANONYMOUS, TENANT};
use crate::store::Source;
use std::sync::Arc;

pub struct View {
    pub(super) sources: Vec<Source>,
    tenant: Arc<str>,
}

impl View {
    pub fn new(sources: Vec<Source>, tenant: Arc<str>) -> View {
        View { sources, tenant }
    }

    pub fn n_sources(&self) -> usize {
        self.sources.len()
    }

    /// Whether a series is the tenant's; one without the label is nobody's in particular.
    pub(super) fn has<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        label(TENANT).unwrap_or(ANONYMOUS) == &*self.tenant
    }
}

/// Where there are no tenants.
impl From<Vec<Source>> for View {
    fn from(sources: Vec<Source>) -> View {
        View { sources, tenant: ANONYMOUS.into() }
    }
}
