//! The full screen of `top`: a table that is refreshed each second, details, a filter, and keys.

use std::io::IsTerminal as _;
use std::pin::Pin;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Alignment, Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState, Wrap};
use ratatui::{DefaultTerminal, Frame};
use serde_json::Value;
use tokio::sync::mpsc;

use super::client::{ApiClient, ErrorStatus};
use super::table::{Tone, Toned, fitting};
use super::top_sample::{COLUMNS, REFRESH, Rank, Sample, fetch};
use crate::telemetry::Escaped;

/// Longest wait for a key before the reader looks whether the screen is closed.
const KEY_POLL: Duration = Duration::from_millis(100);
/// Keys that wait while the screen is drawn.
const KEYS_MAX: usize = 32;
/// Longest filter, in characters.
const FILTER_CHARS_MAX: usize = 100;

/// An answer of the router that is on its way.
type Fetching<'c> = Pin<Box<dyn Future<Output = anyhow::Result<Value>> + 'c>>;

/// Whether there is a terminal to draw on and to read keys from.
pub(super) fn is_possible() -> bool {
    std::io::stdout().is_terminal() && std::io::stdin().is_terminal()
}

/// Draws until the user quits.
///
/// # Errors
/// The router refuses the first request, or the terminal cannot be used.
pub(super) async fn run(
    client: &ApiClient,
    by: Rank,
    limit: u16,
    is_coloured: bool,
) -> anyhow::Result<()> {
    // Before the screen: an error of the address or the token is shown as for any other command.
    let first = fetch(client, by, limit).await?;
    let mut screen = Screen::new(by, is_coloured);
    screen.sample.update(first);
    let mut terminal = ratatui::try_init()?;
    let drawn = draw_until_quit(&mut terminal, &mut screen, client, limit).await;
    ratatui::try_restore()?;
    drawn
}

async fn draw_until_quit(
    terminal: &mut DefaultTerminal,
    screen: &mut Screen,
    client: &ApiClient,
    limit: u16,
) -> anyhow::Result<()> {
    let (sender, mut keys) = mpsc::channel(KEYS_MAX);
    // A thread: reading a key blocks. It ends soon after the receiver.
    std::thread::spawn(move || read_keys(&sender));
    let soon = |by: Rank| -> Fetching<'_> {
        Box::pin(async move {
            tokio::time::sleep(REFRESH).await;
            fetch(client, by, limit).await
        })
    };
    let mut fetching = soon(screen.by);
    loop {
        terminal.draw(|frame| screen.draw(frame))?;
        tokio::select! {
            key = keys.recv() => match key.map(|key| screen.press(key)) {
                None | Some(Next::Quit) => return Ok(()),
                Some(Next::Fetch) => fetching = Box::pin(fetch(client, screen.by, limit)),
                Some(Next::Draw) => {}
            },
            answer = &mut fetching => {
                screen.take(answer)?;
                fetching = soon(screen.by);
            }
        }
    }
}

