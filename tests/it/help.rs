//! The help of every command, as files in `snapshots/help/`, so that a change of a flag or a text shows in a review.

use std::collections::BTreeSet;
use std::path::Path;

use clap::{Command, CommandFactory};
use switchyard::cli::Cli;

/// Width of the help; on a terminal it is as wide as the terminal, up to this.
const WIDTH: usize = 100;

/// Returns every command with its name, such as `switchyard dlq ls`.
fn commands() -> Vec<(String, Command)> {
    fn walk(command: &Command, found: &mut Vec<(String, Command)>) {
        let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
        found.push((name, command.clone()));
        let subcommands = command.get_subcommands().filter(|sub| sub.get_name() != "help");
        subcommands.for_each(|sub| walk(sub, found));
    }
    let mut all = Cli::command().term_width(WIDTH);
    all.build();
    let mut found = Vec::new();
    walk(&all, &mut found);
    found
}

fn file_name(command: &str) -> String {
    command.replace(' ', "-")
}

#[test]
fn help_of_every_command_is_known() {
    let commands = commands();
    assert!(commands.len() > 60, "{} commands", commands.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("snapshots/help");
    for (name, command) in commands.clone() {
        let help = command.term_width(WIDTH).render_long_help().to_string();
        for line in help.lines() {
            // A word such as an address may be longer.
            let is_long = line.chars().count() > WIDTH && line.trim().contains(' ');
            assert!(
                !is_long || line.starts_with("  switchyard") || line.contains("--"),
                "`{name}`: {line}"
            );
        }
        settings.bind(|| insta::assert_snapshot!(file_name(&name), help));
    }
    let known: BTreeSet<String> = commands.iter().map(|(name, _)| file_name(name)).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots/help");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let is_new = path.extension().is_some_and(|extension| extension == "new");
        assert!(
            is_new || known.contains(&name),
            "there is no command of {}: remove it",
            path.display()
        );
    }
}

#[test]
fn every_command_says_what_it_does_and_every_flag_what_it_is() {
    for (name, command) in commands() {
        assert!(command.get_about().is_some(), "`{name}` has no description");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "`{name}`: {} has no help", argument.get_id());
        }
    }
}
