//! `docs/reference/cli.md`: the help of every command, as the program prints it.

use std::fmt::Write;

use clap::{Command, CommandFactory};
use switchyard::cli::Cli;

/// Characters of a line of help.
const WIDTH: usize = 100;

const HEAD: &str = "# Commands

What `--help` prints for every command. A test holds this page to the program. `switchyard man DIR` writes the
same as manual pages, and `source <(switchyard completion bash)` completes commands and names in the shell.
";

fn write(page: &mut String, command: &Command, depth: usize) {
    // Not the values of the environment of the test.
    let mut shown = command.clone().mut_args(|arg| arg.hide_env_values(true)).term_width(WIDTH);
    let help = shown.render_long_help().to_string();
    let help: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
    let name = shown.get_bin_name().unwrap_or(shown.get_name()).to_owned();
    let (mark, help) = ("#".repeat(depth), help.join("\n"));
    writeln!(page, "\n{mark} {name}\n\n```text\n{help}\n```").expect("a text");
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        write(page, inner, (depth + 1).min(4));
    }
}

#[test]
fn reference_of_commands_is_their_help() {
    let mut command = Cli::command();
    // Adds what all commands have, and their full names.
    command.build();
    let mut page = HEAD.to_owned();
    write(&mut page, &command, 2);
    super::hold("cli", &page);
}
