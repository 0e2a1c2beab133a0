//! Handlers: where matched events are delivered.

use std::sync::Arc;

use url::Url;

use super::product::Product;
use super::secret::Secret;
use super::signing_secrets::SigningSecrets;

/// Where matched events are delivered.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Handler {
    /// An HTTP endpoint of the app.
    Http(HttpHandler),
    /// A function of the app.
    Function(FunctionHandler),
    /// A webhook of a Connect app.
    Webhook(WebhookHandler),
    /// The backend of a Forge app.
    ForgeRemote(Box<ForgeRemote>),
    /// A listening client.
    Listener(ListenerHandler),
}

impl Handler {
    /// Creates the handler of an HTTP endpoint.
    #[must_use]
    pub fn http(url: Url, secrets: impl Into<SigningSecrets>) -> Self {
        Self::Http(HttpHandler { url, secrets: Some(secrets.into()) })
    }

    /// Creates the handler of a function that replies on `subject`.
    #[must_use]
    pub fn function(subject: impl Into<Arc<str>>) -> Self {
        Self::Function(FunctionHandler { subject: subject.into() })
    }
}

/// An HTTP endpoint of an app.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HttpHandler {
    /// URL that deliveries are posted to.
    pub url: Url,
    /// Sign every delivery to this endpoint; none for one that is not of an app, see
    /// [`SigningSecrets`].
    pub secrets: Option<SigningSecrets>,
}

/// A function of an app that replies on a NATS subject.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct FunctionHandler {
    /// `<prefix>.fn.<installation token>.<function>`.
    pub subject: Arc<str>,
}

/// A listening client (`switchyard listen`), called through the replica that it is connected to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ListenerHandler {
    /// Subject on which that replica receives its deliveries.
    pub subject: Arc<str>,
}

/// The backend of a Forge app, called by the vendor's protocol for remotes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ForgeRemote {
    /// URL that deliveries are posted to.
    pub url: Url,
    /// Sign every delivery, in addition to the invocation token.
    pub secrets: SigningSecrets,
    /// Key of the endpoint.
    pub endpoint: Box<str>,
    /// Version of the app.
    pub app_version: Box<str>,
    /// `PRODUCTION`, `STAGING` or `DEVELOPMENT`.
    pub environment: Box<str>,
    /// Product of the site.
    pub product: Product,
    /// Whether the event is wrapped in a `payload` member.
    pub wraps_body: bool,
    /// Whether requests carry a token for calling the API back.
    pub wants_system_token: bool,
}

/// Where and how a webhook is posted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct WebhookHandler {
    /// The app's base URL; tokens cover the path below it.
    pub base: Url,
    /// Path below the base URL, or a whole URL; may contain variables such as `{issue.key}`.
    pub address: Box<str>,
    /// Event names that the app subscribed with, such as `jira:issue_created`.
    pub names: Box<[Box<str>]>,
    /// Who signs its requests.
    pub signer: WebhookSigner,
    /// Whether it is posted without a body.
    pub excludes_body: bool,
    /// Keys of the issue properties that bodies include.
    pub property_keys: Box<[Box<str>]>,
    /// Set for a dynamic webhook.
    pub dynamic: Option<DynamicWebhookId>,
}

/// Identity of a dynamic webhook. All that match an event and have one owner and one address share
/// one delivery.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DynamicWebhookId {
    /// Its id, unique in the site.
    pub number: u64,
    /// Names its owner and its address: the delivery id is derived from it, so it differs between
    /// deliveries of one event.
    pub delivery_key: Box<str>,
}

/// Who signs the requests of a webhook.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum WebhookSigner {
    /// The tenant, for a Connect app: `Authorization: JWT`.
    Tenant {
        /// Client key of the tenant, the issuer of the token.
        client_key: Box<str>,
        /// Secret shared by tenant and app.
        secret: Secret,
    },
    /// An OAuth 2.0 client: `Authorization: Bearer`.
    OauthClient {
        /// Id of the client.
        client: Box<str>,
        /// Its secrets.
        secrets: SigningSecrets,
    },
}
