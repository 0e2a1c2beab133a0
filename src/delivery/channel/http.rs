//! Channel of HTTP endpoints: a POST signed by Standard Webhooks. One to the target of a replay has no
//! signature if the handler that it replaces makes none.

use std::borrow::Cow;

use futures_util::future::BoxFuture;

use super::contract::{Attempt, Channel, HandlerDescription, origin};
use super::request::{http_headers, signed_headers};
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
        origin(&self.url).into()
    }

    fn describe(&self) -> HandlerDescription {
        let url = self.url.to_string();
        HandlerDescription { address: url.clone(), members: vec![("url", url)] }
    }

    fn attempt<'a>(&'a self, attempt: Attempt<'a>) -> BoxFuture<'a, AttemptOutcome> {
        Box::pin(async move {
            let headers = match &self.secrets {
                Some(secrets) => signed_headers(&attempt, secrets),
                None => Ok(http_headers(&attempt)),
            };
            match headers {
                Ok(headers) => attempt.http.post(&self.url, headers, attempt.body).await,
                Err(unsigned) => unsigned,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_to_a_port_is_another_host_than_http_to_it() {
        let host = |url: &str| {
            let handler = HttpHandler { url: url.parse().unwrap(), secrets: None };
            handler.host().into_owned()
        };
        assert_ne!(host("https://a.example:8443/x"), host("http://a.example:8443/x"));
        assert_eq!(host("https://a.example/x"), host("https://A.example:443/y"));
    }
}
