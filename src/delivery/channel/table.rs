//! Table of channels: the channel of each variant of `Handler`.

use super::contract::{Channel, HandlerDescription};
use crate::domain::Handler;

/// Returns the channel of a handler.
#[must_use]
pub(crate) fn channel_of(handler: &Handler) -> &dyn Channel {
    match handler {
        Handler::Http(endpoint) => endpoint,
        Handler::Function(function) => function,
        Handler::Webhook(webhook) => webhook,
        Handler::ForgeRemote(remote) => &**remote,
        Handler::Listener(listener) => listener,
    }
}

/// Describes a handler to operators.
#[must_use]
pub fn describe(handler: &Handler) -> HandlerDescription {
    channel_of(handler).describe()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ForgeRemote, Product, Secret, WebhookHandler, WebhookSigner};

    const URL: &str = "https://app.example.com/hook";

    fn handlers() -> [Handler; 4] {
        let secret = || Secret::new("whsec_MDEyMzQ1Njc4OWFiY2RlZg==");
        let webhook = WebhookHandler {
            base: "https://app.example.com/base".parse().unwrap(),
            address: "/hook".into(),
            names: Box::default(),
            signer: WebhookSigner::Tenant { client_key: "tenant-1".into(), secret: secret() },
            excludes_body: false,
            property_keys: Box::default(),
            dynamic: None,
        };
        let remote = ForgeRemote {
            url: URL.parse().unwrap(),
            secrets: secret().into(),
            endpoint: "backend".into(),
            app_version: "1.0.0".into(),
            environment: "PRODUCTION".into(),
            product: Product::Jira,
            wraps_body: false,
            wants_system_token: false,
        };
        [
            Handler::http(URL.parse().unwrap(), secret()),
            Handler::function("sw.fn.i.main"),
            Handler::Webhook(webhook),
            Handler::ForgeRemote(Box::new(remote)),
        ]
    }

    #[test]
    fn operators_see_where_a_handler_is_and_no_secret() {
        let shown: Vec<_> = handlers().iter().map(describe).collect();
        let addresses: Vec<_> = shown.iter().map(|found| found.address.as_str()).collect();
        assert_eq!(addresses, [URL, "sw.fn.i.main", "/hook", URL]);
        let members: Vec<Vec<_>> = shown
            .iter()
            .map(|found| found.members.iter().map(|(name, value)| (*name, &**value)).collect())
            .collect();
        assert_eq!(members[0], [("url", URL)]);
        assert_eq!(members[1], [("subject", "sw.fn.i.main")]);
        assert_eq!(members[2], [("base", "https://app.example.com/base"), ("url", "/hook")]);
        assert_eq!(members[3], [("url", URL), ("style", "forge_remote")]);
    }

    #[test]
    fn webhooks_of_one_base_share_an_endpoint() {
        let endpoints = handlers().map(|handler| channel_of(&handler).endpoint().to_owned());
        assert_eq!(endpoints, [URL, "sw.fn.i.main", "https://app.example.com/base", URL]);
    }
}
