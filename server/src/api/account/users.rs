//! `/api/users`, for administrators, and `/api/user`, the asking one.

use crate::access::{NewUser, Role, User};
use crate::api::account::login::{MAX_BODY_BYTES, decoded};
use crate::api::account::{asking, is_tenant, quickly, respond, rfc3339, slowly};
use crate::api::error::{Code, Error};
use crate::api::{Api, body};
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Deserialize)]
struct New {
    name: String,
    #[serde(default)]
    email: String,
    /// Base64.
    password: String,
    role: String,
    #[serde(default)]
    tenant: Option<String>,
}

#[derive(Deserialize)]
struct Changed {
    name: Option<String>,
    email: Option<String>,
    role: Option<String>,
    #[serde(rename = "isDisabled")]
    is_disabled: Option<bool>,
}

#[derive(Deserialize)]
struct NewPassword {
    password: String,
}

#[derive(Deserialize)]
struct OwnPassword {
    #[serde(rename = "oldPassword")]
    old: String,
    #[serde(rename = "newPassword")]
    new: String,
}

#[derive(Deserialize)]
struct NewRole {
    role: String,
}

fn shown(user: &User) -> Value {
    json!({
        "id": user.id,
        "name": user.name,
        "email": user.email,
        "role": user.role,
        "tenant": user.tenant,
        "isDisabled": user.is_disabled,
        "createdAt": rfc3339(user.created_ms),
    })
}

async fn read<T: DeserializeOwned>(api: &Arc<Api>, request: Request) -> Result<T, Error> {
    let (parts, body) = request.into_parts();
    let body = body::read_within(api, &parts.headers, body, MAX_BODY_BYTES).await?;
    serde_json::from_slice(&body.plain(MAX_BODY_BYTES)?)
        .map_err(|err| Error::invalid(format!("cannot read the body: {err}")))
}

fn one(api: &Api, id: u64) -> Result<User, Error> {
    let found = api.access.users().into_iter().find(|user| user.id == id);
    found.ok_or_else(|| Error::new(Code::NotFound, format!("there is no user with id {id}")))
}

pub(in crate::api) async fn list(State(api): State<Arc<Api>>) -> Response {
    Json(api.access.users().iter().map(shown).collect::<Vec<Value>>()).into_response()
}

pub(in crate::api) async fn get(State(api): State<Arc<Api>>, Path(id): Path<u64>) -> Response {
    respond(&api, one(&api, id).map(|user| Json(shown(&user)).into_response()))
}

pub(in crate::api) async fn create(State(api): State<Arc<Api>>, request: Request) -> Response {
    let result = async {
        let own_tenant = asking(&request)?.tenant;
        let new: New = read(&api, request).await?;
        let (password, tenant) = (decoded(&new.password)?, new.tenant.unwrap_or(own_tenant));
        let user = slowly(&api, move |api| {
            add(api, (&new.name, &new.email), &password, &new.role, &tenant)
        });
        Ok((StatusCode::CREATED, Json(shown(&user.await?))).into_response())
    };
    respond(&api, result.await)
}

pub(super) fn add(
    api: &Api,
    (name, email): (&str, &str),
    password: &str,
    role: &str,
    tenant: &str,
) -> Result<User, Error> {
    if !is_tenant(tenant) {
        return Err(Error::invalid("tenant is no tenant's name"));
    }
    let new = NewUser { name, email, password, role: Role::parse(role)?, tenant };
    let user = api.access.add_user(&new, (api.clock)() / 1_000_000)?;
    tracing::info!(id = user.id, role = user.role.as_str(), "a user is made");
    Ok(user)
}

pub(in crate::api) async fn change(
    State(api): State<Arc<Api>>,
    Path(id): Path<u64>,
    request: Request,
) -> Response {
    let result = async { changed(&api, id, read(&api, request).await?).await };
    respond(&api, result.await)
}

async fn changed(api: &Arc<Api>, id: u64, changed: Changed) -> Result<Response, Error> {
    let role = changed.role.as_deref().map(Role::parse).transpose()?;
    let change = move |user: &mut User| {
        user.role = role.unwrap_or(user.role);
        user.is_disabled = changed.is_disabled.unwrap_or(user.is_disabled);
        if let Some(name) = changed.name {
            user.name = name;
        }
        if let Some(email) = changed.email {
            user.email = email;
        }
    };
    let user = quickly(api, move |api| Ok(api.access.change_user(id, change)?)).await?;
    Ok(Json(shown(&user)).into_response())
}

pub(in crate::api) async fn delete(State(api): State<Arc<Api>>, Path(id): Path<u64>) -> Response {
    let result = quickly(&api, move |api| {
        api.access.delete_user(id)?;
        tracing::info!(id, "a user is deleted");
        Ok(StatusCode::NO_CONTENT.into_response())
    });
    respond(&api, result.await)
}

/// `/api/users/{id}/{what}`.
pub(in crate::api) async fn put(
    State(api): State<Arc<Api>>,
    Path((id, what)): Path<(u64, String)>,
    request: Request,
) -> Response {
    let nothing = Changed { name: None, email: None, role: None, is_disabled: None };
    let result = async {
        match what.as_str() {
            "enable" => {
                changed(&api, id, Changed { is_disabled: Some(false), ..nothing }).await?;
            }
            "disable" => {
                changed(&api, id, Changed { is_disabled: Some(true), ..nothing }).await?;
            }
            "role" => {
                let NewRole { role } = read(&api, request).await?;
                changed(&api, id, Changed { role: Some(role), ..nothing }).await?;
            }
            "password" => {
                let NewPassword { password } = read(&api, request).await?;
                let password = decoded(&password)?;
                slowly(&api, move |api| Ok(api.access.set_password(id, &password)?)).await?;
            }
            _ => return Err(Error::new(Code::NotFound, "a user has no such thing")),
        }
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    respond(&api, result.await)
}

fn own(request: &Request) -> Result<u64, Error> {
    let message = "this is for users; a key has no name or password to change";
    asking(request)?.user.ok_or_else(|| Error::new(Code::PermissionDenied, message))
}

pub(in crate::api) async fn get_own(State(api): State<Arc<Api>>, request: Request) -> Response {
    let user = own(&request).and_then(|id| one(&api, id));
    respond(&api, user.map(|user| Json(shown(&user)).into_response()))
}

/// Name and address, but no rights.
pub(in crate::api) async fn change_own(State(api): State<Arc<Api>>, request: Request) -> Response {
    let result = async {
        let id = own(&request)?;
        let new: Changed = read(&api, request).await?;
        changed(&api, id, Changed { role: None, is_disabled: None, ..new }).await
    };
    respond(&api, result.await)
}

pub(in crate::api) async fn own_password(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Response {
    let result = async {
        let id = own(&request)?;
        let OwnPassword { old, new } = read(&api, request).await?;
        let (old, new) = (decoded(&old)?, decoded(&new)?);
        slowly(&api, move |api| replace_password(api, id, &old, &new)).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    respond(&api, result.await)
}

pub(super) fn replace_password(api: &Api, id: u64, old: &str, new: &str) -> Result<(), Error> {
    if !api.access.is_password(id, old) {
        return Err(Error::new(Code::PermissionDenied, "the old password is wrong"));
    }
    Ok(api.access.set_password(id, new)?)
}
