//! `switchyard explain-code`: prints the page of a code.

use std::process::ExitCode;

use clap::Args;
use switchyard_expr::Code;
use switchyard_expr::diagnostic::Page;

use super::exit::EXIT_NEGATIVE;
use super::io::print_line;
use crate::codes;

/// Explains a code such as SY-3103, with an example and a fix
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  switchyard explain-code SY-3103\n  switchyard explain-code")]
pub struct ExplainCodeArgs {
    /// The code, such as SY-3103; without it all codes are listed
    pub code: Option<String>,
}

/// Prints the page of a code. Exit code 1 if the code does not exist.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &ExplainCodeArgs) -> anyhow::Result<ExitCode> {
    let all = every_code();
    let Some(text) = &args.code else {
        for (code, title, _) in all {
            print_line(&format!("{code}  {title}"))?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    let found = all.iter().find(|(code, ..)| code.strip_prefix("SY-") == Some(digits));
    let Some((code, title, page)) = found else {
        print_line(&format!("there is no code `{text}`; run without a code to list all"))?;
        return Ok(ExitCode::from(EXIT_NEGATIVE));
    };
    let mut page_text = format!("{code}: {title}\n\n{}\n", page.cause);
    if !page.example.is_empty() {
        page_text.push_str(&format!("\n  {}\n", page.example.replace('\n', "\n  ")));
    }
    let fix = if page.fix.ends_with('.') { page.fix.to_owned() } else { format!("  {}", page.fix) };
    print_line(&format!("{page_text}\nInstead:\n\n{fix}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Returns every code with its title and page, ascending.
pub(super) fn every_code() -> Vec<(String, &'static str, Page)> {
    let language = Code::ALL.iter().map(|code| (code.to_string(), code.title(), code.page()));
    let others = codes::CODES.iter().map(|e| (e.code.to_owned(), e.title, e.page));
    let mut all: Vec<_> = language.chain(others).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}
