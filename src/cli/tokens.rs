//! `switchyard tokens`: access tokens of the operator API, and `switchyard whoami`.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::client::{ApiClient, block_on, path_segment};
use super::exit::UsageError;
use super::io::{Output, print_error, print_line, print_row};
use super::pages::{PAGE_MAX, read_pages};
use super::server_args::ServerArgs;
use super::table::{Column, ListFlags, ListOf, Tone, Toned, plain, print_list};
use crate::clock::{self, relative};

const PATH: &str = "/admin/v1/tokens";

const COLUMNS: [Column; 7] = [
    Column::text("TOKEN", 0),
    Column::text("SCOPE", 0),
    Column::text("INSTALLATION", 1),
    Column::text("ENDS", 2),
    Column::text("LAST USED", 3),
    Column::number("PER SECOND", 5),
    Column::text("DESCRIPTION", 4),
];

/// Gives others access to the operator API: tokens with a scope, for everything or for one installation
#[derive(Debug, Args)]
#[command(
    alias = "token",
    after_help = "Scopes: read looks at everything, operate also acts on deliveries and subscriptions, admin also changes \
    what is registered and who has access. A token of an installation sees and does only what belongs to that.\n\n\
    A token is shown once, by `add` and `rotate`. LAST USED is that of the replica that answers, since its start.\n\n\
    Examples:\n  \
    switchyard tokens add ci --scope operate --expires 90d\n  \
    switchyard tokens add lamp-makers --installation inst-a\n  \
    switchyard tokens ls\n  \
    switchyard tokens rotate ci\n  \
    switchyard tokens rm ci"
)]
pub struct TokensArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    flags: ListFlags,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists tokens in the order of their ids
    #[command(alias = "list")]
    Ls {
        /// Most tokens
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// Shows one token, without its secret
    #[command(aliases = ["get", "info"])]
    Show {
        /// Its id
        id: String,
    },
    /// Creates a token and prints it, or changes what one may do
    #[command(aliases = ["create", "set"])]
    Add(NewToken),
    /// Replaces the secret of a token and prints the new one; the old one is refused from then on
    Rotate {
        /// Its id
        id: String,
    },
    /// Deletes a token; it is refused from then on at every replica
    #[command(aliases = ["delete", "revoke"])]
    Rm {
        /// Its id
        id: String,
    },
}

/// What a token may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
enum ScopeFlag {
    /// Look at everything, change nothing
    #[default]
    Read,
    /// Act on deliveries and subscriptions
    Operate,
    /// Change what is registered and who has access
    Admin,
}

