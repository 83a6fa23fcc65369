//! `/api/keys`, as of the first servers: a key is told once, when it is made.

use crate::access::{Key, NewKey, Role};
use crate::api::account::login::MAX_BODY_BYTES;
use crate::api::account::{asking, is_tenant, quickly, respond, rfc3339};
use crate::api::error::Error;
use crate::api::{Api, body};
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Deserialize)]
struct New {
    name: String,
    role: String,
    #[serde(rename = "ttlSeconds", default)]
    ttl_seconds: Option<i64>,
    #[serde(default)]
    tenant: Option<String>,
}

fn shown(key: &Key) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "role": key.role,
        "tenant": key.tenant,
        "createdAt": rfc3339(key.created_ms),
        "expiresAt": key.expires_ms.map(rfc3339),
    })
}

pub(in crate::api) async fn list(State(api): State<Arc<Api>>) -> Response {
    Json(api.access.keys().iter().map(shown).collect::<Vec<Value>>()).into_response()
}

pub(in crate::api) async fn create(State(api): State<Arc<Api>>, request: Request) -> Response {
    let result = async {
        let own_tenant = asking(&request)?.tenant;
        let (parts, body) = request.into_parts();
        let body = body::read_within(&api, &parts.headers, body, MAX_BODY_BYTES).await?;
        let new: New = serde_json::from_slice(&body.plain(MAX_BODY_BYTES)?).map_err(|err| {
            Error::invalid(format!("the body is not {{\"name\", \"role\"}}: {err}"))
        })?;
        let tenant = new.tenant.clone().unwrap_or(own_tenant);
        let (key, secret) =
            quickly(&api, move |api| add(api, &new.name, &new.role, &tenant, new.ttl_seconds))
                .await?;
        let mut answer = shown(&key);
        answer["key"] = secret.into();
        Ok((StatusCode::CREATED, Json(answer)).into_response())
    };
    respond(&api, result.await)
}

pub(super) fn add(
    api: &Api,
    name: &str,
    role: &str,
    tenant: &str,
    ttl_seconds: Option<i64>,
) -> Result<(Key, String), Error> {
    if !is_tenant(tenant) {
        return Err(Error::invalid("tenant is no tenant's name"));
    }
    let new = NewKey { name, role: Role::parse(role)?, tenant, ttl_seconds };
    let made = api.access.add_key(&new, (api.clock)() / 1_000_000)?;
    tracing::info!(id = made.0.id, role = made.0.role.as_str(), "a key is made");
    Ok(made)
}

pub(in crate::api) async fn delete(State(api): State<Arc<Api>>, Path(id): Path<u64>) -> Response {
    let result = quickly(&api, move |api| {
        api.access.delete_key(id)?;
        tracing::info!(id, "a key is deleted");
        Ok(StatusCode::NO_CONTENT.into_response())
    });
    respond(&api, result.await)
}
