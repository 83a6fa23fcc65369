//! Every request passes here first: who asks, whether that one may, and which tenant it is about.

mod deed;
pub(super) mod login;
pub(super) mod keys;
pub(super) mod users;
pub(super) mod pages;

use crate::access::{Deed, Identity};
use crate::api::account::deed::{Needs, needs};
use crate::api::connect::Call;
use crate::api::error::{Code, Error};
use crate::api::metrics::Failed;
use crate::api::scope::{Scope, Tenant};
use crate::api::work::with_slot;
use crate::api::{Api, connect};
use crate::ingest::labels::ANONYMOUS;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

const TENANT_HEADER: &str = "x-scope-orgid";
const MAX_TENANT_BYTES: usize = 150;
/// Any of them says that the connection is a proxy's.
const PROXY_HEADERS: [&str; 7] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "cdn-loop",
];
/// Whoever comes while others are at work waits so long.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// The name of the cookie is that of the first servers, whose clients look for it.
pub(super) const COOKIE: &str = "pyroscopeJWT";

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Config {
    /// Whether reading and managing need a user or a key.
    pub login: bool,
    /// Whether pushing needs a key.
    pub ingestion: bool,
    pub cookie_secure: bool,
    pub multitenancy: bool,
}

/// The other end of the connection; put into each request.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Who asks, and whether a browser says so by its cookie.
struct Caller {
    identity: Identity,
    by_cookie: bool,
}

pub async fn check(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let needs = needs(request.method(), request.uri().path());
    match admit(&api, &request, &needs) {
        Ok((identity, tenant)) => {
            request.extensions_mut().insert(tenant);
            if let Some(identity) = identity {
                request.extensions_mut().insert(identity);
            }
            next.run(request).await
        }
        Err(error) => refuse(&api, &request, &error),
    }
}

/// Who asks, where that counts, and for which tenant.
fn admit(api: &Api, request: &Request, needs: &Needs) -> Result<(Option<Identity>, Tenant), Error> {
    let config = api.account;
    let Some(mut deed) = needs.deed else { return Ok((None, Tenant(ANONYMOUS.into()))) };
    if config.multitenancy && needs.is_of_all {
        deed = Deed::Manage;
    }
    let has_accounts = config.login || config.ingestion;
    let is_guarded = match deed {
        Deed::Push => config.ingestion,
        Deed::Read | Deed::Manage => config.login || (has_accounts && needs.is_account),
    };
    // Where there are credentials that say the tenant, nobody just names one.
    let is_guarded = is_guarded || (has_accounts && config.multitenancy && needs.has_tenant);
    let caller = if has_accounts { caller(api, request) } else { None };
    if is_guarded {
        let Some(caller) = &caller else {
            let message =
                "log in, or send a key as Authorization: Bearer, or as the password of Basic";
            return Err(Error::new(Code::Unauthenticated, message));
        };
        if caller.by_cookie && is_from_elsewhere(request) {
            let message = "a page of another site must not do this with your session";
            return Err(Error::new(Code::PermissionDenied, message));
        }
        // A key has nothing of its own.
        let is_own = needs.is_own && caller.identity.user.is_some();
        if !caller.identity.role.may(deed) && !is_own {
            let Identity { name, role, .. } = &caller.identity;
            let message = format!("'{name}' has the role {}, which may not do this", role.as_str());
            return Err(Error::new(Code::PermissionDenied, message));
        }
    }
    let tenant = tenant(config, request.headers(), needs, caller.as_ref())?;
    Ok((caller.map(|caller| caller.identity), tenant))
}

fn caller(api: &Api, request: &Request) -> Option<Caller> {
    let now_ms = (api.clock)() / 1_000_000;
    let headers = request.headers();
    if let Some(key) = key(headers)
        && let Some(identity) = api.access.of_key(&key, now_ms)
    {
        return Some(Caller { identity, by_cookie: false });
    }
    let identity = api.access.of_session(cookie(headers)?, now_ms)?;
    // With a password that everybody knows, only this machine is trusted.
    let is_trusted = !identity.has_initial_password || is_local(request);
    is_trusted.then_some(Caller { identity, by_cookie: true })
}

/// Of `Bearer` the token, of `Basic` the password: some clients can send only one of them.
fn key(headers: &HeaderMap) -> Option<String> {
    let (scheme, value) =
        headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
}

pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).map(str::trim);
    pairs.find_map(|pair| pair.strip_prefix(COOKIE)?.strip_prefix('='))
}

/// A proxy on this machine makes connections from everywhere local ones; it says so.
pub(super) fn is_local(request: &Request) -> bool {
    let is_forwarded = PROXY_HEADERS.iter().any(|name| request.headers().contains_key(*name));
    let peer = request.extensions().get::<Peer>();
    !is_forwarded && peer.is_some_and(|peer| peer.0.ip().to_canonical().is_loopback())
}

