//! Names similar to a misspelt one.

/// Longer names are not compared.
const NAME_CHARS_MAX: usize = 40;

/// Returns the name that `written` probably means: at most two edits away, and at most a third of
/// its length.
pub fn nearest<'n>(written: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let written: Vec<char> = written.chars().collect();
    if written.len() > NAME_CHARS_MAX {
        return None;
    }
    let edits_max = (written.len() / 3).min(2);
    names
        .filter(|name| name.len().abs_diff(written.len()) <= edits_max)
        .map(|name| (edits(&written, name), name))
        .filter(|(distance, _)| *distance <= edits_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Edit distance of two names. A difference in case costs nothing; two exchanged letters cost one.
fn edits(written: &[char], name: &str) -> usize {
    let same = |a: char, b: char| a.eq_ignore_ascii_case(&b);
    let name: Vec<char> = name.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=name.len()).collect();
    for (i, &w) in written.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &n) in name.iter().enumerate() {
            let at = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
            let mut cost = (at(&above, j) + usize::from(!same(w, n)))
                .min(at(&above, j + 1) + 1)
                .min(at(&row, j) + 1);
            let swapped = i > 0
                && j > 0
                && written.get(i - 1).is_some_and(|&w| same(w, n))
                && name.get(j - 1).is_some_and(|&n| same(w, n));
            if swapped {
                cost = cost.min(at(&before, j - 1) + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(0)
}
