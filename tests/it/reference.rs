//! The generated pages of `docs/reference`: settings, metrics, API, scopes and command line, each equal to what the
//! code has. `UPDATE_DOCS=1 cargo nextest run reference` renews them.

mod access;
mod api;
mod cli;
mod metrics;
mod settings;

/// Compares a page with the stored one, which `UPDATE_DOCS` replaces.
fn hold(page: &str, current: &str) {
    let stored = format!("docs/reference/{page}.md");
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(&stored);
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration")]
    if std::env::var("UPDATE_DOCS").is_ok() {
        std::fs::write(&path, current).expect("the page can be written");
    }
    let written = std::fs::read_to_string(&path).expect("the page can be read");
    let differs = current.lines().zip(written.lines()).find(|(new, old)| new != old);
    assert!(
        current == written,
        "the code differs from {stored}, first at {differs:?}; if that is meant, renew the page: \
         UPDATE_DOCS=1 cargo nextest run reference"
    );
}

/// A text in which Markdown sees no HTML: `<` outside of code has a backslash.
fn plain(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(number, part)| match number % 2 {
        0 => part.replace('<', "\\<"),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("`")
}

/// A text in a cell of a table, on one line.
fn cell(text: &str) -> String {
    plain(&text.split_whitespace().collect::<Vec<_>>().join(" ")).replace('|', "\\|")
}
