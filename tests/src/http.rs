//! One server → its answers, as status and bytes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use prost::Message;

/// A blocking client of one server.
pub struct Http {
    base: String,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, if the status is 200.
    pub fn ok(self) -> Result<Vec<u8>> {
        if self.status != 200 {
            bail!("status {}: {}", self.status, self.text());
        }
        Ok(self.body)
    }
}

impl Http {
    pub fn new(base: &str) -> Result<Self> {
        // Only plain HTTP is spoken, but the client wants to know how it would encrypt. A second call changes nothing.
        rustls::crypto::ring::default_provider().install_default().ok();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            // Between calls nobody watches a connection that the server may have closed.
            .pool_max_idle_per_host(0)
            .no_proxy()
            .build()?;
        Ok(Self { base: base.to_owned(), client, runtime })
    }

    pub fn get(&self, path: &str) -> Result<Answer> {
        self.get_with(path, &[])
    }

    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        self.send(self.client.get(format!("{}{path}", self.base)), headers)
    }

    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Answer> {
        self.send(self.client.post(format!("{}{path}", self.base)).body(body), headers)
    }

    /// A Connect call with protobuf bodies.
    pub fn call<Response: Message + Default>(
        &self,
        procedure: &str,
        request: &impl Message,
    ) -> Result<Response> {
        let headers = [("content-type", "application/proto"), ("connect-protocol-version", "1")];
        let answer = self.post(&format!("/{procedure}"), &headers, request.encode_to_vec())?;
        let body = answer.ok().with_context(|| procedure.to_owned())?;
        Response::decode(body.as_slice())
            .with_context(|| format!("cannot decode the answer of {procedure}"))
    }

    /// A Connect call with JSON bodies.
    pub fn call_json(
        &self,
        procedure: &str,
        request: &serde_json::Value,
    ) -> Result<serde_json::Value> {
        let answer = self.post(
            &format!("/{procedure}"),
            &[("content-type", "application/json")],
            serde_json::to_vec(request)?,
        )?;
        Ok(serde_json::from_slice(&answer.ok()?)?)
    }

    /// Asks until the status is 200.
    pub fn wait_ready(&self, path: &str, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            let answer = self.get(path);
            match answer {
                Ok(Answer { status: 200, .. }) => return Ok(()),
                _ if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
                other => bail!("{}{path} is not ready after {limit:?}: {other:?}", self.base),
            }
        }
    }

    fn send(
        &self,
        mut request: reqwest::RequestBuilder,
        headers: &[(&str, &str)],
    ) -> Result<Answer> {
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.runtime.block_on(async {
            let response = request.send().await?;
            Ok(Answer {
                status: response.status().as_u16(),
                body: response.bytes().await?.to_vec(),
            })
        })
    }
}
