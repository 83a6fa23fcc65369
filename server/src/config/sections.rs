//! Who may do what, over which certificate, and the limits that single tenants have in place of everybody's.

use crate::access::{self, Secret};
use crate::api;
use crate::config::{Config, Error, check};
use serde::{Deserialize, Serialize};
use serde_yaml::{Mapping, Value};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Auth {
    pub internal_enabled: bool,
    pub ingestion_enabled: bool,
    pub cookie_secure: bool,
    pub admin_create: bool,
    pub admin_name: String,
    pub admin_email: String,
    pub admin_password: Secret,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

const USUAL_PASSWORD: &str = "admin";

impl Default for Auth {
    fn default() -> Auth {
        Auth {
            internal_enabled: false,
            ingestion_enabled: false,
            cookie_secure: false,
            admin_create: true,
            admin_name: "admin".to_owned(),
            admin_email: "admin@localhost.local".to_owned(),
            admin_password: Secret(USUAL_PASSWORD.to_owned()),
        }
    }
}

impl Auth {
    pub(super) fn validate(&self) -> Result<(), Error> {
        check(!self.admin_name.is_empty(), "auth.admin_name", "is empty")?;
        check(!self.admin_password.0.is_empty(), "auth.admin_password", "is empty")
    }

    /// The user that is made where there is no administrator.
    pub(crate) fn first(&self) -> Option<access::First> {
        let is_on = self.internal_enabled || self.ingestion_enabled;
        (is_on && self.admin_create).then(|| access::First {
            name: self.admin_name.clone(),
            email: self.admin_email.clone(),
            password: self.admin_password.clone(),
            is_default: self.admin_password.0 == USUAL_PASSWORD,
        })
    }
}

impl Tls {
    pub fn is_on(&self) -> bool {
        !self.cert_file.as_os_str().is_empty()
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        let has_key = !self.key_file.as_os_str().is_empty();
        check(has_key || !self.is_on(), "tls.key_file", "is empty, and tls.cert_file is not")?;
        check(self.is_on() || !has_key, "tls.cert_file", "is empty, and tls.key_file is not")
    }
}

impl Config {
    /// The limits of all, and those of the tenants that the file of overrides names, as in `team-a: {series: 500}`.
    pub(crate) fn limits(&self, overrides: &str) -> Result<api::AllLimits, String> {
        let mut by_tenant = HashMap::new();
        let file: Option<HashMap<String, Mapping>> =
            serde_yaml::from_str(overrides).map_err(|err| err.to_string())?;
        let own = serde_yaml::to_value(&self.limits).map_err(|err| err.to_string())?;
        for (tenant, keys) in file.unwrap_or_default() {
            let failed = |err: &dyn std::fmt::Display| format!("{tenant}: {err}");
            let mut merged = own.clone();
            let of_server = ["body", "bodies"].into_iter().find(|key| keys.contains_key(*key));
            if let Some(key) = of_server {
                return Err(failed(&format!("{key} is a limit of the server, not of a tenant")));
            }
            if let Value::Mapping(merged) = &mut merged {
                merged.extend(keys);
            }
            let limits = serde_yaml::from_value(merged).map_err(|err| failed(&err))?;
            let of_tenant = Config { limits, ..self.clone() };
            of_tenant.validate().map_err(|err| failed(&err))?;
            by_tenant.insert(tenant, Arc::new(of_tenant.tenant_limits()));
        }
        Ok(api::AllLimits { defaults: Arc::new(self.tenant_limits()), overrides: by_tenant })
    }

    fn tenant_limits(&self) -> api::Limits {
        api::Limits {
            ingest: self.ingest(),
            max_series: self.limits.series,
            rate_bytes: self.limits.rate.0,
            burst_bytes: self.limits.burst.0,
            max_range_ms: self.limits.query_range.ns() / 1_000_000,
        }
    }

    pub(crate) fn account(&self) -> api::account::Config {
        api::account::Config {
            login: self.auth.internal_enabled,
            ingestion: self.auth.ingestion_enabled,
            cookie_secure: self.auth.cookie_secure || self.tls.is_on(),
            multitenancy: self.multitenancy_enabled,
        }
    }
}
