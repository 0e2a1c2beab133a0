//! Channel of functions: request and reply over the broker.

use futures_util::future::BoxFuture;

use super::contract::{Attempt, Channel, HandlerDescription};
use super::ports::{FunctionError, FunctionReply};
use super::request::common_headers;
use crate::delivery::model::{AttemptClass, AttemptOutcome, Transport};
use crate::domain::FunctionHandler;

impl Channel for FunctionHandler {
    fn transport(&self) -> Transport {
        Transport::Nats
    }

    fn endpoint(&self) -> &str {
        &self.subject
    }

    fn describe(&self) -> HandlerDescription {
        let subject = self.subject.to_string();
        HandlerDescription { address: subject.clone(), members: vec![("subject", subject)] }
    }

    fn attempt<'a>(&'a self, attempt: Attempt<'a>) -> BoxFuture<'a, AttemptOutcome> {
        Box::pin(call(&self.subject, attempt))
    }
}

async fn call(subject: &str, attempt: Attempt<'_>) -> AttemptOutcome {
    let headers = common_headers(&attempt);
    let reply = attempt.ports.functions.call(subject, headers, attempt.body, attempt.timeout);
    match reply.await {
        Ok(FunctionReply { body, error_code: None }) => AttemptOutcome::of_reply(&body),
        Ok(FunctionReply { body, error_code: Some(code) }) => {
            AttemptOutcome::of_http(code, None, &body, attempt.now)
        }
        Err(FunctionError::NoSubscriber) => {
            AttemptOutcome::failed(AttemptClass::Connect, "no subscriber on the function's subject")
        }
        Err(FunctionError::Timeout) => {
            AttemptOutcome::failed(AttemptClass::Timeout, "no reply before the deadline")
        }
        Err(FunctionError::TooLarge) => AttemptOutcome::failed(
            AttemptClass::TooLarge,
            "the request exceeds the broker's message size",
        ),
        Err(FunctionError::Broker(reason)) => AttemptOutcome::failed(AttemptClass::Other, reason),
    }
}
