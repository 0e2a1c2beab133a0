//! Answers without an end: one JSON value a line, for as long as the router sends them.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::{Buf, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, header};
use serde_json::Value;

use super::{AGENT, ANSWER_BYTES_MAX, ApiClient, TIMEOUT};
use crate::cli::call::Call;

/// Longest line, in bytes: a delivery of 1 MiB whose characters are all escaped, with its headers.
const LINE_BYTES_MAX: usize = 8 << 20;
/// Longest pause between two lines: without news the router sends one every five seconds.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// The lines of an answer.
#[derive(Debug)]
pub struct LineStream {
    call: Call,
    body: Incoming,
    /// What was read of the next line.
    read: BytesMut,
    /// Bytes of `read` that have no line break.
    searched: usize,
}

impl ApiClient {
    /// Opens an answer without an end, whose lines come as things happen: with a POST if there is a body.
    ///
    /// # Errors
    /// No answer in time, or a status other than 2xx; the message includes that of the router.
    pub async fn follow(&self, path: &str, body: Option<&Value>) -> anyhow::Result<LineStream> {
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let call = Call::new(&self.base, &method, path);
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.reveal()))
            .header(header::ACCEPT, "application/x-ndjson")
            .header(header::USER_AGENT, AGENT)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body.map(ToString::to_string).unwrap_or_default()))?;
        let silent = |_| call.unanswered(TIMEOUT);
        let answer = tokio::time::timeout(TIMEOUT, self.pool.request(request)).await;
        let answer = answer.map_err(silent)?.map_err(|error| call.failed(&error))?;
        let (head, body) = answer.into_parts();
        if head.status.is_success() {
            return Ok(LineStream { call, body, read: BytesMut::new(), searched: 0 });
        }
        let said = Limited::new(body, ANSWER_BYTES_MAX).collect();
        let said = tokio::time::timeout(TIMEOUT, said).await.map_err(silent)?;
        let said = said.map_err(|error| call.broke_off(&*error))?.to_bytes();
        bail!(call.refused(head.status, &head.headers, &said))
    }
}

impl LineStream {
    /// Waits for the next line; none if the router ended its answer.
    ///
    /// # Errors
    /// The connection is lost, nothing came for 20 s, or the line is too long or not JSON.
    pub async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        loop {
            let rest = self.read.get(self.searched..).unwrap_or_default();
            if let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
                let line = self.read.split_to(self.searched + at);
                self.read.advance(1);
                self.searched = 0;
                let value = serde_json::from_slice(&line);
                return Ok(Some(value.with_context(|| format!("{}: not JSON", self.call))?));
            }
            self.searched = self.read.len();
            if self.read.len() > LINE_BYTES_MAX {
                bail!("{}: a line of more than {LINE_BYTES_MAX} bytes", self.call);
            }
            let frame = tokio::time::timeout(SILENCE_MAX, self.body.frame()).await;
            let Some(frame) = frame.map_err(|_| self.call.unanswered(SILENCE_MAX))? else {
                return Ok(None);
            };
            // Trailers say nothing here.
            if let Ok(data) = frame.map_err(|error| self.call.broke_off(&error))?.into_data() {
                self.read.extend_from_slice(&data);
            }
        }
    }
}
