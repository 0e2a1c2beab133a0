//! Paths of entity properties: `issue.properties['key'].path`.
//!
//! **Source:** Forge, "Filtering by entity properties".

/// An entity property, or a value inside it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PropertyPath {
    /// `issue`, `project` or `user`.
    pub entity: Box<str>,
    /// Key of the property; may contain dots.
    pub key: Box<str>,
    /// Names inside the property, outermost first; empty for the property itself. `.x.y`,
    /// `['x']['y']` and `['x.y']` are the same two names.
    pub names: Box<[Box<str>]>,
}

impl PropertyPath {
    /// Parses a path as authors write it; none if it is not one of an entity property.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (entity, rest) = text.split_once(".properties")?;
        let (key, mut rest) = member(rest)?;
        let mut names: Vec<Box<str>> = Vec::new();
        while !rest.is_empty() {
            let (name, behind) = member(rest)?;
            names.extend(name.split('.').filter(|name| !name.is_empty()).map(Box::from));
            rest = behind;
        }
        Some(Self { entity: entity.into(), key: key.into(), names: names.into() })
    }
}

/// Splits `.name`, `['name']` or `["name"]` off the front; returns the name and the rest.
fn member(text: &str) -> Option<(&str, &str)> {
    if let Some(rest) = text.strip_prefix('.') {
        let (name, rest) = rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()));
        return (!name.is_empty()).then_some((name, rest));
    }
    let quoted = text.strip_prefix('[')?.trim_start();
    let quote = quoted.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    let (name, rest) = quoted.get(1..)?.split_once(quote)?;
    Some((name, rest.trim_start().strip_prefix(']')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_path_are_equal() {
        let parsed = |text| PropertyPath::parse(text).unwrap();
        let expected = parsed("issue.properties['my.app'].x.y");
        assert_eq!((&*expected.key, expected.names.len()), ("my.app", 2));
        for text in [
            "issue.properties['my.app']['x']['y']",
            "issue.properties[\"my.app\"]['x.y']",
            "issue.properties[ 'my.app' ].x[\"y\"]",
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
        assert_eq!(parsed("user.properties.prefs").names.len(), 0);
    }

    #[test]
    fn other_text_is_no_path() {
        for text in [
            "",
            "issue.key",
            "issue.properties",
            "issue.properties.",
            "issue.properties['k",
            "issue.properties['k'",
            "issue.properties['k'] .x",
            "issue.properties[k]",
            "issue.properties['k'].x..y",
        ] {
            assert_eq!(PropertyPath::parse(text), None, "{text}");
        }
    }
}
