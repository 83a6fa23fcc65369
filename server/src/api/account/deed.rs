//! The method and path of a request -> what whoever sends it must be allowed to do. What is not known here is for administrators.

use crate::access::Deed;
use crate::api::otlp;
use axum::http::Method;

#[expect(clippy::struct_excessive_bools, reason = "each is said of a path by itself")]
pub(super) struct Needs {
    /// None where anybody may.
    pub deed: Option<Deed>,
    /// Whether it is about the profiles of a tenant.
    pub has_tenant: bool,
    /// Whether all that can change is the asking user's own.
    pub is_own: bool,
    /// Whether it is about users and keys, which are guarded also where profiles are not.
    pub is_account: bool,
    /// Whether it tells of all tenants: then, where there are some, it is for administrators.
    pub is_of_all: bool,
}

const PUSHES: [&str; 5] = [
    "/push.v1.PusherService/Push",
    "/ingest",
    "/pyroscope/ingest",
    "/v1development/profiles",
    otlp::GRPC_PATH,
];
const PUBLIC: [&str; 6] = ["/ready", "/healthz", "/login", "/logout", "/favicon.svg", "/login.css"];
/// Calls that change nothing, though they are POST.
const READING_SERVICES: [&str; 5] = [
    "/querier.v1.QuerierService/",
    "/settings.v1.RecordingRulesService/",
    "/vcs.v1.VCSService/",
    "/capabilities.v1.FeatureFlagsService/",
    "/version.v1.Version/",
];
const READING_CALLS: [&str; 4] = [
    "/settings.v1.SettingsService/Get",
    "/adhocprofiles.v1.AdHocProfileService/Get",
    "/adhocprofiles.v1.AdHocProfileService/List",
    "/adhocprofiles.v1.AdHocProfileService/Diff",
];
/// What a tenant has, besides the calls.
const OF_TENANT: [&str; 12] = [
    "/pyroscope/render",
    "/pyroscope/render-diff",
    "/pyroscope/label-values",
    "/render",
    "/render-diff",
    "/labels",
    "/label-values",
    "/export",
    "/api/apps",
    "/api/v1/series",
    "/api/v1/tenant_limits",
    "/merge",
];
/// Pages and calls about users and keys: those of all are for administrators, also to look at.
const MANAGED: [&str; 4] = ["/api/keys", "/api/users", "/settings/keys", "/settings/users"];
const METRICS: &str = "/metrics";
const OWN: [&str; 3] = ["/api/user", "/api/user/password", "/settings/password"];

pub(super) fn needs(method: &Method, path: &str) -> Needs {
    let has_tenant = is_call(path) || OF_TENANT.contains(&path);
    let need = |deed| Needs {
        deed,
        has_tenant,
        is_own: false,
        is_account: false,
        is_of_all: path == METRICS,
    };
    if PUBLIC.contains(&path) {
        return need(None);
    }
    if PUSHES.contains(&path) {
        return Needs { has_tenant: true, ..need(Some(Deed::Push)) };
    }
    if OWN.contains(&path) {
        return Needs { is_own: true, is_account: true, ..need(Some(Deed::Read)) };
    }
    let is_below = |root: &&str| {
        path.strip_prefix(*root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if MANAGED.iter().any(is_below) {
        return Needs { is_account: true, ..need(Some(Deed::Manage)) };
    }
    let reads = matches!(*method, Method::GET | Method::HEAD)
        || READING_CALLS.contains(&path)
        || READING_SERVICES.iter().any(|service| path.starts_with(service));
    need(Some(if reads { Deed::Read } else { Deed::Manage }))
}

fn is_call(path: &str) -> bool {
    crate::api::is_call(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_needs_what_it_does() {
        let check = |method: &str, path: &str, deed: Option<Deed>, has_tenant: bool| {
            let needs = needs(&Method::from_bytes(method.as_bytes()).unwrap(), path);
            assert_eq!((needs.deed, needs.has_tenant), (deed, has_tenant), "{method} {path}");
        };
        let (push, read, manage) = (Some(Deed::Push), Some(Deed::Read), Some(Deed::Manage));
        for path in PUSHES {
            check("POST", path, push, true);
        }
        for path in PUBLIC {
            check("GET", path, None, false);
        }
        check("POST", "/querier.v1.QuerierService/SelectSeries", read, true);
        check("POST", "/settings.v1.SettingsService/Get", read, true);
        check("POST", "/settings.v1.SettingsService/Set", manage, true);
        check("POST", "/adhocprofiles.v1.AdHocProfileService/Upload", manage, true);
        check("POST", "/what.v1.Ever/Call", manage, true);
        check("GET", "/pyroscope/render", read, true);
        check("GET", "/", read, false);
        check("GET", "/app.js", read, false);
        check("GET", "/metrics", read, false);
        check("GET", "/api/v1/status/config", read, false);
        check("GET", "/api/apps", read, true);
        check("DELETE", "/api/apps", manage, true);
        check("DELETE", "/api/v1/series", manage, true);
        check("GET", "/api/keys", manage, false);
        check("GET", "/api/users/3", manage, false);
        check("GET", "/settings/users", manage, false);
        check("GET", "/api/usersx", read, false);
        check("PUT", "/api/user/password", read, false);
        check("PUT", "/anything", manage, false);
    }
}
