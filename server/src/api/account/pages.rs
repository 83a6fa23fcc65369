//! The plain pages of login, password, keys and users: forms without a script.

use crate::access::Identity;
use crate::api::account::login::MAX_BODY_BYTES;
use crate::api::account::{asking, keys, quickly, rfc3339, slowly, users};
use crate::api::error::{Code, Error};
use crate::api::{Api, body};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use url::form_urlencoded;

const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const ROLES: &str = "<option>Agent<option>ReadOnly<option>Admin";

/// Text within HTML, also within the quotes of an attribute; what a terminal or a reader would not show is escaped as well.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            char if char.is_control() => html.extend(char.escape_default()),
            char => html.push(char),
        }
    }
    html
}

fn page(status: StatusCode, title: &str, class: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title} · Pilotlight</title><link rel=\"icon\" href=\"/favicon.svg\">\
         <link rel=\"stylesheet\" href=\"/login.css\"></head><body class=\"{class}\">{body}</body></html>"
    );
    let mut response = (status, html).into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn problem(message: Option<&str>) -> String {
    message.map(|text| format!("<p class=\"error\">{}</p>", escaped(text))).unwrap_or_default()
}

pub(in crate::api) async fn style() -> Response {
    let css = HeaderValue::from_static("text/css; charset=utf-8");
    ([(header::CONTENT_TYPE, css)], include_str!("login.css")).into_response()
}

pub(in crate::api) async fn login_page() -> Response {
    login(StatusCode::OK, None)
}

pub(super) fn login(status: StatusCode, message: Option<&str>) -> Response {
    let form = "<h1>Pilotlight</h1><form method=\"post\" action=\"/login\">\
                <label>User <input name=\"username\" autocomplete=\"username\" required autofocus></label>\
                <label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label>\
                <button>Log in</button></form>";
    page(status, "Log in", "narrow", &format!("{form}{}", problem(message)))
}

fn navigation(identity: &Identity) -> String {
    let manage = if identity.role == crate::access::Role::Admin {
        "<a href=\"/settings/keys\">Keys</a><a href=\"/settings/users\">Users</a>"
    } else {
        ""
    };
    format!(
        "<nav><a href=\"/\">Profiles</a>{manage}<a href=\"/settings/password\">Password</a>\
         <a href=\"/logout\">Log out {}</a></nav>",
        escaped(&identity.name)
    )
}

pub(in crate::api) async fn password_page(request: Request) -> Response {
    with_identity(&request, |identity| password(identity, StatusCode::OK, None))
}

fn with_identity(request: &Request, page: impl FnOnce(&Identity) -> Response) -> Response {
    match asking(request) {
        Ok(identity) => page(&identity),
        Err(error) => error.to_response(),
    }
}

fn password(identity: &Identity, status: StatusCode, message: Option<&str>) -> Response {
    let notice = if identity.has_initial_password {
        "<p class=\"notice\">This is the first password, which everybody knows. Until it is changed, you can log in from \
         this machine only.</p>"
    } else {
        ""
    };
    let body = format!(
        "{}<h1>Password</h1>{notice}<form method=\"post\" action=\"/settings/password\">\
         <label>Old password <input name=\"old\" type=\"password\" autocomplete=\"current-password\" required></label>\
         <label>New password, 8 characters or more <input name=\"new\" type=\"password\" autocomplete=\"new-password\" \
         minlength=\"8\" required></label><button>Change</button></form>{}",
        navigation(identity),
        problem(message)
    );
    page(status, "Password", "narrow", &body)
}

type Form = HashMap<String, String>;

async fn form(api: &Arc<Api>, request: Request) -> Result<Form, Error> {
    let (parts, body) = request.into_parts();
    let body = body::read_within(api, &parts.headers, body, MAX_BODY_BYTES).await?;
    let plain = body.plain(MAX_BODY_BYTES)?;
    let pairs = form_urlencoded::parse(&plain);
    Ok(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
}

fn field<'a>(form: &'a Form, name: &str) -> &'a str {
    form.get(name).map_or("", String::as_str)
}

fn id_of(form: &Form, name: &str) -> Result<u64, Error> {
    field(form, name).parse().ok().ok_or_else(|| Error::invalid("an id is missing"))
}

