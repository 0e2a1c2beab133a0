//! Flags of commands that call a running router, and which router and token they mean.
//!
//! Precedence: flag, environment, selected context, the context of the one `switchyard dev` that runs,
//! default. A token of a context is sent to no other address than its own, unless the context is named.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use super::client::{ApiClient, Unreachable};
use super::contexts::{ContextState, Contexts, NamedContext, read_token};
use super::exit::UsageError;
use crate::config::{ClientEnvironment, client_environment};
use crate::domain::Secret;

/// Address of a router that no flag, variable or context names.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8089";

/// The router to call, and the token.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// Address of the router [env: SWITCHYARD_SERVER] [default: that of the context, else
    /// http://127.0.0.1:8089]
    #[arg(long, short, value_name = "URL")]
    pub server: Option<String>,
    /// File with the admin token [env: SWITCHYARD_TOKEN_FILE; SWITCHYARD_TOKEN has the token itself]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Context with address and token [env: SWITCHYARD_CONTEXT] [default: the selected one, else that
    /// of the running `switchyard dev`]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// The router that a command calls.
#[derive(Debug)]
pub(super) struct Target {
    /// Its address.
    pub(super) server: String,
    token: Option<Secret>,
    /// The site that its context names.
    pub(super) site: Option<String>,
    /// A context whose `switchyard dev` has ended; the likely reason if there is no token.
    ended: Option<String>,
}

impl ServerArgs {
    /// Returns a client with the admin token.
    ///
    /// # Errors
    /// The address is invalid, there is no token, or it is unclear which router is meant.
    pub fn client(&self) -> anyhow::Result<ApiClient> {
        self.target()?.client()
    }

    /// Returns the router that is meant.
    ///
    /// # Errors
    /// There is no such context, its `switchyard dev` has ended, or several could be meant.
    pub(super) fn target(&self) -> anyhow::Result<Target> {
        resolve(self, &client_environment(), Contexts::open().ok().as_ref())
    }
}

impl Target {
    /// Returns a client with the admin token.
    ///
    /// # Errors
    /// The address is invalid, or there is no token.
    pub(super) fn client(&self) -> anyhow::Result<ApiClient> {
        let Some(token) = &self.token else {
            let ended = self
                .ended
                .as_ref()
                .map(|name| format!("the `switchyard dev` of the context `{name}` has ended; "));
            bail!(UsageError(format!(
                "{}no operator token for {}: start `switchyard dev`, select a context (`switchyard context`), \
                 set SWITCHYARD_TOKEN, or give --token-file",
                ended.unwrap_or_default(),
                self.server
            )));
        };
        ApiClient::at(&self.server, token.reveal())
    }
}

/// Returns the router that flags, environment and contexts mean together.
fn resolve(
    flags: &ServerArgs,
    environment: &ClientEnvironment,
    contexts: Option<&Contexts>,
) -> anyhow::Result<Target> {
    let named = flags.context.as_deref();
    // A context that is named counts more than an address of the environment.
    let server = flags.server.clone().or_else(|| {
        let of_environment = environment.server.clone();
        of_environment.filter(|_| named.is_none())
    });
    let named = named.or(environment.context.as_deref());
    let context = match (named, contexts) {
        (Some(name), Some(contexts)) => Some(contexts.existing(name)?),
        (Some(name), None) => bail!(UsageError(format!("no context `{name}`"))),
        (None, Some(contexts)) => implied(contexts, server.as_deref())?,
        (None, None) => None,
    };
    if let Some(NamedContext { name, file, state: ContextState::DevEnded }) = &context {
        bail!(Unreachable::new(
            &file.server,
            format!(
                "the `switchyard dev` of the context `{name}` has ended; start it, or name another context"
            )
        ));
    }
    let token = match (&flags.token_file, flags.context.is_some()) {
        (Some(file), _) => Some(read_token(file)?),
        (None, true) => None,
        (None, false) => match (&environment.token_file, &environment.token) {
            (Some(file), _) => Some(read_token(file)?),
            (None, token) => token.clone(),
        },
    };
    let token = match (token, &context) {
        (None, Some(context)) => context.file.token()?,
        (token, _) => token,
    };
    let of_context = context.as_ref().map(|context| context.file.server.clone());
    let server = server.or(of_context).unwrap_or_else(|| DEFAULT_SERVER.to_owned());
    let ended = match (&token, contexts) {
        (None, Some(contexts)) => {
            let mut all = contexts.all()?.into_iter();
            all.find(|one| one.state == ContextState::DevEnded).map(|one| one.name)
        }
        _ => None,
    };
    Ok(Target { server, token, site: context.and_then(|context| context.file.site), ended })
}