/// Reads keys until the screen is closed.
fn read_keys(sender: &mpsc::Sender<KeyEvent>) {
    while !sender.is_closed() {
        let key = match event::poll(KEY_POLL) {
            Ok(false) => continue,
            Ok(true) => event::read(),
            Err(_) => return,
        };
        match key {
            Ok(Event::Key(key)) if key.kind == KeyEventKind::Press => {
                if sender.blocking_send(key).is_err() {
                    return;
                }
            }
            // A changed size is drawn with the next sample.
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// What follows from a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Draw,
    Fetch,
    Quit,
}

/// The state of the screen.
#[derive(Debug)]
struct Screen {
    by: Rank,
    sample: Sample,
    filter: String,
    /// Whether keys edit the filter.
    is_editing: bool,
    is_paused: bool,
    has_details: bool,
    selected: usize,
    /// Why the last answer did not come.
    error: Option<String>,
    is_coloured: bool,
}

impl Screen {
    fn new(by: Rank, is_coloured: bool) -> Self {
        Self {
            by,
            sample: Sample::default(),
            filter: String::new(),
            is_editing: false,
            is_paused: false,
            has_details: false,
            selected: 0,
            error: None,
            is_coloured,
        }
    }

    /// Takes an answer; one that did not come is shown, and asked for again.
    fn take(&mut self, answer: anyhow::Result<Value>) -> anyhow::Result<()> {
        match answer {
            Ok(_) if self.is_paused => {}
            Ok(answer) => {
                self.error = None;
                self.sample.update(answer);
            }
            // The token is refused, for instance: it stays refused.
            Err(error) if error.is::<ErrorStatus>() => return Err(error),
            Err(error) => self.error = Some(format!("{error:#}")),
        }
        Ok(())
    }

    fn items(&self) -> Vec<Value> {
        self.sample.items(self.by, &self.filter)
    }

    fn press(&mut self, key: KeyEvent) -> Next {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Next::Quit;
        }
        if self.is_editing {
            return self.edit(key.code);
        }
        match key.code {
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Esc if self.has_details => self.has_details = false,
            KeyCode::Esc if !self.filter.is_empty() => self.filter.clear(),
            KeyCode::Esc => return Next::Quit,
            KeyCode::Char('s') => {
                self.by = self.by.next();
                return Next::Fetch;
            }
            KeyCode::Char('p') => self.is_paused = !self.is_paused,
            KeyCode::Char('/') => self.is_editing = true,
            KeyCode::Enter => self.has_details = !self.has_details,
            KeyCode::Down | KeyCode::Char('j') => {
                self.selected = (self.selected + 1).min(self.items().len().saturating_sub(1));
            }
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            _ => {}
        }
        Next::Draw
    }

    fn edit(&mut self, code: KeyCode) -> Next {
        match code {
            KeyCode::Enter => self.is_editing = false,
            KeyCode::Esc => {
                self.is_editing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(char) if self.filter.chars().count() < FILTER_CHARS_MAX => {
                self.filter.push(char);
            }
            _ => {}
        }
        self.selected = 0;
        Next::Draw
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let areas =
            Layout::vertical([Constraint::Length(2), Constraint::Min(1), Constraint::Length(1)]);
        let [head, body, foot] = areas.areas(frame.area());
        let lines: Vec<Line<'_>> = self
            .sample
            .header()
            .into_iter()
            .map(|line| Line::raw(Escaped::line(&line).to_string()))
            .collect();
        frame.render_widget(Paragraph::new(lines), head);
        let items = self.items();
        match items.get(self.selected).filter(|_| self.has_details) {
            Some(item) => {
                let details = Paragraph::new(details(item)).wrap(Wrap { trim: false });
                frame.render_widget(details, body);
            }
            None => {
                let mut state = TableState::default().with_selected(self.selected);
                let table = self.table(&items, body.width);
                frame.render_stateful_widget(table, body, &mut state);
            }
        }
        frame.render_widget(self.foot(), foot);
    }

    fn table(&self, items: &[Value], width: u16) -> Table<'static> {
        let rows: Vec<Vec<Toned>> = items.iter().map(Sample::cells).collect();
        let widths: Vec<u16> = COLUMNS
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let cells = rows.iter().filter_map(|row| row.get(at));
                let widest = cells.map(|(text, _)| Line::raw(text.as_str()).width()).max();
                let widest = widest.unwrap_or(0).max(column.name().len());
                u16::try_from(widest).unwrap_or(u16::MAX)
            })
            .collect();
        let shown = fitting(&COLUMNS, &widths, width);
        let is_number = |at: usize| COLUMNS.get(at).is_some_and(|column| column.is_number());
        let cell = |at: usize, text: &str, style: Style| {
            let alignment = if is_number(at) { Alignment::Right } else { Alignment::Left };
            let text = Text::raw(Escaped::line(text).to_string()).alignment(alignment);
            Cell::new(text).style(style)
        };
        let head = shown.iter().map(|at| {
            let name = COLUMNS.get(*at).map_or("", |column| column.name());
            cell(*at, name, Style::new().add_modifier(Modifier::BOLD))
        });
        let rows = rows.iter().map(|row| {
            let cells = shown.iter().filter_map(|at| Some((*at, row.get(*at)?)));
            Row::new(cells.map(|(at, (text, tone))| cell(at, text, self.style(*tone))))
        });
        let widths =
            shown.iter().map(|at| Constraint::Length(widths.get(*at).copied().unwrap_or(0)));
        Table::new(rows.collect::<Vec<_>>(), widths.collect::<Vec<_>>())
            .header(Row::new(head.collect::<Vec<_>>()))
            .column_spacing(2)
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
    }

    fn style(&self, tone: Tone) -> Style {
        let color = match tone {
            Tone::Plain => return Style::new(),
            Tone::Dim => return Style::new().add_modifier(Modifier::DIM),
            Tone::Good => Color::Green,
            Tone::Warning => Color::Yellow,
            Tone::Bad => Color::Red,
        };
        if self.is_coloured { Style::new().fg(color) } else { Style::new() }
    }

    fn foot(&self) -> Paragraph<'static> {
        let text = match (&self.error, self.is_editing) {
            (_, true) => format!("/{}", self.filter),
            (Some(error), _) => format!("{error}; asking again"),
            (None, false) => {
                let paused = if self.is_paused { "paused  " } else { "" };
                let filter = if self.filter.is_empty() {
                    String::new()
                } else {
                    format!("/{}  ", self.filter)
                };
                let by = self.by.name();
                format!("{paused}{filter}by {by}: s sort  Enter details  / filter  p pause  q quit")
            }
        };
        let is_error = self.error.is_some() && !self.is_editing;
        let style = if is_error { self.style(Tone::Bad) } else { self.style(Tone::Dim) };
        Paragraph::new(Escaped::line(&text).to_string()).style(style)
    }
}