#[derive(Debug, Args)]
struct NewToken {
    /// Its id: the name of its caller
    id: String,
    /// What it may do
    #[arg(long, value_enum, default_value_t)]
    scope: ScopeFlag,
    /// The only installation that it sees; with the scope read or operate
    #[arg(long, short, value_name = "ID")]
    installation: Option<String>,
    /// When it ends: RFC 3339, or in so long, such as 90d or 12h; never by default
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Requests per second at one replica, 1 to 1000; 50 by default
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

/// Says whose token a command sends, and what it may do
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  switchyard whoami\n  switchyard whoami -o json")]
pub struct WhoamiArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Executes the action.
///
/// # Errors
/// The router does not answer or rejects the request.
pub fn run(args: &TokensArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    block_on(execute(args, &client))?;
    Ok(ExitCode::SUCCESS)
}

/// Says who the router takes the caller for.
///
/// # Errors
/// The router does not answer or rejects the request.
pub fn whoami(args: &WhoamiArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    let found = block_on(client.send(Method::GET, "/admin/v1/whoami", &[], &Value::Null))?;
    print_one(args.output, &found, "name")?;
    Ok(ExitCode::SUCCESS)
}

async fn execute(args: &TokensArgs, client: &ApiClient) -> anyhow::Result<()> {
    let output = args.flags.output.plain();
    let path = |id: &str| format!("{PATH}/{}", path_segment(id));
    match &args.action {
        Action::Ls { limit } => list(args.flags, client, *limit).await,
        Action::Show { id } => {
            let found = client.send(Method::GET, &path(id), &[], &Value::Null).await?;
            print_one(output, &found, "id")
        }
        Action::Add(new) => {
            let body = new.body(clock::now())?;
            let stored = client.send(Method::PUT, &path(&new.id), &[], &body).await?;
            print_token(output, &stored)
        }
        Action::Rotate { id } => {
            let path = format!("{}/rotate", path(id));
            let stored = client.send(Method::POST, &path, &[], &Value::Null).await?;
            print_token(output, &stored)
        }
        Action::Rm { id } => {
            client.send(Method::DELETE, &path(id), &[], &Value::Null).await?;
            print_error(&format!("{id} is deleted"));
            Ok(())
        }
    }
}

impl NewToken {
    fn body(&self, now: Timestamp) -> anyhow::Result<Value> {
        let scope = self.scope.to_possible_value();
        let mut body = json!({ "scope": scope.as_ref().map_or("read", |scope| scope.get_name()) });
        let members = [
            ("installation", self.installation.clone().map(Value::from)),
            ("requestsPerSecond", self.rate.map(Value::from)),
            ("description", self.description.clone().map(Value::from)),
        ];
        let expires = self.expires.as_deref().map(|text| time_ahead(text, now));
        let expires = expires.transpose()?.map(|time| Value::from(time.to_string()));
        if let Value::Object(all) = &mut body {
            let members = members.into_iter().chain([("expiresAt", expires)]);
            all.extend(members.filter_map(|(name, value)| Some((name.to_owned(), value?))));
        }
        Ok(body)
    }
}

/// Reads a time, RFC 3339 or as far ahead as a text says, such as `90d`.
fn time_ahead(text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    let ahead = || {
        let unit = text.chars().last()?;
        let number: i64 = text.strip_suffix(unit)?.parse().ok().filter(|number| *number > 0)?;
        let hours = match unit {
            'h' => 1,
            'd' => 24,
            _ => return None,
        };
        let seconds = number.checked_mul(hours)?.checked_mul(3_600)?;
        now.checked_add(SignedDuration::from_secs(seconds)).ok()
    };
    let time = text.parse().ok().or_else(ahead);
    time.ok_or_else(|| {
        let message = "--expires is a time such as 2027-01-01T00:00:00Z, or 90d or 12h from now";
        UsageError(message.to_owned()).into()
    })
}

async fn list(flags: ListFlags, client: &ApiClient, most: usize) -> anyhow::Result<()> {
    let limit = |found: usize| most.saturating_sub(found).min(PAGE_MAX);
    let items = read_pages(client, PATH, &[], limit).await?;
    let now = clock::now();
    let if_empty =
        "there is no access token; create one: `switchyard tokens add NAME --scope read`";
    print_list(flags, ListOf { id: "id", if_empty }, &items, &COLUMNS, |item| row(item, now))
}

fn row(item: &Value, now: Timestamp) -> Vec<Toned> {
    let time = |name: &str| item.get(name).and_then(Value::as_str);
    let has_ended = item.get("ended") == Some(&Value::Bool(true));
    let ends = match (has_ended, time("expiresAt")) {
        (true, _) => ("ended".to_owned(), Tone::Bad),
        (false, Some(at)) => plain(relative(Some(at), now)),
        (false, None) => ("never".to_owned(), Tone::Dim),
    };
    let used = time("lastUsedAt").map_or_else(String::new, |at| relative(Some(at), now));
    let rate = item.get("requestsPerSecond").map(ToString::to_string).unwrap_or_default();
    vec![
        plain(text(item, "id")),
        plain(text(item, "scope")),
        plain(text(item, "installation")),
        ends,
        plain(used),
        plain(rate),
        plain(text(item, "description")),
    ]
}

/// Prints a token that is shown only now: alone, so that a script can store it.
fn print_token(output: Output, stored: &Value) -> anyhow::Result<()> {
    if output != Output::Text {
        return print_line(&stored.to_string());
    }
    match stored.get("token").and_then(Value::as_str) {
        Some(token) => {
            print_error("the token is shown only now:");
            print_row(token)
        }
        None => {
            print_error(&format!("{} is changed; its token stays", text(stored, "id")));
            Ok(())
        }
    }
}

fn print_one(output: Output, found: &Value, name: &str) -> anyhow::Result<()> {
    if output != Output::Text {
        return print_line(&found.to_string());
    }
    describe(found, name, clock::now()).iter().try_for_each(|line| print_row(line))
}

/// Returns a token or a caller as lines for people.
fn describe(found: &Value, name: &str, now: Timestamp) -> Vec<String> {
    let mut lines = vec![format!("{}  {}", text(found, name), text(found, "scope"))];
    let mut line = |label: &str, value: &str| {
        if !value.is_empty() {
            lines.push(format!("{label:14}{value}"));
        }
    };
    let time = |name: &str| found.get(name).and_then(Value::as_str);
    line("description", text(found, "description"));
    line("sees", time("installation").unwrap_or("everything"));
    if found.get("ended") == Some(&Value::Bool(true)) {
        line("ended", "it has expired, or its installation is deleted");
    }
    for (label, name) in [
        ("expires", "expiresAt"),
        ("last used", "lastUsedAt"),
        ("created", "createdAt"),
        ("changed", "updatedAt"),
    ] {
        if let Some(at) = time(name) {
            line(label, &relative(Some(at), now));
        }
    }
    if let Some(rate) = found.get("requestsPerSecond") {
        line("limit", &format!("{rate} requests a second"));
    }
    lines
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-12-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn request_has_what_was_given_alone() {
        let new = NewToken {
            id: "ci".into(),
            scope: ScopeFlag::Operate,
            installation: None,
            expires: Some("90d".into()),
            rate: Some(5),
            description: None,
        };
        let expected = json!({
            "scope": "operate", "requestsPerSecond": 5, "expiresAt": "2027-03-01T12:00:00Z",
        });
        assert_eq!(new.body(now()).unwrap(), expected);
        assert!(NewToken { expires: Some("soon".into()), ..new }.body(now()).is_err());
    }

    #[test]
    fn ended_token_says_so_and_one_without_an_end_never_ends() {
        let token = json!({
            "id": "ci", "scope": "read", "installation": "inst-a", "requestsPerSecond": 50, "ended": true,
            "expiresAt": "2026-12-01T11:00:00Z", "lastUsedAt": "2026-12-01T10:59:00Z",
        });
        let cells: Vec<_> = row(&token, now()).into_iter().map(|(text, _)| text).collect();
        assert_eq!(cells, ["ci", "read", "inst-a", "ended", "1 h ago", "50", ""]);
        let never = row(&json!({"id": "x", "ended": false}), now());
        assert_eq!(never[3].0, "never");
        let lines = describe(&token, "id", now());
        assert_eq!(lines[0], "ci  read");
        assert!(lines.contains(&"sees          inst-a".to_owned()), "{lines:#?}");
    }
}
