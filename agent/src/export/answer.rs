//! A server's answer in; what to do with the profiles of the request out.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::time::Duration;

use prost::Message;
use protocol::push::PushResponse;
use serde::Deserialize;

use crate::label::clean;

use super::metrics::{DropReason, RetryReason};

/// What of a server's message is shown in the log.
const MAX_MESSAGE_BYTES: usize = 300;

/// The head and the (capped) body of an answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Response<'a> {
    pub(super) status: u16,
    pub(super) content_type: Option<&'a str>,
    pub(super) retry_after: Option<&'a str>,
    pub(super) location: Option<&'a str>,
    pub(super) body: &'a [u8],
}

/// What becomes of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The profiles are stored.
    Accepted,
    /// The profiles stay and are sent again.
    Retry { reason: RetryReason, after: Option<Duration>, message: String },
    /// The profiles are given up.
    Refused { reason: DropReason, message: String },
}

/// An error of the Connect protocol.
#[derive(Deserialize)]
struct ConnectError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Response<'_> {
    /// The meaning of the answer.
    pub(super) fn judge(&self) -> Answer {
        let reason = match self.status {
            200..=299 => return self.judge_success(),
            408 | 500..=599 => return self.retry(RetryReason::ServerError),
            429 => return self.retry(RetryReason::RateLimited),
            413 => return self.retry(RetryReason::TooLarge),
            300..=399 => DropReason::Redirected,
            400 | 422 => DropReason::Invalid,
            401 => DropReason::Unauthorized,
            403 => DropReason::Forbidden,
            _ => DropReason::Refused,
        };
        Answer::Refused { reason, message: self.message() }
    }

    /// A page in HTML with status 200 (a proxy's login, another program on that port) has stored nothing.
    fn judge_success(&self) -> Answer {
        let content_type = self.content_type.unwrap_or_default();
        let is_answer = self.body.is_empty()
            || (content_type.starts_with("application/proto")
                && PushResponse::decode(self.body).is_ok());
        if is_answer {
            return Answer::Accepted;
        }
        let content_type = clean(content_type.as_bytes(), MAX_MESSAGE_BYTES);
        let message = format!(
            "status {} with content of type {content_type:?}: not a profile store",
            self.status
        );
        Answer::Refused { reason: DropReason::UnexpectedAnswer, message }
    }

    fn retry(&self, reason: RetryReason) -> Answer {
        // A date instead of seconds is rare: our own wait does then.
        let after =
            self.retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        Answer::Retry { reason, after, message: self.message() }
    }

    fn message(&self) -> String {
        let said = match (self.location, serde_json::from_slice::<ConnectError>(self.body)) {
            (Some(location), _) => format!("it redirects to {location}"),
            (None, Ok(error)) if !error.message.is_empty() => {
                format!("{}: {}", error.code, error.message)
            }
            _ => String::from_utf8_lossy(self.body).trim().to_owned(),
        };
        let said = clean(said.as_bytes(), MAX_MESSAGE_BYTES);
        if said.is_empty() {
            format!("status {}", self.status)
        } else {
            format!("status {}, {said}", self.status)
        }
    }
}
