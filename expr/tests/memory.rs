//! Heap use of evaluations: at most 1 MiB, and none for typical filters.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use switchyard_expr::cases::{CaseOutcome, reference};
use switchyard_expr::limits::MEMORY_BYTES_MAX;
use switchyard_expr::reference::Tree;
use switchyard_expr::{CheckProfile, Env, EvalScratch, Tape, TapeLimits, Verdict, compile};

/// Counts the allocations of this thread.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    LIVE.with(|live| {
        live.set(live.get() + bytes);
        PEAK.with(|peak| peak.set(peak.get().max(live.get())));
    });
    COUNT.with(|count| count.set(count.get() + usize::from(bytes > 0)));
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

#[expect(unsafe_code, reason = "allocators are unsafe; this one hands on what it is given")]
// SAFETY: every call goes to the system's allocator with its arguments unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        unsafe { System.dealloc(at, layout) }
    }

    // Growing may copy, and then both buffers exist for a moment.
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(signed(size));
        count(-signed(layout.size()));
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Returns the peak of allocated bytes during `work`, and the number of allocations.
fn heap<T>(work: impl FnOnce() -> T) -> (usize, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    COUNT.set(0);
    let result = work();
    let peak = usize::try_from(PEAK.get() - before).unwrap_or(0);
    drop(result);
    (peak, COUNT.get())
}

fn event(json: &str) -> Tape {
    let mut tape = Tape::new();
    assert_eq!(tape.parse(json.as_bytes(), &TapeLimits::default()), Ok(()));
    tape
}

/// An event of 1 MiB with one long text and a list of numbers.
fn large() -> Tape {
    let numbers: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
    event(&format!(r#"{{"s":"{}","xs":[{}]}}"#, "a\u{e9} ".repeat(225_000), numbers.join(",")))
}

const GREEDY: [&str; 22] = [
    "event.s.toUpperCase().length == 1",
    "event.s.slice(0, 40000).repeat(100) == ''",
    "event.s.slice(1, 300000) == ''",
    "event.s.split('').length == 1",
    "event.s.split(' ').length == 1",
    "event.s.matchAll('a').length == 1",
    "event.s.match('((((.*))))') == null",
    "event.s.replace('a', 'bbbbbbbbbbbbbbbbbbbb') == ''",
    "event.s + event.s == ''",
    "`${event.s}${event.s}` == ''",
    "JSON.stringify(event) == ''",
    "JSON.parse(JSON.stringify(event.xs)).length == 1",
    "event.xs.map(x => x).length == 1",
    "event.xs.map(x => [x]).length == 1",
    "event.xs.flatMap(x => [x, x]).length == 1",
    "event.xs.filter(x => true).length == 1",
    "event.xs.concat(event.xs).concat(event.xs).length == 1",
    "event.xs.sort((a, b) => b - a).length == 1",
    "event.xs.slice(0).length == 1",
    "event.xs.reduce((m, x) => m.set(`k${x}`, x), new Map()) == null",
    "event.xs.reduce((l, x) => l.concat([x]), []) == null",
    "event.xs.join(event.s) == ''",
];

#[test]
fn takes_at_most_a_mebibyte_whatever_the_filter() {
    let tape = large();
    let env = Env { now_ms: 0, steps_max: u32::MAX };
    let stack = "1,".repeat(2_400);
    let deep = format!("let f = (g, n) => [{stack} n > 9 ? 1 : g(g, n + 1)]; f(f, 0).length == 1");
    let slots = format!("let f = g => {{ {} g(g) }}; f(f)", "let a = 1;".repeat(900));
    for source in GREEDY.into_iter().chain([&*deep, &*slots]) {
        // Without a step limit, because memory has a limit of its own.
        let compiled = compile(source, CheckProfile::Filter).unwrap();
        let (peak, _) = heap(|| compiled.program.verdict(&tape, &env, &mut EvalScratch::new()));
        assert!(peak <= MEMORY_BYTES_MAX as usize, "{peak} bytes: {source:.80}");
        assert!(peak > 0, "the allocator counts");
        let tree = Tree::parse(source, CheckProfile::Filter).unwrap();
        let (peak, _) = heap(|| tree.eval(&tape, &env));
        assert!(peak <= MEMORY_BYTES_MAX as usize, "{peak} bytes in the reference: {source:.80}");
    }
}

#[test]
fn a_filter_that_needs_more_fails_with_the_memory_code() {
    let tape = large();
    let env = Env { now_ms: 0, steps_max: u32::MAX };
    for source in ["event.s + event.s", "event.xs.reduce((l, x) => l.concat([x]), [])"] {
        let found = reference(source, &tape, &env).0;
        let CaseOutcome::Error { code, .. } = found else { panic!("{source}: {found:?}") };
        assert_eq!(code.to_string(), "SY-3304", "{source}");
    }
}

#[test]
fn typical_filters_allocate_nothing() {
    let tape = event(
        r#"{"issue": {"key": "ABC-1", "fields": {"project": {"key": "ABC"}, "labels": ["urgent"],
        "summary": "  Payment fails", "issuetype": {"name": "Bug"}, "priority": {"name": "High"},
        "assignee": null, "customfield_10010": 7}},
        "changelog": {"items": [{"field": "status", "toString": "Done"}]}}"#,
    );
    let filters = [
        "event.issue.fields.project.key == 'ABC'",
        "event.issue.fields.project.key == 'ABC' && event.issue.fields.issuetype.name == 'Bug' \
            && event.changelog.items.some(i => i.field == 'status' && i.toString == 'Done')",
        "['High', 'Highest'].includes(event.issue.fields.priority.name)",
        "event.issue.fields.labels.includes('urgent') || event.issue.fields.labels.length > 3",
        "event.issue.fields.summary.trim().includes('fails')",
        "event.issue.fields.assignee?.accountId == 'x' || event.issue.key.indexOf('ABC-') == 0",
        "event.issue.fields.customfield_10010 > 3 && typeof event.comment == 'null'",
        "let fields = event.issue.fields; fields.priority.name == 'High' ? true : false",
    ];
    let mut scratch = EvalScratch::new();
    for source in filters {
        let compiled = compile(source, CheckProfile::Filter).unwrap();
        let env = Env::at(0);
        let first = compiled.program.verdict(&tape, &env, &mut scratch);
        assert_eq!(first, Verdict::Match, "{source}");
        // The stack has grown to the needs of the filter.
        let (_, count) = heap(|| compiled.program.verdict(&tape, &env, &mut scratch));
        assert_eq!(count, 0, "{source}");
    }
}
