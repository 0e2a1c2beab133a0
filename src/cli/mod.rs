//! The command line: one file for each command. Commands work offline, call a router, or run one.
//!
//! A command's file has its flags, its help and its function; `command` lists the commands. Shared:
//! `exit` (exit codes), `io` (input and output), `client` (HTTP), `server_args` (which router),
//! `contexts` (named routers), `site` (which site), `manifest` and `plan` (declarative files).

pub mod account;
pub mod apply;
pub mod audit;
pub mod backtest;
mod call;
pub mod check;
pub mod client;
mod command;
mod completion;
pub mod config;
pub mod conform;
pub mod context;
mod contexts;
pub mod deliveries;
mod demo;
pub mod dev;
pub mod diff;
pub mod dlq;
pub mod doctor;
pub mod endpoints;
pub mod erase;
mod event_list;
mod event_types;
pub mod events;
mod exit;
pub mod explain;
pub mod explain_code;
pub mod export;
pub mod health;
mod io;
mod jobs;
mod ledger;
pub mod listen;
mod live_lines;
mod man;
mod manifest;
pub mod match_events;
pub mod modules;
pub mod nkey;
mod pages;
mod plan;
mod progress;
mod progress_lines;
pub mod redeliver;
pub mod replay;
mod revisions;
pub mod serve;
pub mod server_args;
mod site;
mod subscription_list;
pub mod subscriptions;
mod table;
pub mod tail;
pub mod test;
pub mod tokens;
pub mod top;
mod top_sample;
mod top_screen;
pub mod trigger;
pub mod verify;

pub use command::{Cli, complete, exit_code, run};
pub use exit::{
    EXIT_INTERNAL, EXIT_NEGATIVE, EXIT_REFUSED, EXIT_UNREACHABLE, EXIT_USAGE, UsageError,
};
pub use io::{Output, print_error};
