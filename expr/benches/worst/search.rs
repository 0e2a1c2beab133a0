//! Searches for expensive cases by mutation and selection.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use switchyard_expr::limits::SOURCE_CHARS_MAX;

use crate::grammar::{Dice, Tree};
use crate::{Bench, Case};

/// Measurements of each surviving case for the final ranking.
const RUNS_TO_RANK: usize = 9;
/// Population size of each kind.
const POPULATION: usize = 48;
/// Cases of each kind that are written.
const KEPT: usize = 12;
/// Length of the substrings by which sources are compared.
const WINDOW_BYTES: usize = 12;
/// Length that the holes of a repetition may add.
const ROOM: usize = 200;

/// A case of the population.
struct Bred {
    tree: Tree,
    case: Case,
    part: f64,
}

/// Searches for `time`, half of it for each kind, and returns the most expensive cases, including
/// `known` ones.
pub(crate) fn search(bench: &Bench, known: Vec<Case>, time: Duration) -> Vec<Case> {
    let seed = Instant::now().elapsed().as_nanos() ^ u128::from(std::process::id());
    let mut dice = Dice::new(u64::try_from(seed).unwrap_or(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut kept = Vec::new();
    for evaluates in [false, true] {
        let known = known.iter().filter(|case| case.event.is_some() == evaluates).cloned();
        let found = breed(bench, evaluates, time / 2, &mut dice);
        kept.extend(costliest(bench, known.chain(found.into_iter().map(|bred| bred.case))));
    }
    kept
}

fn breed(bench: &Bench, evaluates: bool, time: Duration, dice: &mut Dice) -> Vec<Bred> {
    let start = Instant::now();
    let mut living: Vec<Bred> = Vec::new();
    let (mut tried, mut measured) = (0, 0);
    while start.elapsed() < time {
        tried += 1;
        let (tree, event) = child(bench, evaluates, &living, dice);
        let Some(source) = tree.source(SOURCE_CHARS_MAX - ROOM) else { continue };
        if source.chars().count() > SOURCE_CHARS_MAX {
            continue;
        }
        let case = Case { event, source };
        let Some(part) = part_of(bench, &case, &living) else { continue };
        measured += 1;
        insert(&mut living, Bred { tree, case, part });
    }
    let kind = if evaluates { "evaluate" } else { "compile" };
    let best = living.first().map_or(0.0, |bred| bred.part);
    println!("{kind}: {tried} bred, {measured} measured, the worst {:.0} %", best * 100.0);
    living
}

/// Returns a new tree, or a mutation of one in the population.
fn child(
    bench: &Bench,
    evaluates: bool,
    living: &[Bred],
    dice: &mut Dice,
) -> (Tree, Option<String>) {
    let any_event = dice.below(bench.events.len());
    let any_event = bench.events.get(any_event).map(|event| event.name.to_owned());
    let parent = living.get(dice.below(POPULATION));
    let other = living.get(dice.below(POPULATION));
    match (parent, other) {
        (Some(parent), Some(other)) if dice.below(8) > 0 => {
            let tree = parent.tree.changed(dice, &other.tree);
            let event = if dice.below(4) == 0 { any_event } else { parent.case.event.clone() };
            (tree, event.filter(|_| evaluates))
        }
        _ => (Tree::grow(dice, 6), any_event.filter(|_| evaluates)),
    }
}

/// Measures the cost of a case. Only a case that would survive is measured precisely.
fn part_of(bench: &Bench, case: &Case, living: &[Bred]) -> Option<f64> {
    let bar = living.get(POPULATION - 1).map_or(0.0, |last| last.part);
    let first = bench.cost(case, 1)?.part;
    if first <= bar {
        return Some(first);
    }
    bench.cost(case, 3).map(|cost| cost.part)
}

fn insert(living: &mut Vec<Bred>, bred: Bred) {
    let full = living.len() >= POPULATION;
    if full && living.last().is_some_and(|last| last.part >= bred.part) {
        return;
    }
    // Of similar cases only the most expensive survives; otherwise they would fill the population.
    let windows = windows(&bred.case.source);
    let is_twin = |other: &Bred| are_alike(&windows, &other.case.source);
    if living.iter().any(|other| other.part >= bred.part && is_twin(other)) {
        return;
    }
    living.retain(|other| !is_twin(other));
    let at = living.partition_point(|other| other.part >= bred.part);
    living.insert(at, bred);
    living.truncate(POPULATION);
}

/// All substrings of a source of the compared length.
fn windows(source: &str) -> HashSet<&[u8]> {
    source.as_bytes().windows(WINDOW_BYTES).collect()
}

/// Whether most substrings of `source` occur in `windows`.
fn are_alike(windows: &HashSet<&[u8]>, source: &str) -> bool {
    let others = self::windows(source);
    let shared = others.iter().filter(|window| windows.contains(*window)).count();
    shared * 2 > others.len().min(windows.len())
}

/// The most expensive cases, measured precisely, without similar ones.
fn costliest(bench: &Bench, cases: impl Iterator<Item = Case>) -> Vec<Case> {
    let mut measured: Vec<(f64, Case)> = cases
        .filter_map(|case| bench.cost(&case, RUNS_TO_RANK).map(|cost| (cost.part, case)))
        .collect();
    measured.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut kept: Vec<Case> = Vec::new();
    for (_, case) in measured {
        let windows = windows(&case.source);
        if kept.len() < KEPT && !kept.iter().any(|known| are_alike(&windows, &known.source)) {
            kept.push(case);
        }
    }
    kept
}
