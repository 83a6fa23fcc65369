//! The part `server` of the settings: where profiles go and who sends them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use units::{Bytes, Span};
use url::Url;

use crate::export::{self, Authorization, Secret, SecretSource};

use super::Error;

/// Headers that the exporter sets itself or that belong to the connection.
const RESERVED_HEADERS: [&str; 8] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
    "x-scope-orgid",
];
/// Longest name of a tenant that servers of the protocol take.
const MAX_TENANT_BYTES: usize = 150;

/// `server`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address of the server.
    pub url: String,
    /// User and password.
    pub basic: Basic,
    /// A token.
    pub bearer: Bearer,
    /// Value of X-Scope-OrgID; empty: none.
    pub tenant: String,
    /// More headers. Their values may be secrets.
    pub headers: BTreeMap<String, Secret>,
    /// The only certificates that the server may be signed by; empty: those of the system.
    pub ca_file: PathBuf,
    /// Longest wait for a connection.
    pub connect_timeout: Span,
    /// Longest wait for an answer.
    pub timeout: Span,
    /// Bound on the profiles that wait for the server.
    pub queue_bytes: Bytes,
}

/// `server.basic`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Basic {
    /// Empty: no basic authentication.
    pub username: String,
    /// The password itself.
    pub password: Secret,
    /// A file with the password.
    pub password_file: PathBuf,
}

/// `server.bearer`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bearer {
    /// The token itself.
    pub token: Secret,
    /// A file with the token.
    pub token_file: PathBuf,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:4040".to_owned(),
            basic: Basic::default(),
            bearer: Bearer::default(),
            tenant: String::new(),
            headers: BTreeMap::new(),
            ca_file: PathBuf::new(),
            connect_timeout: Duration::from_secs(5).into(),
            timeout: Duration::from_secs(30).into(),
            queue_bytes: Bytes::from_mib(16),
        }
    }
}

impl Server {
    /// The checked settings of the exporter.
    pub(super) fn export(&self) -> Result<export::Config, Error> {
        let url = self.checked_url()?;
        let is_set = !self.ca_file.as_os_str().is_empty();
        if is_set && url.scheme() != "https" {
            return Err(Error::new(
                "server.ca_file",
                "has no effect on http:// addresses; write https:// in server.url",
            ));
        }
        if !(1 << 20..=1 << 32).contains(&self.queue_bytes.0) {
            let message = format!("{} is not between 1MiB and 4GiB", self.queue_bytes);
            return Err(Error::new("server.queue_bytes", message));
        }
        let authorization = self.authorization()?;
        let headers = self.checked_headers(authorization.is_some())?;
        Ok(export::Config {
            url,
            authorization,
            headers,
            ca_file: is_set.then(|| self.ca_file.clone()),
            connect_timeout: checked_timeout("server.connect_timeout", self.connect_timeout)?,
            timeout: checked_timeout("server.timeout", self.timeout)?,
            queue_bytes: self.queue_bytes.len(),
        })
    }

    /// Messages do not repeat the address: a password may be in it.
    fn checked_url(&self) -> Result<Url, Error> {
        let bad = |message: &str| Error::new("server.url", message);
        let url = Url::parse(&self.url).map_err(|err| {
            bad(&format!("not a URL ({err}): write it as in http://127.0.0.1:4040"))
        })?;
        if !["http", "https"].contains(&url.scheme()) || url.host().is_none() {
            return Err(bad(
                "must begin with http:// or https:// and a host, as in http://127.0.0.1:4040",
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("must not hold a user or password: they belong in server.basic"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("must end with the path: no ?query and no #fragment"));
        }
        Ok(url)
    }

    fn authorization(&self) -> Result<Option<Authorization>, Error> {
        let password =
            source("server.basic.password", &self.basic.password, &self.basic.password_file)?;
        let token = source("server.bearer.token", &self.bearer.token, &self.bearer.token_file)?;
        let username = &self.basic.username;
        match (username.is_empty(), password, token) {
            (true, None, None) => Ok(None),
            (true, None, Some(token)) => Ok(Some(Authorization::Bearer(token))),
            (true, Some(_), _) => {
                Err(Error::new("server.basic.username", "is empty, but there is a password"))
            }
            (false, _, _) if username.contains(':') => {
                Err(Error::new("server.basic.username", "must not contain a colon"))
            }
            (false, Some(password), None) => {
                Ok(Some(Authorization::Basic { username: username.clone(), password }))
            }
            (false, None, None) => {
                let password = SecretSource::Value(Secret::default());
                Ok(Some(Authorization::Basic { username: username.clone(), password }))
            }
            (false, _, Some(_)) => Err(Error::new(
                "server.bearer",
                "cannot be used together with server.basic: set one of them",
            )),
        }
    }

    fn checked_headers(&self, has_authorization: bool) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let bad = |message: &str| Error {
                key: "server.headers",
                entry: Some(name.clone()),
                message: message.to_owned(),
            };
            let name: HeaderName =
                name.parse().map_err(|_invalid| bad("this is no name of a header"))?;
            if RESERVED_HEADERS.contains(&name.as_str()) {
                return Err(bad("is set by the agent itself"));
            }
            if name == AUTHORIZATION && has_authorization {
                return Err(bad("cannot be used together with server.basic or server.bearer"));
            }
            let mut value = HeaderValue::from_str(value.expose())
                .map_err(|_invalid| bad("the value has characters that no header can hold"))?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        if let Some(tenant) = self.checked_tenant()? {
            headers.insert("x-scope-orgid", tenant);
        }
        Ok(headers)
    }

    fn checked_tenant(&self) -> Result<Option<HeaderValue>, Error> {
        let tenant = &self.tenant;
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!-_.*'()".contains(&byte);
        if tenant.len() > MAX_TENANT_BYTES
            || !tenant.bytes().all(is_allowed)
            || [".", ".."].contains(&tenant.as_str())
        {
            let message = format!(
                "must be at most {MAX_TENANT_BYTES} characters out of A-Z a-z 0-9 ! - _ . * ' ( )"
            );
            return Err(Error::new("server.tenant", message));
        }
        Ok(Some(tenant)
            .filter(|tenant| !tenant.is_empty())
            .and_then(|tenant| HeaderValue::from_str(tenant).ok()))
    }
}

fn source(key: &'static str, value: &Secret, file: &Path) -> Result<Option<SecretSource>, Error> {
    match (value.is_empty(), file.as_os_str().is_empty()) {
        (true, true) => Ok(None),
        (false, true) => Ok(Some(SecretSource::Value(value.clone()))),
        (true, false) => Ok(Some(SecretSource::File(file.to_owned()))),
        (false, false) => {
            Err(Error::new(key, "is given twice, as a value and as a file: keep one of them"))
        }
    }
}

fn checked_timeout(key: &'static str, timeout: Span) -> Result<Duration, Error> {
    if timeout.duration() < Duration::from_millis(10)
        || timeout.duration() > Duration::from_mins(10)
    {
        return Err(Error::new(key, format!("{timeout} is not between 10ms and 10m")));
    }
    Ok(timeout.duration())
}
