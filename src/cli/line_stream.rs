//! A response whose lines arrive over hours: one JSON value a line.

use anyhow::{Context, bail};
use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

use super::client::{ApiClient, Unreachable};

/// Longest line, in bytes: a delivery of 1 MiB whose characters are all escaped, with its headers.
const LINE_BYTES_MAX: usize = 8 << 20;

/// The lines of a response.
#[derive(Debug)]
pub struct LineStream {
    base: String,
    body: Incoming,
    read: BytesMut,
    /// Bytes of `read` that have no line break.
    searched: usize,
}

impl LineStream {
    /// Sends `body` to the router and returns the lines of its response.
    ///
    /// # Errors
    /// No response in time, or a status other than 2xx.
    pub async fn open(client: &ApiClient, path: &str, body: &Value) -> anyhow::Result<Self> {
        let (base, body) = (client.base().to_owned(), client.open(path, body).await?);
        Ok(Self { base, body, read: BytesMut::new(), searched: 0 })
    }

    /// Waits for the next line; none at the end of the response.
    ///
    /// # Errors
    /// The connection is lost, or a line is too long or not JSON.
    pub async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        loop {
            let rest = self.read.get(self.searched..).unwrap_or_default();
            if let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
                let line = self.read.split_to(self.searched + at);
                self.read.advance(1);
                self.searched = 0;
                let value = serde_json::from_slice(&line).context("a line is not JSON")?;
                return Ok(Some(value));
            }
            self.searched = self.read.len();
            if self.read.len() > LINE_BYTES_MAX {
                bail!("a line of the router has more than {LINE_BYTES_MAX} bytes");
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => bail!(Unreachable::new(&self.base, error.to_string())),
                // Trailers say nothing here.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.read.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}
