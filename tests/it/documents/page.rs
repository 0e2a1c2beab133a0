//! The code blocks of a Markdown file, and what comments before them say about their execution.
//!
//! A block of commands is marked `sh`; blocks without a language after it have lines that it prints. A comment
//! directly before a block is one of:
//!
//! - `<!-- not run: REASON -->`: it cannot run in a test;
//! - `<!-- runs on: TEXT -->`: it runs until the end of the page, and the next one waits until it prints TEXT;
//! - `<!-- exit code: N -->`: one of its commands exits with this code;
//! - `<!-- file: NAME -->`: the block is a file, which later commands read;
//! - `<!-- other numbers -->`: what is printed has other numbers than the page.

use std::collections::VecDeque;
use std::path::Path;

/// Words that begin a line of commands. A block that begins with one is marked `sh`.
const COMMANDS: [&str; 13] = [
    "$",
    "cargo",
    "cat",
    "curl",
    "deploy/nats/credentials.sh",
    "docker",
    "export",
    "install",
    "make",
    "nats",
    "openssl",
    "switchyard",
    "systemctl",
];

/// What a comment before a block says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    NotRun(String),
    RunsOn(String),
    ExitCode(i32),
    File(String),
    OtherNumbers,
}

impl Mark {
    fn parse(comment: &str) -> Option<Self> {
        let text = comment.strip_prefix("<!--")?.strip_suffix("-->")?.trim();
        if text == "other numbers" {
            return Some(Self::OtherNumbers);
        }
        let (name, value) = text.split_once(": ")?;
        match name {
            "not run" => Some(Self::NotRun(value.to_owned())),
            "runs on" => Some(Self::RunsOn(value.to_owned())),
            "exit code" => value.parse().ok().map(Self::ExitCode),
            "file" => Some(Self::File(value.to_owned())),
            _ => None,
        }
    }
}

/// A code block.
#[derive(Debug)]
struct Block {
    /// Where it is, for messages.
    at: String,
    language: String,
    mark: Option<Mark>,
    text: String,
}

/// A block of commands, with what the page shows for it.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) at: String,
    pub(crate) commands: String,
    pub(crate) mark: Option<Mark>,
    pub(crate) shown: Vec<Shown>,
    /// Files that the page has before it: name and content.
    pub(crate) files: Vec<(String, String)>,
}

impl Step {
    /// Its commands, one by one.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for line in self.commands.lines() {
            match lines.last_mut().filter(|last| last.ends_with('\\')) {
                Some(last) => last.push_str(&format!("\n{line}")),
                None => lines.push(line.to_owned()),
            }
        }
        lines
    }
}

/// A line that a command prints: `...` is any text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Shown {
    line: String,
    has_other_numbers: bool,
}

impl Shown {
    pub(crate) fn new(line: &str) -> Self {
        Self { line: collapsed(line), has_other_numbers: false }
    }

    pub(crate) fn line(&self) -> &str {
        &self.line
    }

    /// Whether a printed line is the one that is shown.
    pub(crate) fn is(&self, printed: &str) -> bool {
        let printed = collapsed(printed);
        match self.has_other_numbers {
            false => matches(&printed, &self.line),
            true => matches(&without_numbers(&printed), &without_numbers(&self.line)),
        }
    }
}

/// The blocks of commands of a document, in order; a test takes every one of them.
pub(crate) struct Page {
    steps: VecDeque<Step>,
}

impl Page {
    pub(crate) fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let text = std::fs::read_to_string(path).expect("the page can be read");
        let mut steps: VecDeque<Step> = VecDeque::new();
        let mut files = Vec::new();
        for Block { at, language, mark, text } in blocks(name, &text) {
            match (language.as_str(), mark) {
                ("sh", mark) => {
                    let files = std::mem::take(&mut files);
                    steps.push_back(Step { at, commands: text, mark, shown: Vec::new(), files });
                }
                (_, Some(Mark::File(name))) => files.push((name, text)),
                ("", mark) => {
                    let step = steps.back_mut();
                    let step = step.unwrap_or_else(|| panic!("{at}: no command prints this"));
                    let has_other_numbers = mark == Some(Mark::OtherNumbers);
                    let shown = text.lines().filter(|line| !line.trim().is_empty());
                    step.shown
                        .extend(shown.map(|line| Shown { has_other_numbers, ..Shown::new(line) }));
                }
                (_, mark) => assert!(mark.is_none(), "{at}: a comment without a meaning here"),
            }
        }
        assert!(files.is_empty(), "{name}: files that no command reads");
        Self { steps }
    }

    /// Whether it has commands.
    pub(crate) fn has_commands(&self) -> bool {
        !self.steps.is_empty()
    }

    /// The reasons for which blocks cannot run.
    pub(crate) fn reasons(&self) -> Vec<&str> {
        let reasons = self.steps.iter().filter_map(|step| match &step.mark {
            Some(Mark::NotRun(reason)) => Some(reason.as_str()),
            _ => None,
        });
        reasons.collect()
    }

    /// Returns the next block of commands that can run.
    pub(crate) fn next(&mut self) -> Option<Step> {
        while self.steps.front().is_some_and(|one| matches!(one.mark, Some(Mark::NotRun(_)))) {
            self.steps.pop_front();
        }
        self.steps.pop_front()
    }
}

