//! `switchyard completion`: prints a completion script for a shell, which asks this program for
//! candidates: names of commands and flags, event types, contexts, and the subscriptions and
//! installations of the router.

mod names;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Command, CommandFactory, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use clap_complete::env::{CompleteEnv, Shells};

/// Variable by which the script asks for candidates.
const VARIABLE: &str = "COMPLETE";
const PROGRAM: &str = "switchyard";
/// What bash needs in addition, to complete words with colons.
const COLONS: &str = include_str!("completion/colons.bash");

/// Prints a completion script for your shell
#[derive(Debug, Args)]
#[command(
    after_help = "Subscriptions and installations are completed by the router that the command would call: that \
    of --context or --server, of the environment, or of the running `switchyard dev`.\n\n\
    Examples:\n  \
    source <(switchyard completion bash)\n  \
    switchyard completion bash > /etc/bash_completion.d/switchyard\n  \
    switchyard completion fish > ~/.config/fish/completions/switchyard.fish"
)]
pub(super) struct CompletionArgs {
    /// The shell
    shell: Shell,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

impl Shell {
    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Elvish => "elvish",
            Self::Fish => "fish",
            Self::Powershell => "powershell",
            Self::Zsh => "zsh",
        }
    }
}

/// Prints the script.
pub(super) fn run(args: &CompletionArgs) -> anyhow::Result<ExitCode> {
    let shells = Shells::builtins();
    let shell = shells.completer(args.shell.name()).context("no such shell")?;
    let mut out = std::io::stdout().lock();
    shell.write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut out)?;
    if args.shell == Shell::Bash {
        out.write_all(COLONS.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Answers a question of a completion script; returns whether there was one.
pub(super) fn answer<C: CommandFactory>() -> bool {
    let environment = CompleteEnv::with_factory(|| with_completers(C::command())).bin(PROGRAM);
    let folder = std::env::current_dir().ok();
    // An error would disturb the line that is being typed.
    environment.try_complete(std::env::args_os(), folder.as_deref()).unwrap_or(true)
}

/// Adds completers to the arguments of all commands, by their names.
fn with_completers(command: Command) -> Command {
    let name = command.get_name().to_owned();
    let takes_types = ["trigger", "listen", "sample"].contains(&name.as_str());
    let is_context = name == "context";
    let command = command.mut_args(|arg| match arg.get_id().as_str() {
        "subscription" => arg.add(ArgValueCompleter::new(names::subscriptions)),
        "installation" => arg.add(ArgValueCompleter::new(names::installations)),
        "context" => arg.add(ArgValueCompleter::new(names::contexts)),
        "event_type" | "event" if takes_types => {
            arg.add(ArgValueCompleter::new(names::event_types))
        }
        _ => arg,
    });
    command.mut_subcommands(|sub| {
        let takes_context = is_context && sub.get_name() != "add";
        let sub = with_completers(sub);
        sub.mut_args(|arg| match arg.get_id().as_str() {
            "name" if takes_context => arg.add(ArgValueCompleter::new(names::contexts)),
            _ => arg,
        })
    })
}
