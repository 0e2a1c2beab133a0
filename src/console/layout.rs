//! The frame of every page: the bar, the parts of the console, the title, where the data comes from.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::operator_api::ApiPath;
use super::visitor::Visitor;

/// A part of the console, as the navigation has it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Overview,
    Live,
    Doctor,
    Explain,
    Subscriptions,
    Events,
    Deliveries,
    DeadLetters,
    Jobs,
    Endpoints,
    Installations,
    Sites,
    TryFilter,
    Access,
    Audit,
}

impl Part {
    /// Returns the name and the path.
    fn link(self) -> (&'static str, &'static str) {
        match self {
            Self::Overview => ("Overview", "/"),
            Self::Live => ("Live", "/live"),
            Self::Doctor => ("Doctor", "/doctor"),
            Self::Explain => ("Why not?", "/explain"),
            Self::Subscriptions => ("Subscriptions", "/subscriptions"),
            Self::Events => ("Events", "/events"),
            Self::Deliveries => ("Deliveries", "/deliveries"),
            Self::DeadLetters => ("Dead letters", "/dead-letters"),
            Self::Jobs => ("Jobs", "/jobs"),
            Self::Endpoints => ("Endpoints", "/endpoints"),
            Self::Installations => ("Installations", "/installations"),
            Self::Sites => ("Sites", "/sites"),
            Self::TryFilter => ("Try a filter", "/try"),
            Self::Access => ("Access", "/access"),
            Self::Audit => ("Audit log", "/audit"),
        }
    }

    /// Whether a visitor sees it: an app developer has no parts about what belongs to others.
    fn is_for(self, visitor: &Visitor) -> bool {
        match self {
            Self::Doctor
            | Self::Events
            | Self::Jobs
            | Self::Endpoints
            | Self::Installations
            | Self::Sites => visitor.is_operator(),
            Self::Access | Self::Audit => visitor.is_admin(),
            _ => true,
        }
    }
}

/// The navigation, in groups.
const GROUPS: [(&str, &[Part]); 5] = [
    ("Now", &[Part::Overview, Part::Live, Part::Doctor]),
    (
        "What happened",
        &[Part::Explain, Part::Events, Part::Deliveries, Part::DeadLetters, Part::Jobs],
    ),
    ("Who is involved", &[Part::Subscriptions, Part::Endpoints, Part::Installations, Part::Sites]),
    ("Write", &[Part::TryFilter]),
    ("Manage", &[Part::Access, Part::Audit]),
];

/// What a page is, apart from its content.
pub(super) struct Page<'p> {
    pub(super) title: &'p str,
    pub(super) part: Part,
    /// Shown after the title, such as a state.
    pub(super) state: Option<Markup>,
    /// Pages above this one: name and path.
    pub(super) crumbs: Vec<(&'p str, String)>,
    /// What the data of the page is answered to.
    pub(super) source: Option<ApiPath>,
    /// The command that shows the same.
    pub(super) command: String,
}

impl<'p> Page<'p> {
    /// Creates a page of a part without crumbs.
    pub(super) fn new(title: &'p str, part: Part) -> Self {
        Self { title, part, state: None, crumbs: Vec::new(), source: None, command: String::new() }
    }

    /// Sets where the data comes from, and the command that shows the same.
    pub(super) fn from(mut self, source: &ApiPath, command: impl Into<String>) -> Self {
        (self.source, self.command) = (Some(source.clone()), command.into());
        self
    }

    /// Adds a page above this one.
    pub(super) fn below(mut self, name: &'p str, path: impl Into<String>) -> Self {
        self.crumbs.push((name, path.into()));
        self
    }

    /// Shows a state after the title.
    pub(super) fn with_state(mut self, state: Markup) -> Self {
        self.state = Some(state);
        self
    }

    /// Returns the whole document.
    pub(super) fn show(self, visitor: &Visitor, content: &Markup) -> Markup {
        let title = format!("{} · Switchyard", self.title);
        let inner = html! {
            a.skip href="#main" { "Skip to the content" }
            (bar(visitor))
            div.frame {
                (navigation(visitor, self.part))
                main id="main" tabindex="-1" {
                    div.head {
                        @if !self.crumbs.is_empty() {
                            nav.crumbs aria-label="Pages above" { ol { @for (name, path) in &self.crumbs {
                                li { a href=(path) { (name) } }
                            } } }
                        }
                        div.line { h1 { (self.title) } @if let Some(state) = &self.state { (state) } }
                    }
                    (content)
                    @if self.source.is_some() || !self.command.is_empty() { (origin(&self)) }
                }
            }
        };
        document(&title, &inner)
    }
}

/// Returns a document without the frame, such as the login.
pub(super) fn document(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href="/assets/icon.svg";
                link rel="stylesheet" href="/assets/console.css";
                script src="/assets/console.js" defer {}
            }
            body { (body) }
        }
    }
}

const MARK: &str = "<svg viewBox=\"0 0 16 16\" aria-hidden=\"true\"><path d=\"M1 8h6l5-5m-5 5 5 5\" fill=\"none\" \
    stroke-width=\"2\" stroke-linecap=\"round\" stroke-linejoin=\"round\"/></svg>";

fn bar(visitor: &Visitor) -> Markup {
    html! {
        header.bar {
            a.brand href="/" { (PreEscaped(MARK)) "Switchyard" }
            form action="/explain" method="get" role="search" {
                label.hidden for="find" { "Issue, page or event id" }
                input id="find" name="find" type="search" placeholder="Why did OPS-42 not arrive?" autocomplete="off";
                button { "Find" }
            }
            div.who {
                span { (visitor.describe()) }
                @if visitor.has_session {
                    form action="/logout" method="post" {
                        (visitor.csrf_field())
                        button.link { "Log out" }
                    }
                }
            }
        }
    }
}

fn navigation(visitor: &Visitor, current: Part) -> Markup {
    html! {
        nav.parts aria-label="Console" tabindex="0" {
            @for (group, parts) in GROUPS {
                @let shown: Vec<Part> = parts.iter().copied().filter(|part| part.is_for(visitor)).collect();
                @if !shown.is_empty() {
                    h2 { (group) }
                    ul { @for part in shown {
                        @let (name, path) = part.link();
                        li { a href=(path) aria-current=[(part == current).then_some("page")] { (name) } }
                    } }
                }
            }
        }
    }
}

fn origin(page: &Page<'_>) -> Markup {
    html! {
        div.source {
            @if !page.command.is_empty() { (copied_command(&page.command)) }
            @if let Some(source) = &page.source { a href=(source.json_link()) { "This page as JSON" } }
            a href="/docs/api" { "API" }
        }
    }
}

/// Returns a command with a button that copies it; without scripts the text can be selected.
pub(super) fn copied_command(command: &str) -> Markup {
    html! {
        span.copy {
            span { "As a command:" }
            code { (command) }
            button.link type="button" data-copy=(command) hidden { "Copy" }
        }
    }
}
