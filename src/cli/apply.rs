//! `switchyard apply`: applies manifests to a router.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::client::{ApiClient, block_on};
use super::io::{print_line, print_row};
use super::manifest::{self, Manifest};
use super::plan::{PlanStep, plan};
use super::server_args::ServerArgs;

/// Applies manifests to a router: apps, installations, modules
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  switchyard apply -f deploy/triggers --dry-run\n  \
    switchyard apply -f deploy/triggers --prune")]
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

/// Applies the manifests to the router. Idempotent.
///
/// # Errors
/// A file is invalid, or the router does not answer or rejects a step; earlier steps stay applied.
pub fn run(args: &ApplyArgs) -> anyhow::Result<ExitCode> {
    let wanted = manifest::read_files(&args.file)?;
    let client = args.server.client()?;
    block_on(async {
        let mut changes = 0;
        for resource in &wanted {
            let current = manifest::current(&client, resource).await?;
            for step in plan(resource, current.as_ref(), args.prune) {
                changes += 1;
                print_row(&step.describe(resource))?;
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
        print_row(&format!("  token {token}"))?;
    }
    for endpoint in answer.get("endpoints").and_then(Value::as_array).into_iter().flatten() {
        let text = |name| endpoint.get(name).and_then(Value::as_str);
        if let (Some(key), Some(secret)) = (text("key"), text("secret")) {
            print_row(&format!("  secret of endpoint {key}: {secret}"))?;
        }
    }
    Ok(())
}
