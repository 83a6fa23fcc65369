//! The API as one request sees it: for one tenant.

use crate::api::Api;
use crate::api::error::{Code, Error};
use crate::api::tenants::{self, Limits};
use crate::ingest::Reason;
use crate::ingest::labels::{ANONYMOUS, TENANT};
use crate::query;
use crate::query::View;
use crate::query::selector::Selector;
use axum::http::Extensions;
use std::ops::Deref;
use std::sync::Arc;

#[derive(Clone)]
pub(super) struct Scope {
    api: Arc<Api>,
    pub tenant: Tenant,
    pub limits: Arc<Limits>,
    pub usage: Arc<tenants::Tenant>,
}

/// Put into a request by whoever has looked at its headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tenant(pub Arc<str>);

impl Scope {
    pub(super) fn of(api: Arc<Api>, request: &Extensions) -> Scope {
        let tenant = request.get::<Tenant>().cloned();
        let tenant = tenant.unwrap_or_else(|| Tenant(ANONYMOUS.into()));
        let (limits, usage) = (api.tenants.limits(&tenant), api.tenants.get(&tenant.0));
        Scope { api, tenant, limits, usage }
    }

    pub(super) fn api(&self) -> &Arc<Api> {
        &self.api
    }

    /// What of a range of times a question may look at.
    pub(super) fn view(&self, start_ns: i64, end_ns: i64) -> Result<View, Error> {
        let (length_ms, limit_ms) =
            (end_ns.saturating_sub(start_ns) / 1_000_000, self.limits.max_range_ms);
        if limit_ms > 0 && length_ms > limit_ms {
            return Err(query::Error::RangeTooLong { length_ms, limit_ms }.into());
        }
        Ok(View::new(self.store.select(start_ns, end_ns), Arc::clone(&self.tenant.0)))
    }

    /// All of the tenant's.
    pub(super) fn everything(&self) -> View {
        View::new(self.store.select(i64::MIN, i64::MAX), Arc::clone(&self.tenant.0))
    }

    /// Counts the bytes of a write request, which are refused where they are too many.
    pub(super) fn charge(&self, bytes: usize) -> Result<(), Error> {
        if self.usage.take(bytes as u64, &self.limits, (self.clock)()) {
            return Ok(());
        }
        self.discard(Reason::RateLimited);
        let Limits { rate_bytes, burst_bytes, .. } = *self.limits;
        Err(Error::new(
            Code::ResourceExhausted,
            format!(
                "push rate limit ({rate_bytes} bytes a second, {burst_bytes} at once) exceeded while adding {bytes} bytes; \
                 send less, or raise limits.rate and limits.burst"
            ),
        ))
    }

    pub(super) fn discard(&self, reason: Reason) {
        self.metrics.discard(&self.usage.shown, reason);
    }

    /// Narrows a selector that is used without a view.
    pub(super) fn own(&self, selector: Selector) -> Selector {
        selector.and(TENANT, self.label())
    }

    /// The value of the label of the tenant's series, which those of nobody in particular do not have.
    pub(super) fn label(&self) -> &str {
        if &*self.tenant == ANONYMOUS { "" } else { &self.tenant }
    }
}

impl Deref for Scope {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Deref for Tenant {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}
