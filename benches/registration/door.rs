//! Clients of the Forge door.

use anyhow::ensure;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

/// Where modules are registered.
const PATH: &str = "/forge/installation/v2/dynamic/module";

/// Speaks to one router as its apps do.
#[derive(Clone)]
pub(crate) struct Door {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
}

impl Door {
    pub(crate) fn at(base: String) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), base }
    }

    /// Registers a module; its key.
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

/// A module that hears the updates of one project. Filters of one number are equal, as those of
/// one app are in many installations.
pub(crate) fn module(number: usize) -> Value {
    let filter = format!("event.issue.fields.project.key == 'P{number}'");
    json!({"type": "trigger", "data": {"endpoint": "hook",
        "events": ["avi:jira:created:issue", "avi:jira:updated:issue"],
        "filter": {"ignoreSelf": true, "expression": filter}}})
}
