//! The API as one request sees it: for one tenant.

use crate::api::Api;
use axum::http::Extensions;
use std::ops::Deref;
use std::sync::Arc;

/// Whose everything is where there are no tenants.
pub(super) const ANONYMOUS: &str = "anonymous";

#[derive(Clone)]
pub(super) struct Scope {
    api: Arc<Api>,
    pub tenant: Tenant,
}

/// Put into a request by whoever has looked at its headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant(pub Arc<str>);

impl Scope {
    pub(super) fn of(api: Arc<Api>, request: &Extensions) -> Scope {
        let tenant = request.get::<Tenant>().cloned();
        Scope { api, tenant: tenant.unwrap_or_else(|| Tenant(ANONYMOUS.into())) }
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
