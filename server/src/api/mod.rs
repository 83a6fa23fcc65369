//! HTTP requests come in; what ingest, store, query and render make of them goes out.

pub mod metrics;
mod error;
mod tenants;
mod scope;
mod body;
mod work;
mod framing;
mod connect;
mod push;
mod ingest;
mod otlp;
mod selection;
mod single;
mod querier;
mod render;
mod settings;
mod adhoc;
mod apps;
mod status;
mod unknown;
mod admin;
pub mod account;
pub mod guard;

use crate::access::Access;
use crate::api::metrics::Metrics;
pub use crate::api::status::Shown;
pub use crate::api::tenants::{AllLimits, Limits, Tenants};
pub use crate::api::unknown::{is_call, unknown_call};
use crate::shelf::settings::Settings;
use crate::shelf::uploads::Uploads;
use crate::store::Store;
use axum::Router;
use axum::routing::{any, delete, get, post, put};
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Of a request, compressed and uncompressed.
    pub max_body_bytes: usize,
    /// Of all requests that are being read.
    pub max_bodies_bytes: usize,
    pub body_timeout: Duration,
    pub default_max_nodes: i64,
    pub max_max_nodes: i64,
}

/// What every handler needs.
pub struct Api {
    store: Arc<Store>,
    config: Config,
    tenants: Tenants,
    account: account::Config,
    access: Access,
    shown: Shown,
    settings: Settings,
    uploads: Uploads,
    clock: fn() -> i64,
    metrics: Metrics,
    registry: Registry,
    /// Kibibytes of bodies that may still be read.
    bodies: Arc<Semaphore>,
    /// Decoding and queries take the CPU: as many at once as there are CPUs, each, and one more.
    decoders: Arc<Semaphore>,
    queries: Arc<Semaphore>,
    /// Hashes of passwords take much memory, and the CPU.
    logins: Arc<Semaphore>,
    /// What else there is to do with users and keys, which does not wait for those.
    changes: Arc<Semaphore>,
}

/// What the API stands in front of.
pub struct Parts {
    pub store: Arc<Store>,
    pub config: Config,
    pub limits: AllLimits,
    pub account: account::Config,
    pub access: Access,
    pub shown: Shown,
    pub settings: Settings,
    pub uploads: Uploads,
}

impl Api {
    pub fn new(parts: Parts, clock: fn() -> i64, mut registry: Registry) -> Api {
        let Parts { store, config, limits, account, access, shown, settings, uploads } = parts;
        let n_cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let metrics = Metrics::register(&mut registry);
        let bodies = Arc::new(Semaphore::new(config.max_bodies_bytes >> 10));
        let [decoders, queries] =
            [n_cpus + 1; 2].map(|n_at_once| Arc::new(Semaphore::new(n_at_once)));
        Api {
            store,
            config,
            tenants: Tenants::new(limits, n_cpus),
            account,
            access,
            shown,
            settings,
            uploads,
            clock,
            metrics,
            registry,
            bodies,
            decoders,
            queries,
            logins: Arc::new(Semaphore::new(n_cpus.div_ceil(2))),
            changes: Arc::new(Semaphore::new(4)),
        }
    }
}

impl Api {
    /// From now on other limits hold.
    pub fn set_limits(&self, limits: AllLimits) {
        self.tenants.set(limits);
    }
}

/// What there is about users and keys, where somebody must log in.
fn accounts() -> Router<Arc<Api>> {
    use account::{keys, login, pages, users};
    Router::new()
        .route("/login", get(pages::login_page).post(login::log_in))
        .route("/logout", get(login::log_out).post(login::log_out))
        .route("/login.css", get(pages::style))
        .route("/settings/password", get(pages::password_page).post(pages::change_password))
        .route("/settings/keys", get(pages::keys_page).post(pages::post_keys))
        .route("/settings/users", get(pages::users_page).post(pages::post_users))
        .route("/api/keys", get(keys::list).post(keys::create))
        .route("/api/keys/{id}", delete(keys::delete))
        .route("/api/users", get(users::list).post(users::create))
        .route("/api/users/{id}", get(users::get).patch(users::change).delete(users::delete))
        .route("/api/users/{id}/{what}", put(users::put))
        .route("/api/user", get(users::get_own).patch(users::change_own))
        .route("/api/user/password", put(users::own_password))
}

