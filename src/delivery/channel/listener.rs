//! Channel of listening clients: request and reply over the broker, to the replica that the client is
//! connected to. It forwards the request over HTTP and replies with the answer of the client's handler.

use futures_util::future::BoxFuture;

use super::contract::{Attempt, Channel, HandlerDescription};
use super::ports::FunctionError;
use super::request::http_headers;
use crate::delivery::listener_answer::ListenerAnswer;
use crate::delivery::model::{AttemptClass, AttemptOutcome, Transport};
use crate::domain::ListenerHandler;

impl Channel for ListenerHandler {
    fn transport(&self) -> Transport {
        Transport::Nats
    }

    fn endpoint(&self) -> &str {
        &self.subject
    }

    fn describe(&self) -> HandlerDescription {
        let subject = self.subject.to_string();
        let members = vec![("subject", subject.clone()), ("style", "listener".to_owned())];
        HandlerDescription { address: subject, members }
    }

    fn attempt<'a>(&'a self, attempt: Attempt<'a>) -> BoxFuture<'a, AttemptOutcome> {
        Box::pin(call(&self.subject, attempt))
    }

    /// Nothing of a listener survives it.
    fn is_ephemeral(&self) -> bool {
        true
    }
}

async fn call(subject: &str, attempt: Attempt<'_>) -> AttemptOutcome {
    let headers = http_headers(&attempt);
    let reply = attempt.ports.functions.call(subject, headers, attempt.body, attempt.timeout);
    let reply = match reply.await {
        Ok(reply) => reply,
        Err(FunctionError::NoSubscriber) => {
            return AttemptOutcome::failed(AttemptClass::Connect, "the listener is disconnected");
        }
        Err(FunctionError::Timeout) => {
            return AttemptOutcome::failed(
                AttemptClass::Timeout,
                "no answer of the listener before the deadline",
            );
        }
        Err(FunctionError::TooLarge) => {
            return AttemptOutcome::failed(
                AttemptClass::TooLarge,
                "the request exceeds the broker's message size",
            );
        }
        Err(FunctionError::Broker(reason)) => {
            return AttemptOutcome::failed(AttemptClass::Other, reason);
        }
    };
    match ListenerAnswer::read(&reply.body) {
        Some(ListenerAnswer::Response { status, body }) => {
            AttemptOutcome::of_http(status, None, body.as_bytes(), attempt.now)
        }
        Some(ListenerAnswer::NoResponse { reason }) => {
            AttemptOutcome::failed(AttemptClass::Connect, reason)
        }
        Some(ListenerAnswer::Busy) => AttemptOutcome::failed(
            AttemptClass::Other,
            "the listener has too many unanswered deliveries",
        ),
        Some(ListenerAnswer::Disconnected) => {
            AttemptOutcome::failed(AttemptClass::Connect, "the listener disconnected")
        }
        None => {
            AttemptOutcome::failed(AttemptClass::Protocol, "the reply is no answer of a listener")
        }
    }
}
