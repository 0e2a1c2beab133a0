//! Help about a name that does not exist: the nearest of those that do, or the first of them.

use std::collections::BTreeSet;

/// Names that are listed when none is near.
const LISTED_MAX: usize = 5;
/// Names that are compared: an operator of more of them lists them.
const COMPARED_MAX: usize = 10_000;

/// Returns "did you mean", or "there are" the first names; none if there is no name.
pub(super) fn help_with<'n>(
    written: &str,
    names: impl IntoIterator<Item = &'n str>,
) -> Option<String> {
    let names: BTreeSet<&str> = names.into_iter().take(COMPARED_MAX).collect();
    if let Some(near) = switchyard_expr::nearest(written, names.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    let mut listed: Vec<String> =
        names.iter().take(LISTED_MAX).map(|name| format!("`{name}`")).collect();
    if listed.is_empty() {
        return None;
    }
    let more = names.len().saturating_sub(LISTED_MAX);
    if more > 0 {
        listed.push(format!("{more} more"));
    }
    Some(format!("there are {}", listed.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_name_is_suggested_else_the_first_are_listed() {
        let names = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh"];
        assert_eq!(help_with("frist", names).as_deref(), Some("did you mean `first`?"));
        assert_eq!(
            help_with("other-name", names).as_deref(),
            Some("there are `fifth`, `first`, `fourth`, `second`, `seventh`, 2 more")
        );
        assert_eq!(help_with("frist", []), None);
    }
}
