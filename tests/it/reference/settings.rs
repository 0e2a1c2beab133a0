//! `docs/reference/settings.md`, from the file of the defaults, which is compiled into the router and defines
//! the type of every key.

use std::fmt::Write;

const DEFAULTS: &str = include_str!("../../../deploy/switchyard.default.toml");

const HEAD: &str = "# Settings

Every setting, from [the file of the defaults](../../deploy/switchyard.default.toml), by a test. A flag takes precedence over
the environment, that over `switchyard.toml` (or the file of `--config`), and that over the defaults. An unknown key, and an unknown
variable with the prefix, is an error. In the environment, lists are separated by commas. `switchyard config show --origin` prints
the settings that are in force and where each comes from, `switchyard config check FILE` checks a file.
";

/// One key of the file: its comment, and its value as it is written.
struct Setting<'a> {
    name: String,
    comment: Vec<&'a str>,
    value: &'a str,
}

impl Setting<'_> {
    fn kind(&self) -> String {
        let table: toml::Table = toml::from_str(&format!("value = {}", self.value)).expect("TOML");
        let kind = |value: &toml::Value| match value {
            toml::Value::String(_) => "text",
            toml::Value::Integer(_) => "whole number",
            toml::Value::Float(_) => "number",
            toml::Value::Boolean(_) => "true or false",
            other => panic!("a value of a kind that no page describes: {other}"),
        };
        match &table["value"] {
            toml::Value::Array(items) => {
                format!("list of {}s", items.first().map_or("text", kind))
            }
            value => kind(value).to_owned(),
        }
    }

    fn write(&self, page: &mut String) {
        let variable = format!("SWITCHYARD_{}", self.name.replace('.', "__").to_uppercase());
        let (name, value) = (&self.name, self.value);
        writeln!(page, "\n### {name}\n\n{}", super::plain(&self.comment.join("\n")))
            .expect("a text");
        let facts = format!("\n{}, default `{value}`, environment `{variable}`", self.kind());
        writeln!(page, "{facts}").expect("a text");
    }
}

#[test]
fn reference_of_settings_is_that_of_the_defaults() {
    let mut page = HEAD.to_owned();
    let (mut section, mut comment, mut count) = ("", Vec::new(), 0);
    for line in DEFAULTS.lines().skip_while(|line| !line.starts_with('[')) {
        if let Some(said) = line.strip_prefix('#') {
            comment.push(said.strip_prefix(' ').unwrap_or(said));
        } else if let Some(name) = line.strip_prefix('[') {
            section = name.strip_suffix(']').expect("the end of a section");
            writeln!(page, "\n## {section}").expect("a text");
            // Sections whose keys users name: the comment has their form, and is shown as it is.
            if !comment.is_empty() {
                writeln!(page, "\n```text\n{}\n```", comment.join("\n")).expect("a text");
            }
            comment.clear();
        } else if let Some((key, value)) = line.split_once(" = ") {
            let name = format!("{section}.{key}");
            assert!(!comment.is_empty(), "{name} has no comment");
            Setting { name, comment: std::mem::take(&mut comment), value }.write(&mut page);
            count += 1;
        } else {
            assert!(line.is_empty(), "a line of a form that no page describes: {line}");
        }
    }
    assert!(count > 90, "{count} settings");
    super::hold("settings", &page);
}

#[test]
fn limits_that_are_explained_are_the_defaults() {
    let page = include_str!("../../../docs/explanation/limits.md");
    let all: toml::Table = toml::from_str(DEFAULTS).expect("TOML");
    let mut count = 0;
    for row in page.lines().filter(|line| line.contains("](../reference/settings.md#")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let [_, value, setting, _] = cells.as_slice() else { continue };
        let name = setting.split('`').nth(1).expect("the name of a setting");
        let (section, key) = name.split_once('.').expect("a section and a key");
        assert_eq!(*value, all[section][key].to_string(), "{name}");
        count += 1;
    }
    assert!(count > 30, "{count} limits");
}
