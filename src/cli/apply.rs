//! `switchyard apply`, `diff` and `export`: records of a router as manifests in files.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::client::ApiClient;
use super::manifest::{self, Manifest, PlanStep, plan};
use super::server_args::ServerArgs;
use super::{EXIT_NEGATIVE, block_on, print_line};

/// Flags of `apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Folder or file with the manifests
    #[arg(long, short, value_name = "DIR")]
    file: PathBuf,
    /// Prints the changes and validates new and changed modules, without applying anything
    #[arg(long)]
    dry_run: bool,
    /// Removes modules that the manifest of their installation does not list
    #[arg(long)]
    prune: bool,
}

/// Flags of `diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Folder or file with the manifests
    #[arg(long, short, value_name = "DIR")]
    file: PathBuf,
}

/// Flags of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Folder to write to; created if missing
    #[arg(long, short, value_name = "DIR")]
    dir: PathBuf,
}

/// Applies the manifests to the router. Idempotent.
///
/// # Errors
/// A file is invalid, or the router does not answer or rejects a step; earlier steps stay applied.
pub fn apply(args: &ApplyArgs) -> anyhow::Result<ExitCode> {
    let wanted = manifest::read_files(&args.file)?;
    let client = args.server.client()?;
    block_on(async {
        let mut changes = 0;
        for resource in &wanted {
            let current = manifest::current(&client, resource).await?;
            for step in plan(resource, current.as_ref(), args.prune) {
                changes += 1;
                print_line(&line(resource, &step))?;
                match args.dry_run {
                    false => execute(&client, resource, &step).await?,
                    // A module is validated against its installation, which must exist.
                    true if current.is_some() => check(&client, resource, &step).await?,
                    true => {}
                }
            }
        }
        let done = if args.dry_run { "to be made" } else { "made" };
        print_line(&format!("{changes} changes {done}, {} resources", wanted.len()))?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Prints what `apply --prune` would do. Exit code 1 if there are changes.
///
/// # Errors
/// As [`apply`].
pub fn diff(args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let wanted = manifest::read_files(&args.file)?;
    let client = args.server.client()?;
    block_on(async {
        let mut is_equal = true;
        for resource in &wanted {
            let current = manifest::current(&client, resource).await?;
            for step in plan(resource, current.as_ref(), true) {
                is_equal = false;
                print_line(&line(resource, &step))?;
            }
        }
        Ok(if is_equal { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NEGATIVE) })
    })
}

/// Writes the records of the router without secrets, one file a resource.
///
/// # Errors
/// The router does not answer, or the folder cannot be written.
pub fn export(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    let found = block_on(manifest::read_router(&client))?;
    for resource in &found {
        let file = args.dir.join(resource.file());
        let folder = file.parent().unwrap_or(&args.dir);
        let text = serde_json::to_string_pretty(resource)? + "\n";
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&file, text))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    print_line(&format!("{} resources in {}", found.len(), args.dir.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Renders a step: `+` adds, `~` changes, `-` removes.
fn line(resource: &Manifest, step: &PlanStep) -> String {
    let (kind, id) = (resource.resource.as_str(), &resource.id);
    match step {
        PlanStep::Put(None) => format!("+ {kind} {id}"),
        PlanStep::Put(Some(members)) => format!("~ {kind} {id}: {}", members.join(", ")),
        PlanStep::PutModule(module, true) => format!("+ {kind} {id}: module {}", module.key),
        PlanStep::PutModule(module, false) => format!("~ {kind} {id}: module {}", module.key),
        PlanStep::RemoveModule(key) => format!("- {kind} {id}: module {key}"),
    }
}

async fn execute(client: &ApiClient, resource: &Manifest, step: &PlanStep) -> anyhow::Result<()> {
    match step {
        PlanStep::Put(_) => {
            let spec = Value::Object(resource.spec.clone());
            let answer = client.send(Method::PUT, &resource.path(), &[], &spec).await?;
            show_secrets(&answer)
        }
        PlanStep::PutModule(module, _) => {
            let body = json!({"type": module.module_type, "data": module.data});
            client.send(Method::PUT, &resource.module_path(&module.key), &[], &body).await?;
            Ok(())
        }
        PlanStep::RemoveModule(key) => {
            client.send(Method::DELETE, &resource.module_path(key), &[], &Value::Null).await?;
            Ok(())
        }
    }
}

async fn check(client: &ApiClient, resource: &Manifest, step: &PlanStep) -> anyhow::Result<()> {
    if let PlanStep::PutModule(module, _) = step {
        let body = json!({"type": module.module_type, "data": module.data});
        let path = format!("{}?dryRun=true", resource.module_path(&module.key));
        client.send(Method::PUT, &path, &[], &body).await?;
    }
    Ok(())
}

/// Prints generated tokens and secrets, which the router returns only once.
fn show_secrets(answer: &Value) -> anyhow::Result<()> {
    if let Some(token) = answer.get("token").and_then(Value::as_str) {
        print_line(&format!("  token {token}"))?;
    }
    for endpoint in answer.get("endpoints").and_then(Value::as_array).into_iter().flatten() {
        let text = |name| endpoint.get(name).and_then(Value::as_str);
        if let (Some(key), Some(secret)) = (text("key"), text("secret")) {
            print_line(&format!("  secret of endpoint {key}: {secret}"))?;
        }
    }
    Ok(())
}