/// Whether a page of another site has made the browser send this.
pub(super) fn is_from_elsewhere(request: &Request) -> bool {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return false;
    }
    let text = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap_or("?"));
    let authority = request.uri().authority().map(axum::http::uri::Authority::as_str);
    let host = authority.or_else(|| text("host")).unwrap_or_default();
    let is_own = |origin: &str| origin.split_once("://").is_some_and(|(_, of)| of == host);
    text("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
        || text("origin").is_some_and(|origin| !is_own(origin))
}

/// Of the credential, where there is one; else of the header.
fn tenant(
    config: Config,
    headers: &HeaderMap,
    needs: &Needs,
    caller: Option<&Caller>,
) -> Result<Tenant, Error> {
    if !config.multitenancy || !needs.has_tenant {
        return Ok(Tenant(ANONYMOUS.into()));
    }
    let asked = match headers.get(TENANT_HEADER) {
        Some(value) => Some(value.to_str().ok().filter(|name| is_tenant(name)).ok_or_else(|| {
            Error::invalid(format!(
                "X-Scope-OrgID is no tenant's name: it has 1 to {MAX_TENANT_BYTES} letters, digits and any of !-_.*'(), and is not . or .."
            ))
        })?),
        None => None,
    };
    match (caller, asked) {
        (Some(caller), Some(asked)) if caller.identity.tenant != asked => Err(Error::new(
            Code::PermissionDenied,
            format!("'{}' is not of the tenant that X-Scope-OrgID names", caller.identity.name),
        )),
        (Some(caller), _) => Ok(Tenant(caller.identity.tenant.as_str().into())),
        (None, Some(asked)) => Ok(Tenant(asked.into())),
        (None, None) => {
            Err(Error::new(Code::Unauthenticated, "no org id: send the tenant as X-Scope-OrgID"))
        }
    }
}

pub(super) fn is_tenant(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!-_.*'()".contains(&byte);
    (1..=MAX_TENANT_BYTES).contains(&name.len())
        && name.bytes().all(is_allowed)
        && name != "."
        && name != ".."
}

/// In the protocol of the request; a browser that asks for a page is led to the login.
fn refuse(api: &Api, request: &Request, error: &Error) -> Response {
    api.metrics.failed_requests.get_or_create(&Failed { code: error.code.as_str() }).inc();
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let is_page =
        request.method() == Method::GET && accept.is_some_and(|kinds| kinds.contains("text/html"));
    let has_login = api.account.login || api.account.ingestion;
    if is_page && error.code == Code::Unauthenticated && has_login {
        return Redirect::to("/login").into_response();
    }
    let mut response = match Call::of(request.version(), request.headers()) {
        Ok(call) => call.error(error),
        Err(_response) => error.to_response(),
    };
    if response.status() == StatusCode::UNAUTHORIZED {
        let scheme = axum::http::HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    }
    response
}

/// The one who asks, of whom there must be one.
pub(super) fn asking(request: &Request) -> Result<Identity, Error> {
    let identity = request.extensions().get::<Identity>().cloned();
    identity.ok_or_else(|| Error::new(Code::Unauthenticated, "log in first"))
}

/// Work with passwords takes memory and time: few at once, and whoever waits too long comes again.
pub(super) async fn slowly<T: Send + 'static>(
    api: &Arc<Api>,
    work: impl FnOnce(&Api) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    in_turn(api, &api.logins, "too many logins at once; try again later", work).await
}

/// Work that hashes no password.
pub(super) async fn quickly<T: Send + 'static>(
    api: &Arc<Api>,
    work: impl FnOnce(&Api) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let message = "too many changes of users, keys and sessions at once; try again later";
    in_turn(api, &api.changes, message, work).await
}

async fn in_turn<T: Send + 'static>(
    api: &Arc<Api>,
    slots: &Arc<Semaphore>,
    too_many: &'static str,
    work: impl FnOnce(&Api) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let Ok(Ok(slot)) = timeout(MAX_WAIT, Arc::clone(slots).acquire_owned()).await else {
        return Err(Error::new(Code::Unavailable, too_many));
    };
    let scope = Scope::of(Arc::clone(api), &axum::http::Extensions::new());
    with_slot(&scope, slot, move |scope| work(scope.api())).await
}

pub(super) fn respond(api: &Api, result: Result<Response, Error>) -> Response {
    result.unwrap_or_else(|error| connect::fail(api, &error))
}

/// As the first servers wrote times.
pub(super) fn rfc3339(time_ms: i64) -> String {
    let day = crate::store::block::period::Period::day_of(time_ms.saturating_mul(1_000_000));
    let second = time_ms.div_euclid(1_000).rem_euclid(86_400);
    format!("{day}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}