/// The members of a subscription, one a line, the names and texts before the counts.
fn details(item: &Value) -> Vec<Line<'static>> {
    let members = item.as_object().into_iter().flatten();
    let mut members: Vec<_> = members.collect();
    members.sort_by_key(|(name, value)| (*name != "id", !value.is_string()));
    let members = members.into_iter();
    let line = |(name, value): (&String, &Value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Line::raw(Escaped::line(&format!("{name:20}{value}")).to_string())
    };
    members.map(line).collect()
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::*;

    fn screen() -> Screen {
        let mut screen = Screen::new(Rank::Failures, false);
        let item = |id: &str, failed: u64| {
            json!({"id": id, "app": "x", "matched": 10, "steps": 5, "errors": 0, "dead": 0,
                "failedAttempts": failed, "delivered": 1, "parked": 0, "lastFailure": "timeout: late"})
        };
        for (time_ms, failed) in [(1_000, 0), (2_000, 4)] {
            screen.sample.update(json!({"timeMs": time_ms, "ready": true, "subscriptions": 2,
                "replica": {"name": "host/1"}, "totals": {}, "parked": 0, "deadLetters": 0,
                "items": [item("a/quiet", 0), item("b/failing", failed)]}));
        }
        screen
    }

    fn drawn(screen: &Screen, width: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, 8)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let rows = buffer.content().chunks(usize::from(width));
        rows.map(|row| {
            row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned()
        })
        .collect()
    }

    fn press(screen: &mut Screen, keys: &str) -> Vec<Next> {
        let code = |char: char| match char {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            char => KeyCode::Char(char),
        };
        keys.chars().map(|char| screen.press(KeyEvent::from(code(char)))).collect()
    }

    #[test]
    fn table_has_the_failing_subscription_first() {
        let lines = drawn(&screen(), 120);
        assert!(lines[0].starts_with("host/1  ready"), "{lines:#?}");
        assert!(lines[2].starts_with("SUBSCRIPTION  MATCH/S"), "{lines:#?}");
        assert!(lines[3].starts_with("b/failing"), "{lines:#?}");
        assert!(lines[3].ends_with("timeout: late"), "{lines:#?}");
        assert!(lines[7].starts_with("by failures: s sort"), "{lines:#?}");
    }

    #[test]
    fn narrow_terminal_keeps_the_ids_and_what_fails() {
        let lines = drawn(&screen(), 40);
        assert!(lines[2].starts_with("SUBSCRIPTION"), "{lines:#?}");
        assert!(lines[2].contains("FAIL/S") && !lines[2].contains("LAST"), "{lines:#?}");
    }

    #[test]
    fn keys_sort_filter_pause_and_show_details() {
        let mut screen = screen();
        assert_eq!(press(&mut screen, "s"), [Next::Fetch]);
        assert_eq!(screen.by, Rank::Volume);
        press(&mut screen, "/quiet\n");
        assert_eq!((screen.items().len(), screen.is_editing), (1, false));
        press(&mut screen, "\n");
        let lines = drawn(&screen, 80);
        assert!(lines.iter().any(|line| line.contains("a/quiet")), "{lines:#?}");
        press(&mut screen, "\u{1b}\u{1b}");
        assert!(!screen.has_details && screen.filter.is_empty());
        press(&mut screen, "p");
        screen.take(Ok(json!({"items": []}))).unwrap();
        assert_eq!(screen.items().len(), 2, "a paused screen keeps its sample");
        assert_eq!(press(&mut screen, "jjjkq").last(), Some(&Next::Quit));
    }

    #[test]
    fn lost_router_is_said_and_the_last_sample_stays() {
        let mut screen = screen();
        screen.take(Err(anyhow::anyhow!("cannot reach http://127.0.0.1:1"))).unwrap();
        let lines = drawn(&screen, 80);
        assert!(
            lines[7].contains("cannot reach") && lines[7].ends_with("asking again"),
            "{lines:#?}"
        );
        assert!(lines[3].starts_with("b/failing"));
        screen.take(Ok(json!({"items": []}))).unwrap();
        assert!(screen.error.is_none());
    }
}