pub(in crate::api) async fn change_password(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Response {
    let identity = match asking(&request) {
        Ok(identity) => identity,
        Err(error) => return error.to_response(),
    };
    let user = identity.user;
    let result = async {
        let form = form(&api, request).await?;
        let id = user.ok_or_else(|| Error::new(Code::PermissionDenied, "a key has no password"))?;
        let change = move |api: &Api| {
            users::replace_password(api, id, field(&form, "old"), field(&form, "new"))
        };
        slowly(&api, change).await
    };
    match result.await {
        // All sessions have ended: the new password is asked for.
        Ok(()) => Redirect::to("/login").into_response(),
        Err(error) => password(&identity, error.status, Some(&error.message)),
    }
}

pub(in crate::api) async fn keys_page(State(api): State<Arc<Api>>, request: Request) -> Response {
    with_identity(&request, |identity| keys(&api, identity, StatusCode::OK, ""))
}

fn keys(api: &Api, identity: &Identity, status: StatusCode, above: &str) -> Response {
    let mut rows = String::new();
    for key in api.access.keys() {
        let expires = key.expires_ms.map_or_else(|| "never".to_owned(), rfc3339);
        // Writing to a string cannot fail.
        write!(
            rows,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{expires}<td><form method=\"post\" action=\"/settings/keys\">\
             <input type=\"hidden\" name=\"delete\" value=\"{}\"><button>Delete</button></form></tr>",
            escaped(&key.name),
            key.role.as_str(),
            escaped(&key.tenant),
            rfc3339(key.created_ms),
            key.id
        )
        .unwrap_or_default();
    }
    let body = format!(
        "{}<h1>API keys</h1>{above}<table><tr><th>Name<th>Role<th>Tenant<th>Made<th>Expires<th></tr>{rows}</table>\
         <form method=\"post\" action=\"/settings/keys\"><label>Name <input name=\"name\" required></label>\
         <label>Role <select name=\"role\">{ROLES}</select></label>\
         <label>Tenant <input name=\"tenant\" value=\"{}\"></label>\
         <label>Expires after days, empty for never <input name=\"days\" type=\"number\" min=\"1\"></label>\
         <button>Make a key</button></form>",
        navigation(identity),
        escaped(&identity.tenant)
    );
    page(status, "API keys", "", &body)
}

pub(in crate::api) async fn post_keys(State(api): State<Arc<Api>>, request: Request) -> Response {
    let identity = match asking(&request) {
        Ok(identity) => identity,
        Err(error) => return error.to_response(),
    };
    let result = async {
        let form = form(&api, request).await?;
        quickly(&api, move |api| {
            if form.contains_key("delete") {
                api.access.delete_key(id_of(&form, "delete")?)?;
                return Ok(None);
            }
            let ttl_seconds = lifetime(field(&form, "days"))?;
            let (name, role) = (field(&form, "name"), field(&form, "role"));
            Ok(Some(keys::add(api, name, role, field(&form, "tenant"), ttl_seconds)?))
        })
        .await
    };
    match result.await {
        Ok(None) => Redirect::to("/settings/keys").into_response(),
        Ok(Some((key, secret))) => {
            let above = format!(
                "<div class=\"notice\">The key '{}' is shown this once: copy it now.<code>{}</code></div>",
                escaped(&key.name),
                escaped(&secret)
            );
            keys(&api, &identity, StatusCode::CREATED, &above)
        }
        Err(error) => keys(&api, &identity, error.status, &problem(Some(&error.message))),
    }
}

/// In seconds; of days, of which there may be none.
fn lifetime(days: &str) -> Result<Option<i64>, Error> {
    if days.trim().is_empty() {
        return Ok(None);
    }
    let days = days.trim().parse().ok().filter(|days: &i64| *days > 0);
    let days = days.ok_or_else(|| {
        Error::invalid("a key lives for a whole number of days, 1 or more; leave it empty for ever")
    })?;
    Ok(Some(days.saturating_mul(86_400)))
}

pub(in crate::api) async fn users_page(State(api): State<Arc<Api>>, request: Request) -> Response {
    with_identity(&request, |identity| users(&api, identity, StatusCode::OK, ""))
}

fn users(api: &Api, identity: &Identity, status: StatusCode, above: &str) -> Response {
    let mut rows = String::new();
    for user in api.access.users() {
        let (action, word) =
            if user.is_disabled { ("enable", "Enable") } else { ("disable", "Disable") };
        let button = |name: &str, word: &str| {
            format!(
                "<form method=\"post\" action=\"/settings/users\"><input type=\"hidden\" name=\"{name}\" value=\"{}\">\
                 <button>{word}</button></form> ",
                user.id
            )
        };
        write!(
            rows,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}{}</tr>",
            escaped(&user.name),
            escaped(&user.email),
            user.role.as_str(),
            escaped(&user.tenant),
            button(action, word),
            button("delete", "Delete")
        )
        .unwrap_or_default();
    }
    let body = format!(
        "{}<h1>Users</h1>{above}<table><tr><th>Name<th>Address<th>Role<th>Tenant<th></tr>{rows}</table>\
         <form method=\"post\" action=\"/settings/users\"><label>Name <input name=\"name\" required></label>\
         <label>Address <input name=\"email\" type=\"email\"></label>\
         <label>Password, 8 characters or more <input name=\"password\" type=\"password\" autocomplete=\"new-password\" \
         minlength=\"8\" required></label><label>Role <select name=\"role\">{ROLES}</select></label>\
         <label>Tenant <input name=\"tenant\" value=\"{}\"></label><button>Make a user</button></form>",
        navigation(identity),
        escaped(&identity.tenant)
    );
    page(status, "Users", "", &body)
}

pub(in crate::api) async fn post_users(State(api): State<Arc<Api>>, request: Request) -> Response {
    let identity = match asking(&request) {
        Ok(identity) => identity,
        Err(error) => return error.to_response(),
    };
    let result = async {
        let form = form(&api, request).await?;
        if is_of_known(&form) {
            return quickly(&api, move |api| change_user(api, &form)).await;
        }
        slowly(&api, move |api| add_user(api, &form)).await
    };
    match result.await {
        Ok(()) => Redirect::to("/settings/users").into_response(),
        Err(error) => users(&api, &identity, error.status, &problem(Some(&error.message))),
    }
}

const SWITCHES: [(&str, bool); 2] = [("disable", true), ("enable", false)];

/// Whether it is about a user who is there, for whom nothing is hashed.
fn is_of_known(form: &Form) -> bool {
    form.contains_key("delete") || SWITCHES.iter().any(|(name, _)| form.contains_key(*name))
}

fn change_user(api: &Api, form: &Form) -> Result<(), Error> {
    if form.contains_key("delete") {
        return Ok(api.access.delete_user(id_of(form, "delete")?)?);
    }
    for (name, is_disabled) in SWITCHES {
        if form.contains_key(name) {
            let id = id_of(form, name)?;
            api.access.change_user(id, |user| user.is_disabled = is_disabled)?;
            return Ok(());
        }
    }
    Ok(())
}

fn add_user(api: &Api, form: &Form) -> Result<(), Error> {
    let get = |name| field(form, name);
    users::add(api, (get("name"), get("email")), get("password"), get("role"), get("tenant"))?;
    Ok(())
}
