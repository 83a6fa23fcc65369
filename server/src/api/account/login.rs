//! `/login` and `/logout`: a form of a page, or JSON as of the first servers, in; the cookie of a session out.

use crate::access::{self, Origin, SESSION_MS};
use crate::api::account::{
    COOKIE, Peer, cookie, is_from_elsewhere, is_local, pages, quickly, slowly,
};
use crate::api::error::{Code, Error};
use crate::api::{Api, body, connect};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::sync::Arc;
use url::form_urlencoded;

pub(super) const MAX_BODY_BYTES: usize = 16 << 10;

#[derive(Deserialize)]
struct Json {
    username: String,
    /// Base64.
    password: String,
}

struct Credentials {
    name: String,
    password: String,
}

pub(in crate::api) async fn log_in(State(api): State<Arc<Api>>, request: Request) -> Response {
    if is_from_elsewhere(&request) {
        let message = "a page of another site must not log you in";
        return connect::fail(&api, &Error::new(Code::PermissionDenied, message));
    }
    let peer = request.extensions().get::<Peer>();
    let origin = Origin { address: peer.map(|peer| peer.0.ip()), is_local: is_local(&request) };
    let mut is_form = false;
    let result = async {
        let (parts, body) = request.into_parts();
        let is_json = parts
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
        is_form = !is_json;
        let body = body::read_within(&api, &parts.headers, body, MAX_BODY_BYTES).await?;
        let credentials = credentials(&body.plain(MAX_BODY_BYTES)?, is_form)?;
        // What waits for its turn keeps no share of the memory for bodies.
        drop(body);
        let Credentials { name, password } = credentials;
        let who = name.clone();
        let logged = slowly(&api, move |api| {
            let now_ms = (api.clock)() / 1_000_000;
            Ok(api.access.log_in(&name, &password, origin, now_ms)?)
        });
        logged.await.inspect_err(|error| {
            tracing::warn!(name = who.escape_debug().to_string(), error = %error.message, "a login failed");
        })
    };
    match result.await {
        Ok((token, identity)) => {
            tracing::info!(name = identity.name.escape_debug().to_string(), "logged in");
            let to = if identity.has_initial_password { "/settings/password" } else { "/" };
            let response = if is_form {
                Redirect::to(to).into_response()
            } else {
                StatusCode::NO_CONTENT.into_response()
            };
            with_cookie(&api, response, &token, SESSION_MS / 1_000)
        }
        Err(error) if is_form => pages::login(error.status, Some(&error.message)),
        Err(error) => connect::fail(&api, &error),
    }
}

fn credentials(body: &[u8], is_form: bool) -> Result<Credentials, Error> {
    if !is_form {
        let json: Json = serde_json::from_slice(body).map_err(|err| {
            Error::invalid(format!("the body is not {{\"username\", \"password\"}}: {err}"))
        })?;
        let password = decoded(&json.password)?;
        return Ok(Credentials { name: json.username, password });
    }
    let (mut name, mut password) = (String::new(), String::new());
    for (key, value) in form_urlencoded::parse(body) {
        match key.as_ref() {
            "username" => name = value.into_owned(),
            "password" => password = value.into_owned(),
            _ => {}
        }
    }
    Ok(Credentials { name, password })
}

/// A password as the first servers' JSON has it.
pub(super) fn decoded(base64: &str) -> Result<String, Error> {
    let bytes = STANDARD.decode(base64.trim()).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| Error::invalid("the password is not base64 of a text"))
}

fn with_cookie(api: &Api, mut response: Response, token: &str, seconds: i64) -> Response {
    let secure = if api.account.cookie_secure { "; Secure" } else { "" };
    let cookie =
        format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
    if let Ok(value) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}

pub(in crate::api) async fn log_out(State(api): State<Arc<Api>>, request: Request) -> Response {
    let token = cookie(request.headers()).map(str::to_owned);
    let result = quickly(&api, move |api| {
        if let Some(token) = token {
            api.access.log_out(&token)?;
        }
        Ok(())
    });
    match result.await {
        Ok(()) => with_cookie(&api, Redirect::to("/login").into_response(), "", 0),
        Err(error) => connect::fail(&api, &error),
    }
}

impl From<access::Error> for Error {
    fn from(error: access::Error) -> Error {
        let code = match error {
            access::Error::Shelf(error) => return error.into(),
            access::Error::Wrong => Code::Unauthenticated,
            access::Error::InitialElsewhere { .. } => Code::PermissionDenied,
            access::Error::TooManyAttempts { .. } | access::Error::Full => Code::ResourceExhausted,
            access::Error::Role(_)
            | access::Error::Name
            | access::Error::Email
            | access::Error::Lifetime
            | access::Error::Password => Code::InvalidArgument,
            access::Error::NameTaken(_) => Code::AlreadyExists,
            access::Error::Unknown { .. } => Code::NotFound,
            access::Error::LastAdmin => Code::FailedPrecondition,
        };
        Error::new(code, error.to_string())
    }
}
