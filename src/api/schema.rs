//! Schemas of answers that handlers build member by member. They describe what is sent; nothing is made from
//! them. Tests hold every answer to its schema, without members that the schema does not have.
//!
//! An optional member is left out of the answer, unless its schema says that it may be `null`.

#![expect(dead_code, reason = "a schema describes JSON and is never built")]

mod access;
mod account;
mod activity;
mod apps;
mod audit_log;
mod common;
mod deliveries;
mod errors;
mod events;
mod explanations;
mod filters;
mod history;
mod inspection;
mod installations;
mod jobs;
mod letters;
mod operations;
mod params;
mod problems;
mod registration;
mod revisions;
mod shadows;
mod sites;
mod subscriptions;

pub(super) use access::{AccessToken, AccessTokenStored, NewAccessToken, Whoami};
pub(super) use account::{Account, Ledger};
pub(super) use activity::{Activity, ActivityParams};
pub(super) use apps::{App, AppStored, NewEndpointSecret};
pub(super) use audit_log::{AuditLogEntry, AuditLogPage, AuditLogParams};
pub(super) use common::{Items, Page};
pub(super) use deliveries::{DeliveryAttempts, DeliveryPage};
pub(super) use errors::{ConnectError, Error, WebhookError};
pub(super) use events::{Event, EventDeliveries, EventListPage, EventListParams, UploadReport};
pub(super) use explanations::Explanation;
pub(super) use filters::{Backtest, DryRun, EventBody, FilterCheck, FilterTest};
pub(super) use history::{History, HistoryParams};
pub(super) use inspection::{
    DeliveryEndpoint, Diagnosis, EndpointPage, EndpointParams, EndpointTest, ListenerReply,
    ListenerView, LiveParams, NewListener, Redelivery, Top, TopParams,
};
pub(super) use installations::{
    Discovery, Installation, InstallationPage, InstallationParams, InstallationStored,
    ManagedModule, NewModule, NewToken, OauthClient, OauthClientStored, RegisteredModule,
    StoredModule, ValidModule,
};
pub(super) use jobs::{Erasure, Job, Replay};
pub(super) use letters::{Letter, LetterPage, OctetStream};
pub(super) use operations::{
    DeepHealth, Encryption, JsonWebKeySet, ProbeAnswer, Repeats, SigningKey, UnmappedNames,
};
pub(super) use params::{
    CursorParams, DeliveryParams, LetterParams, PageParams, SubscriptionParams, WindowParams,
};
pub(super) use problems::RouterProblem;
pub(super) use registration::{
    BatchAnswer, ConnectModules, FailedWebhooks, ForgeModules, IngestedWebhook, ModuleTest,
    ModulesOfBatch, NewForgeModule, NewWebhooks, RegisteredWebhooks, WebhookExpiry, WebhookIds,
    WebhookPage, WebhookRegistration,
};
pub(super) use revisions::{Revision, RevisionDiff, RevisionList};
pub(super) use shadows::{Shadow, ShadowMembers};
pub(super) use sites::{Site, SitePage, SiteParams};
pub(super) use subscriptions::{Subscription, SubscriptionPage};
