//! `adhocprofiles.v1`: a profile in any format that is known is uploaded, kept, and drawn.

use crate::api::error::{Code, Error};
use crate::api::scope::Scope;
use crate::api::selection::max_nodes;
use crate::api::{Api, connect};
use crate::ingest::uploaded::{self, Uploaded};
use crate::query::profile_type::ProfileType;
use crate::query::stacks;
use crate::query::tree::Tree;
use crate::render::{diff, flame_graph, flamebearer};
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::adhoc as wire;
use std::sync::Arc;

pub(super) async fn upload(State(api): State<Arc<Api>>, request: Request) -> Response {
    let answer = |api: &Scope, request: wire::AdHocProfilesUploadRequest| {
        let bytes = STANDARD
            .decode(request.profile.trim())
            .map_err(|err| Error::invalid(format!("the profile is not base64: {err}")))?;
        let limit = api.limits.ingest.max_profile_bytes;
        if bytes.len() > limit {
            return Err(Error::too_large(limit));
        }
        let uploaded = read(api, &bytes)?;
        let nodes = max_nodes(api, request.max_nodes)?;
        let drawn = drawn(&uploaded, None, nodes)?;
        let now_ms = (api.clock)() / 1_000_000;
        let upload = api.uploads.add(&api.tenant, &request.name, &bytes, now_ms)?;
        Ok(wire::AdHocProfilesGetResponse {
            uploaded_at: upload.time_ms(),
            id: upload.id,
            name: upload.name,
            ..drawn
        })
    };
    connect::query(api, request, answer).await
}

pub(super) async fn get(State(api): State<Arc<Api>>, request: Request) -> Response {
    let answer = |api: &Scope, request: wire::AdHocProfilesGetRequest| {
        let (upload, bytes) = api.uploads.get(&api.tenant, &request.id)?;
        let nodes = max_nodes(api, request.max_nodes)?;
        Ok(wire::AdHocProfilesGetResponse {
            uploaded_at: upload.time_ms(),
            id: upload.id,
            name: upload.name,
            ..drawn(&read(api, &bytes)?, request.profile_type.as_deref(), nodes)?
        })
    };
    connect::query(api, request, answer).await
}

pub(super) async fn list(State(api): State<Arc<Api>>, request: Request) -> Response {
    let answer = |api: &Scope, _: wire::AdHocProfilesListRequest| {
        let profiles = api.uploads.list(&api.tenant)?.into_iter().map(|upload| {
            wire::AdHocProfilesProfileMetadata {
                uploaded_at: upload.time_ms(),
                id: upload.id,
                name: upload.name,
            }
        });
        Ok(wire::AdHocProfilesListResponse { profiles: profiles.collect() })
    };
    connect::query(api, request, answer).await
}

pub(super) async fn diff(State(api): State<Arc<Api>>, request: Request) -> Response {
    let answer = |api: &Scope, request: wire::AdHocProfilesDiffRequest| {
        let side = |id: &str| read(api, &api.uploads.get(&api.tenant, id)?.1);
        let (left, right) = (side(&request.left_id)?, side(&request.right_id)?);
        let profile_types: Vec<String> =
            left.types().into_iter().filter(|one| right.types().contains(one)).collect();
        let profile_type = chosen(&profile_types, request.profile_type.as_deref())?;
        let nodes = max_nodes(api, request.max_nodes)?;
        let graph = diff::render(&tree(&left, &profile_type), &tree(&right, &profile_type), nodes);
        let rendered = flamebearer::double(graph, &type_of(&left, &profile_type)?);
        Ok(wire::AdHocProfilesDiffResponse {
            profile_type,
            profile_types,
            flamebearer_profile: json(&rendered)?,
        })
    };
    connect::query(api, request, answer).await
}

fn read(api: &Scope, bytes: &[u8]) -> Result<Uploaded, Error> {
    Ok(uploaded::read(bytes, &api.limits.ingest, (api.clock)())?)
}

/// The whole answer but for who and when.
fn drawn(
    uploaded: &Uploaded,
    asked: Option<&str>,
    max_nodes: i64,
) -> Result<wire::AdHocProfilesGetResponse, Error> {
    let profile_types = uploaded.types();
    let chosen = chosen(&profile_types, asked)?;
    let graph = flame_graph::render(&tree(uploaded, &chosen), max_nodes);
    let rendered = flamebearer::alone(graph, &type_of(uploaded, &chosen)?);
    Ok(wire::AdHocProfilesGetResponse {
        profile_type: chosen,
        profile_types,
        flamebearer_profile: json(&rendered)?,
        ..wire::AdHocProfilesGetResponse::default()
    })
}

/// The type that is asked for, or the last one: what a pprof is about stands last.
fn chosen(types: &[String], asked: Option<&str>) -> Result<String, Error> {
    let asked = asked.filter(|asked| !asked.is_empty());
    let found = match asked {
        Some(asked) => types.iter().find(|one| *one == asked),
        None => types.last(),
    };
    found.cloned().ok_or_else(|| match asked {
        Some(asked) => Error::invalid(format!("the profile has no samples of type '{asked}'")),
        None => Error::invalid("the profile has no samples"),
    })
}

fn type_of(uploaded: &Uploaded, sample_type: &str) -> Result<ProfileType, Error> {
    Ok(ProfileType::parse(uploaded.profile_type(sample_type).unwrap_or_default())?)
}

fn tree(uploaded: &Uploaded, sample_type: &str) -> Tree {
    let sums =
        |profile| stacks::of_profile(profile, |labels| uploaded::type_of(labels) == sample_type);
    Tree::new(&uploaded.profiles.iter().map(sums).collect::<Vec<_>>())
}

fn json(rendered: &flamebearer::Rendered) -> Result<String, Error> {
    serde_json::to_string(rendered).map_err(|err| Error::new(Code::Internal, err.to_string()))
}
