//! Answers without an end: one JSON object a line, for as long as the router sends them.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, header};
use serde_json::Value;

use super::{ANSWER_BYTES_MAX, ApiClient, TIMEOUT};
use crate::cli::call::Call;

/// Longest line.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Longest pause between two lines: an idle feed of the router sends one every five seconds.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// The lines of an answer.
#[derive(Debug)]
pub(in crate::cli) struct LineStream {
    call: Call,
    body: Incoming,
    /// What was read of the next line.
    text: Vec<u8>,
}

impl ApiClient {
    /// Opens an answer without an end, whose lines come as things happen.
    ///
    /// # Errors
    /// No answer in time, or a status other than 2xx.
    pub(in crate::cli) async fn follow(&self, path: &str) -> anyhow::Result<LineStream> {
        let call = Call::new(&self.base, &Method::GET, path);
        let request = Request::builder()
            .method(Method::GET)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.reveal()))
            .header(header::ACCEPT, "application/x-ndjson")
            .body(Full::<Bytes>::default())?;
        let answer = tokio::time::timeout(TIMEOUT, self.pool.request(request)).await;
        let answer = answer.map_err(|_| call.unanswered(TIMEOUT))?;
        let (head, body) = answer.map_err(|error| call.failed(&error))?.into_parts();
        if !head.status.is_success() {
            let said = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let said = said.map_err(|error| call.broke_off(&*error))?.to_bytes();
            bail!(call.refused(head.status, &head.headers, &said));
        }
        Ok(LineStream { call, body, text: Vec::new() })
    }
}

impl LineStream {
    /// Returns the next line; none if the router ended its answer.
    ///
    /// # Errors
    /// The connection is lost, nothing came for long, or the line is not JSON.
    pub(in crate::cli) async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                let line = serde_json::from_slice(&line);
                return Ok(Some(line.with_context(|| format!("{}: not JSON", self.call))?));
            }
            if self.text.len() > LINE_BYTES_MAX {
                bail!("{}: a line of more than {LINE_BYTES_MAX} bytes", self.call);
            }
            let frame = tokio::time::timeout(SILENCE_MAX, self.body.frame()).await;
            let frame = frame.map_err(|_| self.call.unanswered(SILENCE_MAX))?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| self.call.broke_off(&error))?;
            // Trailers say nothing here.
            if let Ok(data) = frame.into_data() {
                self.text.extend_from_slice(&data);
            }
        }
    }
}
