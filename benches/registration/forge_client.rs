//! An HTTP client of the Forge API.

use anyhow::ensure;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

/// Path of the module API.
const PATH: &str = "/forge/installation/v2/dynamic/module";

/// A client of one router.
#[derive(Clone)]
pub(crate) struct ForgeClient {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
}

impl ForgeClient {
    pub(crate) fn at(base: String) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), base }
    }

    /// Registers a module; returns its key.
    pub(crate) async fn register(&self, token: &str, body: &Value) -> anyhow::Result<String> {
        let answer = self.post(PATH, token, body).await?;
        Ok(answer.get("key").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    pub(crate) async fn register_batch(&self, token: &str, items: &[Value]) -> anyhow::Result<()> {
        self.post(&format!("{PATH}:batch"), token, &json!({"items": items})).await.map(drop)
    }

    async fn post(&self, path: &str, token: &str, body: &Value) -> anyhow::Result<Value> {
        let request = Request::post(format!("{}{path}", self.base))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()))?;
        let answer = self.client.request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(status.as_u16() == 201, "{status}: {}", String::from_utf8_lossy(&body));
        Ok(serde_json::from_slice(&body)?)
    }
}

/// A module with a filter on one project. Modules of one number have equal filters, as those of
/// one app have in many installations.
pub(crate) fn module(number: usize) -> Value {
    let filter = format!("event.issue.fields.project.key == 'P{number}'");
    json!({"type": "trigger", "data": {"endpoint": "hook",
        "events": ["avi:jira:created:issue", "avi:jira:updated:issue"],
        "filter": {"ignoreSelf": true, "expression": filter}}})
}
