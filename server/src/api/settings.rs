//! `settings.v1`: what pages keep for all who look at them.

use crate::api::error::Error;
use crate::api::scope::Scope;
use crate::api::{Api, connect};
use crate::shelf::settings::Value;
use axum::extract::{Request, State};
use axum::response::Response;
use protocol::settings as wire;
use std::sync::Arc;

pub(super) async fn get(State(api): State<Arc<Api>>, request: Request) -> Response {
    let answer = |api: &Scope, _: wire::GetSettingsRequest| {
        let settings = api.settings.get(&api.tenant).into_iter();
        let settings = settings.map(|(name, value)| wire_setting(name, value)).collect();
        Ok(wire::GetSettingsResponse { settings })
    };
    connect::query(api, request, answer).await
}

pub(super) async fn set(State(api): State<Arc<Api>>, request: Request) -> Response {
    let answer = |api: &Scope, request: wire::SetSettingsRequest| {
        let setting = request.setting.ok_or_else(|| Error::invalid("a setting is missing"))?;
        let now_ms = (api.clock)() / 1_000_000;
        let modified_ms = if setting.modified_at > 0 { setting.modified_at } else { now_ms };
        let value = Value { value: setting.value, modified_ms };
        api.settings.set(&api.tenant, &setting.name, value.clone())?;
        Ok(wire::SetSettingsResponse { setting: Some(wire_setting(setting.name, value)) })
    };
    connect::query(api, request, answer).await
}

pub(super) async fn delete(State(api): State<Arc<Api>>, request: Request) -> Response {
    let answer = |api: &Scope, request: wire::DeleteSettingsRequest| {
        api.settings.delete(&api.tenant, &request.name)?;
        Ok(wire::DeleteSettingsResponse {})
    };
    connect::query(api, request, answer).await
}

fn wire_setting(name: String, value: Value) -> wire::Setting {
    wire::Setting { name, value: value.value, modified_at: value.modified_ms }
}
