//! Channel of HTTP endpoints: a POST signed by Standard Webhooks.

use std::borrow::Cow;

use futures_util::future::BoxFuture;

use super::contract::{Attempt, Channel, HandlerDescription, host_and_port};
use super::request::signed_headers;
use crate::delivery::model::{AttemptOutcome, Transport};
use crate::domain::HttpHandler;

impl Channel for HttpHandler {
    fn transport(&self) -> Transport {
        Transport::Http
    }

    fn endpoint(&self) -> &str {
        self.url.as_str()
    }

    fn host(&self) -> Cow<'_, str> {
        host_and_port(&self.url).into()
    }

    fn describe(&self) -> HandlerDescription {
        let url = self.url.to_string();
        HandlerDescription { address: url.clone(), members: vec![("url", url)] }
    }

    fn attempt<'a>(&'a self, attempt: Attempt<'a>) -> BoxFuture<'a, AttemptOutcome> {
        Box::pin(async move {
            match signed_headers(&attempt, &self.secret) {
                Ok(headers) => attempt.http.post(&self.url, headers, attempt.body).await,
                Err(unsigned) => unsigned,
            }
        })
    }
}