/// The code blocks of a text, without their indentation.
fn blocks(name: &str, text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut inside, mut before) = (None, "");
    for (number, line) in text.lines().enumerate() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        match (inside, content.strip_prefix("```")) {
            (None, Some(language)) => {
                let at = format!("{name}:{}", number + 1);
                let mark = before.starts_with("<!--").then(|| {
                    Mark::parse(before).unwrap_or_else(|| panic!("{at}: unknown: {before}"))
                });
                let (language, text) = (language.trim().to_owned(), String::new());
                blocks.push(Block { at, language, mark, text });
                inside = Some(indent);
            }
            (Some(_), Some(_)) => inside = None,
            (Some(outer), None) => {
                let block = blocks.last_mut().expect("the block that began");
                block.text.push_str(line.get(outer.min(indent)..).unwrap_or_default());
                block.text.push('\n');
            }
            (None, None) => {}
        }
        if !content.is_empty() {
            before = content;
        }
    }
    for block in &blocks {
        let first = block.text.split_whitespace().next().unwrap_or_default();
        let is_output = block.language != "sh" && COMMANDS.contains(&first);
        assert!(!is_output, "{}: commands are in a block that is marked `sh`", block.at);
    }
    blocks
}

/// Collapses spaces, so that columns may have other widths.
fn collapsed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Replaces every number by 0, and names of digits and letters such as `0a1b2c3d4e5f`.
fn without_numbers(text: &str) -> String {
    let is_name = |word: &str| word.len() >= 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = text.split(' ').map(|word| if is_name(word) { "0" } else { word });
    let text = words.collect::<Vec<_>>().join(" ");
    let mut result = String::new();
    for part in text.split_inclusive(|sign: char| !sign.is_ascii_digit()) {
        let rest = part.trim_start_matches(|sign: char| sign.is_ascii_digit());
        if rest.len() < part.len() {
            result.push('0');
        }
        result.push_str(rest);
    }
    // Seconds of times have a fraction or none.
    result.replace("0.0Z", "0Z")
}

/// Whether a printed line is what the page shows, in which `...` is any text.
fn matches(printed: &str, shown: &str) -> bool {
    let mut rest = printed;
    for (number, part) in shown.split("...").map(str::trim).enumerate() {
        match rest.find(part) {
            Some(at) if at == 0 || number > 0 => rest = &rest[at + part.len()..],
            _ => return false,
        }
    }
    rest.trim().is_empty() || shown.ends_with("...")
}

#[test]
fn dots_are_any_text() {
    assert!(matches("a 1 b 2", "a ... b ..."));
    assert!(matches("a b", "a b"));
    assert!(!matches("a b c", "a b"));
    assert!(!matches("x a b", "a b"));
    assert!(!matches("a c", "a ... b"));
}

#[test]
fn numbers_may_differ_and_words_may_not() {
    let shown = Shown { line: "12 events in 0.5 s".into(), has_other_numbers: true };
    assert!(shown.is("7 events in 13.75 s"));
    assert!(!shown.is("7 letters in 13.75 s"));
    let shown = Shown { line: "0a1b2c3d4e5f since 12:00:00Z".into(), has_other_numbers: true };
    assert!(shown.is("f00dbabe0123 since 11:59:01.25Z"));
    assert!(!Shown::new("12 events").is("7 events"));
}

#[test]
fn blocks_have_their_marks_and_no_indentation() {
    let text = "1. a\n\n   <!-- exit code: 1 -->\n   ```sh\n   a \\\n     b\n   ```\n```text\nmake x\n```\n";
    let text = text.replace("make", "see");
    let found = blocks("page", &text);
    assert_eq!(found[0].mark, Some(Mark::ExitCode(1)));
    assert_eq!(found[0].text, "a \\\n  b\n");
    assert_eq!((found[1].language.as_str(), found[1].mark.as_ref()), ("text", None));
    for wrong in ["```\nmake test\n```\n", "<!-- ran: x -->\n```sh\nx\n```\n"] {
        assert!(std::panic::catch_unwind(|| blocks("page", wrong)).is_err(), "{wrong}");
    }
}
