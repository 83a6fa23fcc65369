//! `push.v1.PusherService/Push`: acknowledged when every good profile is durable.

use crate::api::connect::Call;
use crate::api::error::{Code, Error};
use crate::api::metrics::Refused;
use crate::api::scope::Scope;
use crate::api::work::on_thread;
use crate::api::{Api, body};
use crate::ingest::{self, NormalizedProfile, Reason, labels, push};
use crate::store;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use protocol::push::{PushRequest, PushResponse};
use std::sync::Arc;
use tokio::sync::oneshot;

/// An answer names this many of the profiles that were refused.
const MAX_MESSAGES: usize = 10;

type Durable = oneshot::Receiver<Result<(), store::Error>>;

/// Profiles that wait for the disk, and what was wrong with the others.
#[derive(Default)]
pub(super) struct Accepted {
    waiting: Vec<Durable>,
    errors: Vec<Error>,
}

pub(super) async fn push(State(api): State<Arc<Api>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let call = match Call::of(parts.version, &parts.headers) {
        Ok(call) => call,
        Err(response) => return *response,
    };
    let scope = Scope::of(Arc::clone(&api), &parts.extensions);
    let result = async {
        let body = body::read(&api, &parts.headers, body).await?;
        api.metrics.received_bytes.inc_by(body.len() as u64);
        let accepted = on_thread(&scope, &api.decoders, move |api| {
            let limit = api.config.max_body_bytes;
            let size = call.with_message(&body, limit, |message| Ok(message.len()));
            api.charge(size.inspect_err(|error| count_body(api, error))?)?;
            let request: PushRequest =
                call.decode(&body, limit).inspect_err(|error| count_body(api, error))?;
            drop(body);
            Ok(Accepted::all(api, push::read(request, &api.limits.ingest, (api.clock)())))
        });
        accepted.await?.finish().await
    };
    let result = result.await.and_then(|()| call.encode(&PushResponse::default()));
    call.respond(&api, result)
}

pub(super) fn count_body(api: &Scope, error: &Error) {
    if error.code == Code::ResourceExhausted && error.status == StatusCode::TOO_MANY_REQUESTS {
        return; // It was counted where the rate is.
    }
    let too_large = error.status == StatusCode::PAYLOAD_TOO_LARGE;
    api.discard(if too_large { Reason::BodySize } else { Reason::MalformedProfile });
}

impl Accepted {
    pub(super) fn all(
        api: &Scope,
        profiles: Vec<Result<NormalizedProfile, ingest::Error>>,
    ) -> Accepted {
        let mut accepted = Accepted::default();
        for result in profiles {
            api.metrics.received_profiles.inc();
            match result {
                Ok(profile) => accepted.store(api, profile),
                Err(error) => accepted.refuse(api, error.reason(), error.into()),
            }
        }
        accepted
    }

    pub(super) fn store(&mut self, api: &Scope, mut profile: NormalizedProfile) {
        for series in &mut profile.series {
            // Whatever clients say of it.
            match api.label() {
                "" => series.labels.remove(labels::TENANT),
                tenant => series.labels.set(labels::TENANT, tenant),
            }
        }
        match api.store.append_within(&profile, api.limits.max_series) {
            Ok((_, durable)) => self.waiting.push(durable),
            Err(error @ store::Error::TooManySeries { .. }) => {
                self.refuse(api, Reason::SeriesLimit, error.into());
            }
            Err(error) => {
                api.metrics.refuse(Refused::StoreBusy);
                self.errors.push(error.into());
            }
        }
    }

    pub(super) fn refuse(&mut self, api: &Scope, reason: Reason, error: Error) {
        api.discard(reason);
        tracing::debug!(reason = reason.as_str(), error = %error.message, "profile refused");
        self.errors.push(error);
    }

    /// Waits for the disk. An error does not mean that nothing was stored.
    pub(super) async fn finish(mut self) -> Result<(), Error> {
        for durable in self.waiting {
            let result = durable.await.unwrap_or(Err(store::Error::Stopping));
            self.errors.extend(result.err().map(Error::from));
        }
        // What may succeed later decides: the client shall come again.
        let rank = |error: &Error| match error.code {
            Code::Unavailable => 0,
            Code::ResourceExhausted => 1,
            _ => 2,
        };
        self.errors.sort_by_key(rank);
        let messages: Vec<&str> =
            self.errors.iter().take(MAX_MESSAGES).map(|error| error.message.as_str()).collect();
        let message = messages.join("\n");
        match self.errors.first() {
            None => Ok(()),
            Some(first) => Err(Error { code: first.code, status: first.status, message }),
        }
    }
}
