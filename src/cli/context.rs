//! `switchyard context`: named routers.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::ApiClient;
use super::contexts::{ContextFile, Contexts, NamedContext};
use super::io::{Output, print_line, print_row, read_input};
use super::jobs::text;
use super::table::{Column, ListFlags, ListOf, Tone, Toned, plain, print_list};
use crate::domain::Secret;

const LIST: ListOf<'static> =
    ListOf { id: "name", if_empty: "`switchyard context add` or `switchyard dev` makes a context" };
const COLUMNS: [Column; 6] = [
    Column::text("", 0),
    Column::text("NAME", 0),
    Column::text("SERVER", 0),
    Column::text("SITE", 2),
    Column::text("STATE", 1),
    Column::text("TOKEN", 3).wide(),
];

/// Names routers, so that commands need neither address nor token
#[derive(Debug, Args)]
#[command(
    after_help = "A command uses the context that --context or SWITCHYARD_CONTEXT names, else the selected \
    one, else that of the `switchyard dev` that runs. Contexts are files of mode 0600 in \
    $XDG_CONFIG_HOME/switchyard/contexts (~/.config).\n\n\
    Exit codes: 0 success, 2 no such context, or it cannot be written.\n\n\
    Examples:\n  \
    switchyard context add prod --server https://switchyard.example.com --token-file ~/prod.token --select\n  \
    pass switchyard/test | switchyard context add test --server http://10.0.0.5:8089 --token-stdin\n  \
    switchyard context ls\n  \
    switchyard context select prod\n  \
    switchyard context show prod -o json\n  \
    switchyard context rm test"
)]
pub struct ContextArgs {
    #[command(flatten)]
    flags: ListFlags,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists contexts
    #[command(alias = "list")]
    Ls,
    /// Adds a context, or replaces one
    #[command(alias = "create")]
    Add {
        /// Its name: letters, digits, `-` and `_`
        name: String,
        /// Address of the router
        #[arg(long, short, value_name = "URL")]
        server: String,
        /// File with the operator token, read again by each command
        #[arg(long, value_name = "FILE", conflicts_with = "token_stdin")]
        token_file: Option<PathBuf>,
        /// Reads the operator token from standard input and keeps it in the context
        #[arg(long)]
        token_stdin: bool,
        /// Site that commands use unless one is named
        #[arg(long, value_name = "CLOUDID")]
        site: Option<String>,
        /// Selects it, too
        #[arg(long)]
        select: bool,
    },
    /// Selects the context of the next commands
    #[command(alias = "use")]
    Select {
        /// The context
        #[arg(required_unless_present = "none")]
        name: Option<String>,
        /// Selects none: the running `switchyard dev` is used
        #[arg(long, conflicts_with = "name")]
        none: bool,
    },
    /// Removes a context
    #[command(alias = "delete")]
    Rm {
        /// The context
        name: String,
    },
    /// Shows a context, without its token
    #[command(aliases = ["get", "info"])]
    Show {
        /// The context
        name: String,
    },
}

/// Executes the action.
///
/// # Errors
/// There is no such context, or it cannot be written.
pub fn run(args: &ContextArgs) -> anyhow::Result<ExitCode> {
    let (contexts, output) = (Contexts::open()?, args.flags.output.plain());
    match &args.action {
        Action::Ls => list(&contexts, args.flags)?,
        Action::Add { name, server, token_file, token_stdin, site, select } => {
            // An address that no client can call is refused now, not by the next command.
            ApiClient::at(server, "")?;
            let mut file = ContextFile::new(server, site.as_deref());
            file.token_file = token_file.as_deref().map(absolute).transpose()?;
            if *token_stdin {
                let text = read_input(Path::new("-"))?;
                file = file.with_token(&Secret::new(text.trim()));
            }
            contexts.write(name, &file)?;
            if *select {
                contexts.select(Some(name))?;
            }
            show(&contexts, &contexts.existing(name)?, output)?;
        }
        Action::Select { name, .. } => {
            contexts.select(name.as_deref())?;
            let said = match name {
                Some(name) => format!("{name} is selected"),
                None => "no context is selected".to_owned(),
            };
            print_result(output, &said, &json!({ "selected": name }))?;
        }
        Action::Rm { name } => {
            contexts.remove(name)?;
            print_result(output, &format!("{name} is removed"), &json!({ "removed": name }))?;
        }
        Action::Show { name } => show(&contexts, &contexts.existing(name)?, output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot use {}", path.display()))
}

fn print_result(output: Output, said: &str, value: &Value) -> anyhow::Result<()> {
    match output {
        Output::Text => print_row(said),
        Output::Json | Output::Jsonl => print_line(&value.to_string()),
    }
}

fn list(contexts: &Contexts, flags: ListFlags) -> anyhow::Result<()> {
    let (all, selected) = (contexts.all()?, contexts.selected()?);
    let is_selected = |context: &NamedContext| selected.as_deref() == Some(&context.name);
    let items: Vec<_> = all.iter().map(|context| view(context, is_selected(context))).collect();
    print_list(flags, LIST, &items, &COLUMNS, row)
}

fn row(item: &Value) -> Vec<Toned> {
    let is_selected = item.get("selected") == Some(&Value::Bool(true));
    let tone = if text(item, "state") == "running" { Tone::Good } else { Tone::Plain };
    let site = match text(item, "site") {
        "" => "-",
        site => site,
    };
    vec![
        plain(if is_selected { "*" } else { "" }),
        plain(text(item, "name")),
        plain(text(item, "server")),
        plain(site),
        (text(item, "state").to_owned(), tone),
        plain(text(item, "token")),
    ]
}

fn show(contexts: &Contexts, context: &NamedContext, output: Output) -> anyhow::Result<()> {
    let is_selected = contexts.selected()?.as_deref() == Some(&context.name);
    let view = view(context, is_selected);
    if output != Output::Text {
        return print_line(&view.to_string());
    }
    for (label, name) in [
        ("name", "name"),
        ("server", "server"),
        ("site", "site"),
        ("token", "token"),
        ("state", "state"),
    ] {
        print_row(&format!(
            "{label:8}  {}",
            view.get(name).and_then(Value::as_str).unwrap_or("-")
        ))?;
    }
    print_row(&format!("selected  {}", if is_selected { "yes" } else { "no" }))
}

/// A context as programs read it, without its token.
fn view(context: &NamedContext, is_selected: bool) -> Value {
    let NamedContext { name, file, state } = context;
    let token = match &file.token_file {
        _ if file.has_own_token() => "in the context".to_owned(),
        Some(file) => format!("in {}", file.display()),
        None => "none".to_owned(),
    };
    json!({
        "name": name,
        "server": file.server,
        "site": file.site,
        "token": token,
        "state": state.label(),
        "selected": is_selected,
    })
}