/// Returns the context of a command that names none: the selected one, else that of the one
/// `switchyard dev` that runs. If an address is given, only one with this address.
///
/// # Errors
/// Several of them run.
fn implied(contexts: &Contexts, server: Option<&str>) -> anyhow::Result<Option<NamedContext>> {
    let is_meant = |one: &NamedContext| server.is_none_or(|server| is_same(server, one));
    if let Some(selected) = contexts.selected()? {
        // One that was removed by hand is selected no longer.
        let found = contexts.find(&selected)?;
        if found.is_some() && (server.is_none() || found.as_ref().is_some_and(is_meant)) {
            return Ok(found);
        }
    }
    let running = contexts.all()?.into_iter().filter(|one| one.state == ContextState::DevRuns);
    let mut running: Vec<NamedContext> = running.filter(is_meant).collect();
    if running.len() > 1 {
        let names: Vec<&str> = running.iter().map(|one| one.name.as_str()).collect();
        bail!(UsageError(format!(
            "{} `switchyard dev` run, with the contexts {}: name one with --context or \
             SWITCHYARD_CONTEXT, or select one with `switchyard context select NAME`",
            names.len(),
            names.join(", ")
        )));
    }
    Ok(running.pop())
}

fn is_same(server: &str, context: &NamedContext) -> bool {
    server.trim_end_matches('/') == context.file.server.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::contexts::ContextFile;

    const DEV: &str = "http://127.0.0.1:1111";
    const PROD: &str = "https://prod.example.com";

    fn flags(server: Option<&str>, context: Option<&str>) -> ServerArgs {
        let text = |text: &str| text.to_owned();
        ServerArgs { server: server.map(text), token_file: None, context: context.map(text) }
    }

    fn environment(server: Option<&str>, token: Option<&str>) -> ClientEnvironment {
        let server = server.map(str::to_owned);
        ClientEnvironment { server, token: token.map(Secret::new), ..ClientEnvironment::default() }
    }

    fn file(server: &str, token: &str) -> ContextFile {
        ContextFile::new(server, None).with_token(&Secret::new(token))
    }

    #[test]
    fn flags_precede_the_environment_and_that_precedes_contexts() {
        let folder = tempfile::tempdir().unwrap();
        let contexts = Contexts::at(folder.path());
        let found = |flags: &ServerArgs, environment: &ClientEnvironment| {
            let target = resolve(flags, environment, Some(&contexts)).unwrap();
            (target.server, target.token.map(|token| token.reveal().to_owned()))
        };
        let (none, no_flags) = (environment(None, None), flags(None, None));
        let is = |server: &str, token: &str| (server.to_owned(), Some(token.to_owned()));
        assert_eq!(found(&no_flags, &none), (DEFAULT_SERVER.to_owned(), None));

        let running = contexts.begin_dev(&file(DEV, "dev-token")).unwrap();
        assert_eq!(found(&no_flags, &none), is(DEV, "dev-token"));
        assert_eq!(found(&flags(Some(PROD), None), &none), (PROD.to_owned(), None), "no leak");
        assert_eq!(found(&no_flags, &environment(Some(PROD), None)), (PROD.to_owned(), None));
        let same = format!("{DEV}/");
        assert_eq!(found(&flags(Some(&same), None), &none), is(&same, "dev-token"));
        let with_token = environment(None, Some("given"));
        assert_eq!(found(&no_flags, &with_token), is(DEV, "given"));

        contexts.write("prod", &file(PROD, "prod-token")).unwrap();
        assert_eq!(found(&no_flags, &none), is(DEV, "dev-token"), "it is not selected");
        contexts.select(Some("prod")).unwrap();
        assert_eq!(found(&no_flags, &none), is(PROD, "prod-token"));
        let other = environment(Some(PROD), Some("given"));
        assert_eq!(found(&flags(None, Some("dev")), &other), is(DEV, "dev-token"));
        let both = flags(Some("http://other"), Some("dev"));
        assert_eq!(found(&both, &other), is("http://other", "dev-token"));
        drop(running);
    }

    #[test]
    fn unclear_and_ended_routers_are_errors_with_the_next_step() {
        let folder = tempfile::tempdir().unwrap();
        let contexts = Contexts::at(folder.path());
        let error = |flags: &ServerArgs| {
            resolve(flags, &environment(None, None), Some(&contexts)).unwrap_err().to_string()
        };
        let first = contexts.begin_dev(&file(DEV, "a")).unwrap();
        let second = contexts.begin_dev(&file("http://127.0.0.1:2222", "b")).unwrap();
        let unclear = error(&flags(None, None));
        assert!(unclear.contains("dev, dev-2") && unclear.contains("--context"), "{unclear}");
        let named = flags(None, Some("dev-2"));
        let target = resolve(&named, &environment(None, None), Some(&contexts)).unwrap();
        assert_eq!(target.server, "http://127.0.0.1:2222");
        drop(first);
        let left = folder.path().join("contexts/dev-2.toml");
        let text = std::fs::read(&left).unwrap();
        drop(second);
        std::fs::write(&left, text).unwrap();
        assert!(error(&named).contains("`dev-2` has ended"));
        assert!(error(&flags(None, Some("nope"))).contains("no context `nope`"));
        let target = resolve(&flags(None, None), &environment(None, None), Some(&contexts));
        let text = target.unwrap().client().unwrap_err().to_string();
        assert!(text.contains("`dev-2` has ended; no operator token"), "{text}");
        assert!(
            text.contains("start `switchyard dev`") && text.contains("SWITCHYARD_TOKEN"),
            "{text}"
        );
    }
}