pub fn router(api: Arc<Api>) -> Router {
    let accounts =
        if api.account.login || api.account.ingestion { accounts() } else { Router::new() };
    let querier = Router::new()
        .route("/ProfileTypes", post(querier::profile_types))
        .route("/LabelNames", post(querier::label_names))
        .route("/LabelValues", post(querier::label_values))
        .route("/Series", post(querier::series))
        .route("/SelectSeries", post(querier::select_series))
        .route("/SelectHeatmap", post(querier::select_heatmap))
        .route("/SelectMergeStacktraces", post(querier::select_merge_stacktraces))
        .route("/SelectMergeProfile", post(querier::select_merge_profile))
        .route("/SelectMergeSpanProfile", post(querier::select_merge_span_profile))
        .route("/AnalyzeQuery", post(querier::analyze_query))
        .route("/Diff", post(querier::diff))
        .route("/GetProfileStats", post(querier::profile_stats));
    let without = unknown::WITHOUT
        .into_iter()
        .fold(Router::new(), |router, path| router.route(path, post(unknown::unimplemented)));
    without
        .merge(accounts)
        .route("/capabilities.v1.FeatureFlagsService/GetFeatureFlags", post(unknown::feature_flags))
        .route("/version.v1.Version/Version", post(unknown::version))
        .route("/push.v1.PusherService/Push", post(push::push))
        .route("/ingest", post(ingest::ingest))
        .route("/pyroscope/ingest", post(ingest::ingest))
        .route("/v1development/profiles", post(otlp::http))
        .route(otlp::GRPC_PATH, post(otlp::grpc))
        .nest("/querier.v1.QuerierService", querier)
        .route("/settings.v1.SettingsService/Get", post(settings::get))
        .route("/settings.v1.SettingsService/Set", post(settings::set))
        .route("/settings.v1.SettingsService/Delete", post(settings::delete))
        .route("/adhocprofiles.v1.AdHocProfileService/Upload", post(adhoc::upload))
        .route("/adhocprofiles.v1.AdHocProfileService/Get", post(adhoc::get))
        .route("/adhocprofiles.v1.AdHocProfileService/List", post(adhoc::list))
        .route("/adhocprofiles.v1.AdHocProfileService/Diff", post(adhoc::diff))
        .route("/pyroscope/render", get(render::render))
        .route("/pyroscope/render-diff", get(render::render_diff))
        .route("/pyroscope/label-values", get(render::label_values))
        .route("/render", get(render::render))
        .route("/render-diff", get(render::render_diff))
        .route("/labels", get(render::label_names))
        .route("/label-values", get(render::label_values))
        .route("/export", get(render::export))
        .route("/api/apps", get(apps::list).delete(apps::delete_app))
        .route("/api/v1/series", delete(apps::delete_series))
        .route("/api/v1/status/buildinfo", get(status::build_info))
        .route("/api/v1/status/config", get(status::config))
        .route("/api/v1/status/config/diff", get(status::config_diff))
        .route("/api/v1/status/config/default", get(status::config_defaults))
        .route("/api/v1/tenant_limits", get(status::tenant_limits))
        .route("/config", get(status::config))
        .route("/build", get(status::build))
        .route("/healthz", get(status::healthy))
        .route("/api/{*rest}", any(unknown::no_route))
        .route("/ready", get(admin::ready))
        .route("/metrics", get(admin::metrics))
        .with_state(api)
}

#[cfg(test)]
mod tests;
