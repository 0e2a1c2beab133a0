//! Tests of the router through its public interfaces, with a real broker and real handlers. They
//! wait for conditions, never for time.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod access;
mod account;
mod attacks;
mod audit;
mod backtest;
mod bad_day;
mod bad_input;
mod body_retention;
mod bounds;
mod broker_away;
mod broker_roles;
mod codes;
mod command;
mod conform;
mod connect;
mod dead_letters;
mod declared;
mod delivery;
mod delivery_log;
mod delivery_queries;
mod discovery;
mod documents;
mod encryption;
mod erasure;
mod event_list;
mod explain;
mod explain_agree;
mod explain_apps;
mod first_minutes;
mod forward_reads;
mod fuzzed;
mod handlers;
mod health;
mod help;
mod ingest;
mod inspection;
mod installs;
mod isolation;
mod json_shapes;
mod late_repeats;
mod ledger;
mod listen;
mod listener;
mod log_index;
mod managed;
mod mistakes;
mod oracle;
mod overview;
mod pause;
mod poison;
mod pulling;
mod reference;
mod registration;
mod remote;
mod repeats;
mod replay_limits;
mod replays;
mod replicas;
mod restart;
mod retention;
mod revisions;
mod scenario;
mod secrets;
mod sessions;
mod shadow;
mod shares;
mod sources;
mod stored_formats;
mod support;
mod tls;
mod traces;
mod unmapped;
mod unreadable;
mod watching;
mod webhooks;
mod why;
