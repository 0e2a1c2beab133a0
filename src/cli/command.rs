//! The list of commands, and the exit code of a failed one.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::client::{ErrorStatus, Unreachable};
use super::exit::{EXIT_INTERNAL, EXIT_REFUSED, EXIT_UNREACHABLE, EXIT_USAGE, UsageError};
use super::{
    account, apply, audit, backtest, check, completion, config, conform, context, deliveries, dev,
    diff, dlq, doctor, endpoints, erase, events, explain, explain_code, export, health, listen,
    man, match_events, modules, nkey, redeliver, replay, serve, subscriptions, tail, test, tokens,
    top, trigger, verify,
};
use crate::bus::{BrokerConnectError, ManagedError};
use crate::lifecycle::ListenError;

/// Routes Jira events to the apps that registered triggers for them.
#[derive(Debug, Parser)]
#[command(name = "switchyard", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 success, 1 negative result (invalid, false, failed cases), \
    2 wrong flags, files or configuration, 3 router or broker unreachable, 4 rejected by the router, \
    5 internal error.";

// The help of a command is in its file.
#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Dev(dev::DevArgs),
    Check(check::CheckArgs),
    ExplainCode(explain_code::ExplainCodeArgs),
    Test(test::TestArgs),
    Explain(explain::ExplainArgs),
    Backtest(backtest::BacktestArgs),
    Config(config::ConfigArgs),
    Conform(conform::ConformArgs),
    Match(match_events::MatchArgs),
    Modules(modules::ModulesArgs),
    Subscriptions(subscriptions::SubscriptionsArgs),
    Endpoints(endpoints::EndpointsArgs),
    Tail(tail::TailArgs),
    Top(top::TopArgs),
    Account(account::AccountArgs),
    Audit(audit::AuditArgs),
    Deliveries(deliveries::DeliveriesArgs),
    Redeliver(redeliver::RedeliverArgs),
    Events(events::EventsArgs),
    Apply(apply::ApplyArgs),
    Diff(diff::DiffArgs),
    Export(export::ExportArgs),
    Listen(listen::ListenArgs),
    Trigger(trigger::TriggerArgs),
    Context(context::ContextArgs),
    Dlq(dlq::DlqArgs),
    Erase(erase::EraseArgs),
    Replay(replay::ReplayArgs),
    Doctor(doctor::DoctorArgs),
    Health(health::HealthArgs),
    Tokens(tokens::TokensArgs),
    Whoami(tokens::WhoamiArgs),
    Verify(verify::VerifyArgs),
    Nkey(nkey::NkeyArgs),
    Completion(completion::CompletionArgs),
    Man(man::ManArgs),
}

/// Runs a command.
///
/// # Errors
/// Usage, input or internal errors; the caller prints them and maps them to the exit code.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Dev(args) => dev::run(&args),
        Command::Check(args) => check::run(&args),
        Command::ExplainCode(args) => explain_code::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Backtest(args) => backtest::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Conform(args) => conform::run(&args),
        Command::Match(args) => match_events::run(&args),
        Command::Modules(args) => modules::run(&args),
        Command::Subscriptions(args) => subscriptions::run(&args),
        Command::Endpoints(args) => endpoints::run(&args),
        Command::Tail(args) => tail::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Account(args) => account::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Deliveries(args) => deliveries::run(&args),
        Command::Redeliver(args) => redeliver::run(&args),
        Command::Events(args) => events::run(&args),
        Command::Apply(args) => apply::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Listen(args) => listen::run(&args),
        Command::Trigger(args) => trigger::run(&args),
        Command::Context(args) => context::run(&args),
        Command::Dlq(args) => dlq::run(&args),
        Command::Erase(args) => erase::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Tokens(args) => tokens::run(&args),
        Command::Whoami(args) => tokens::whoami(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Nkey(args) => nkey::run(&args),
        Command::Completion(args) => completion::run(&args),
        Command::Man(args) => man::run::<Cli>(&args),
    }
}

/// Answers a question of a completion script, if this process is asked one; returns whether it was.
#[must_use]
pub fn complete() -> bool {
    completion::answer::<Cli>()
}

/// Returns the exit code of a failed command.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match () {
        () if error.is::<UsageError>() || error.is::<ListenError>() => EXIT_USAGE,
        () if error.is::<ManagedError>() => EXIT_USAGE,
        () if error.is::<Unreachable>() || error.is::<BrokerConnectError>() => EXIT_UNREACHABLE,
        () if error.is::<ErrorStatus>() => EXIT_REFUSED,
        () => EXIT_INTERNAL,
    }
}
