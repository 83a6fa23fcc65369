//! Errors as the protocol writes them: a status and `{"code":"...","message":"..."}`, also where the request was protobuf.

use crate::ingest;
use crate::ingest::form;
use crate::ingest::uploaded;
use crate::query;
use crate::shelf;
use crate::store;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use protocol::pprof;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    FailedPrecondition,
    ResourceExhausted,
    Unimplemented,
    Internal,
    Unavailable,
    Unauthenticated,
}

impl Code {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Code::InvalidArgument => "invalid_argument",
            Code::DeadlineExceeded => "deadline_exceeded",
            Code::NotFound => "not_found",
            Code::AlreadyExists => "already_exists",
            Code::PermissionDenied => "permission_denied",
            Code::FailedPrecondition => "failed_precondition",
            Code::ResourceExhausted => "resource_exhausted",
            Code::Unimplemented => "unimplemented",
            Code::Internal => "internal",
            Code::Unavailable => "unavailable",
            Code::Unauthenticated => "unauthenticated",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Code::InvalidArgument | Code::FailedPrecondition => StatusCode::BAD_REQUEST,
            Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::AlreadyExists => StatusCode::CONFLICT,
            Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        }
    }
}

#[derive(Debug)]
pub(super) struct Error {
    pub code: Code,
    /// Where the protocol's code has another status in this place.
    pub status: StatusCode,
    pub message: String,
}

impl Error {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Error {
        Error { code, status: code.status(), message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Error {
        Error::new(Code::InvalidArgument, message)
    }

    pub(super) fn too_large(limit_bytes: usize) -> Error {
        let message = format!(
            "request is larger than {limit_bytes} bytes; send less at once or raise limits.body"
        );
        Error {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            ..Error::new(Code::ResourceExhausted, message)
        }
    }

    pub(super) fn to_response(&self) -> Response {
        let body = serde_json::json!({ "code": self.code.as_str(), "message": self.message });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if matches!(self.code, Code::ResourceExhausted | Code::Unavailable) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

impl From<query::Error> for Error {
    fn from(error: query::Error) -> Error {
        let code = match error {
            query::Error::Storage(_) => Code::Internal,
            _ => Code::InvalidArgument,
        };
        Error::new(code, error.to_string())
    }
}

impl From<ingest::Error> for Error {
    fn from(error: ingest::Error) -> Error {
        Error::invalid(error.to_string())
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Error {
        let code = match error {
            store::Error::TooManySeries { .. } => Code::ResourceExhausted,
            _ => Code::Unavailable,
        };
        Error::new(code, error.to_string())
    }
}

impl From<shelf::Error> for Error {
    fn from(error: shelf::Error) -> Error {
        let code = match error {
            shelf::Error::NoUpload(_) => Code::NotFound,
            shelf::Error::Changed => Code::AlreadyExists,
            shelf::Error::TooLong { .. } | shelf::Error::NoName => Code::InvalidArgument,
            shelf::Error::TooMany { .. } | shelf::Error::Full { .. } => Code::ResourceExhausted,
            shelf::Error::Io { .. } | shelf::Error::Unreadable { .. } => {
                // Where the server keeps its files is nothing to tell to everybody.
                tracing::error!(%error, "a file of the server cannot be used");
                let message = "the server cannot read or write a file; look at its log";
                return Error::new(Code::Internal, message);
            }
        };
        Error::new(code, error.to_string())
    }
}

impl From<uploaded::Error> for Error {
    fn from(error: uploaded::Error) -> Error {
        Error::invalid(error.to_string())
    }
}

impl From<form::Error> for Error {
    fn from(error: form::Error) -> Error {
        let message = error.to_string();
        let status = match error {
            form::Error::Pprof(pprof::Error::TooLarge { .. } | pprof::Error::TooDense { .. }) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            _ if error.is_of_body() => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::BAD_REQUEST,
        };
        Error { status, ..Error::invalid(message) }
    }
}
