//! Generates filters and events of known shape and selectivity; the same for the same seed.

use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use switchyard::domain::{CloudId, Handler, InstallationId};
use switchyard::matcher::{
    DeliverySettings, EventConditions, EventSubscription, EventSubscriptions, Owner, Subscription,
};
use switchyard::telemetry::SubscriptionStats;
use switchyard_expr::{CheckProfile, TemplateCache};

/// Number of filters on one project, so that 20 to 28 of them hold for an event of it.
const FILTERS_PER_PROJECT: usize = 40;
/// Number of modules of one installation: the platform's limit.
pub(crate) const MODULES: usize = 100;
pub(crate) const EVENT_TYPE: &str = "avi:jira:updated:issue";

const TYPES: [&str; 5] = ["Bug", "Task", "Story", "Epic", "Incident"];
const PRIORITIES: [&str; 5] = ["Highest", "High", "Medium", "Low", "Lowest"];
const STATUSES: [&str; 6] = ["To Do", "In Progress", "In Review", "Blocked", "Done", "Closed"];

/// The SplitMix64 generator.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn pick(&mut self, of: &[&'static str]) -> &'static str {
        of[self.below(of.len())]
    }
}

/// Returns the number of projects that `filters` filters test.
pub(crate) fn projects(filters: usize) -> usize {
    (filters / FILTERS_PER_PROJECT).max(2)
}

/// A filter of the mix; projects and words by number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FilterSpec {
    /// A project and a type of issue.
    Kind { project: usize, kind: &'static str },
    /// A project, a type of issue and a priority.
    Priority { project: usize, kind: &'static str, priority: &'static str },
    /// One of three projects.
    Projects([usize; 3]),
    /// A project, and more points than this.
    Points { project: usize, above: usize },
    /// A project, and a change of status to this one.
    Moved { project: usize, to: &'static str },
    /// A project, and any status but `Done`.
    Open { project: usize },
    /// A word in the summary, without another test.
    Word(usize),
}

impl FilterSpec {
    /// Returns a random one: 60 % conjunctions of two or three equalities, 15 % lists, 10 % ranges,
    /// 10 % changelog, 3 % negations, 2 % substrings.
    pub(crate) fn random(random: &mut Random, projects: usize) -> Self {
        let project = random.below(projects);
        match random.below(100) {
            0..30 => Self::Kind { project, kind: random.pick(&TYPES) },
            30..60 => {
                let kind = random.pick(&TYPES);
                Self::Priority { project, kind, priority: random.pick(&PRIORITIES) }
            }
            60..75 => Self::Projects([0; 3].map(|_| random.below(projects))),
            75..85 => Self::Points { project, above: random.below(40) },
            85..95 => Self::Moved { project, to: random.pick(&STATUSES) },
            95..98 => Self::Open { project },
            _ => Self::Word(random.below(projects * 4)),
        }
    }

    /// Returns the Jira expression.
    pub(crate) fn filter(self) -> String {
        let is = |path: &str, value: &str| format!("event.issue.fields.{path} == '{value}'");
        let of = |project: usize| is("project.key", &format!("P{project}"));
        match self {
            Self::Kind { project, kind } => {
                format!("{} && {}", of(project), is("issuetype.name", kind))
            }
            Self::Priority { project, kind, priority } => {
                let (kind, priority) = (is("issuetype.name", kind), is("priority.name", priority));
                format!("{} && {kind} && {priority}", of(project))
            }
            Self::Projects(projects) => {
                let keys = projects.map(|project| format!("'P{project}'")).join(", ");
                format!("[{keys}].includes(event.issue.fields.project.key)")
            }
            Self::Points { project, above } => {
                let points = "event.issue.fields.customfield_10016";
                format!("{} && {points} != null && {points} > {above}", of(project))
            }
            Self::Moved { project, to } => format!(
                "{} && event.changelog.items.some(i => i.field == 'status' && i.toString == '{to}')",
                of(project)
            ),
            Self::Open { project } => {
                format!("{} && event.issue.fields.status.name != 'Done'", of(project))
            }
            Self::Word(word) => format!("event.issue.fields.summary.includes('word{word} ')"),
        }
    }
}

/// Returns a filter of the mix.
pub(crate) fn mixed_filter(random: &mut Random, projects: usize) -> String {
    FilterSpec::random(random, projects).filter()
}

/// Returns a filter that cannot be indexed: it compares two values of the event.
pub(crate) fn unindexable_filter(random: &mut Random) -> String {
    let number = random.below(1_000_000);
    format!(
        "event.issue.fields.assignee?.accountId == event.issue.fields.reporter?.accountId \
         && event.issue.fields.priority.name != 'none-{number}'"
    )
}

/// Returns a filter that cannot be indexed and has no subexpression in common with another.
pub(crate) fn unshared_filter(random: &mut Random) -> String {
    let number = random.below(1_000_000);
    format!(
        "event.issue.fields.assignee?.accountId == event.issue.fields.reporter?.accountId \
         || event.issue.fields.priority.name == 'none-{number}'"
    )
}

/// Returns subscriptions with these filters, `MODULES` for each installation.
pub(crate) fn subscriptions(
    cloud: &str,
    filters: &[String],
) -> Vec<(InstallationId, Vec<Arc<Subscription>>)> {
    subscriptions_in(&TemplateCache::new(), cloud, filters, 0)
}

/// Does what [`subscriptions`] does on all cores, as a registry loads them.
pub(crate) fn loaded(
    cloud: &str,
    filters: &[String],
) -> Vec<(InstallationId, Vec<Arc<Subscription>>)> {
    let templates = TemplateCache::new();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // Whole installations, in several times as many chunks as cores, so that no core is idle for
    // long.
    let share = filters.len().div_ceil(cores * 16).next_multiple_of(MODULES);
    let shares: Vec<(usize, &[String])> = filters.chunks(share).enumerate().collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((at, texts)) =
            shares.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        {
            done.extend(subscriptions_in(&templates, cloud, texts, at * share / MODULES));
        }
        done
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    })
}

fn subscriptions_in(
    templates: &TemplateCache,
    cloud: &str,
    filters: &[String],
    first: usize,
) -> Vec<(InstallationId, Vec<Arc<Subscription>>)> {
    let (cloud, conditions) =
        (CloudId::from(cloud), Arc::new(EventConditions::unconditional(EVENT_TYPE.into())));
    let installation = |(number, filters): (usize, &[String])| {
        let handler = Handler::function("sw.fn.bench.main");
        let id = InstallationId::from(format!("{}-inst-{}", cloud.as_str(), first + number));
        let owner = Arc::new(Owner {
            id: id.clone(),
            app: "app".into(),
            app_account_id: None,
            cloud_id: cloud.clone(),
            licensed: true,
            permissions: None,
            settings: DeliverySettings::new(Arc::new(handler)),
        });
        let modules = filters.iter().enumerate().map(|(at, text)| {
            let program =
                templates.compile(text, CheckProfile::Filter).expect("an accepted filter");
            let event =
                EventSubscription { conditions: Arc::clone(&conditions), program: Some(program) };
            Arc::new(Subscription {
                owner: Arc::clone(&owner),
                key: format!("module-{at}").as_str().into(),
                event_subscriptions: EventSubscriptions::One(event),
                revision: 1,
                stats: SubscriptionStats::default(),
            })
        });
        let modules = modules.collect();
        (id, modules)
    };
    filters.chunks(MODULES).enumerate().map(installation).collect()
}

/// Returns an issue event of about 4.4 KB with 45 fields and 3 changelog items, or `prose` bytes
/// more.
pub(crate) fn event(random: &mut Random, project: &str, words: usize, prose: usize) -> Bytes {
    let mut text = String::with_capacity(5_000 + prose);
    let number = random.below(100_000);
    let account = |random: &mut Random| format!("712020:{:032x}", random.below(5_000));
    let user = |id: &str| {
        format!(
            r#"{{"accountId":"{id}","accountType":"atlassian","active":true,"displayName":"Some Person","timeZone":"Europe/Berlin"}}"#
        )
    };
    let (assignee, reporter) = (account(random), account(random));
    let (kind, priority) = (random.pick(&TYPES), random.pick(&PRIORITIES));
    let (status, from) = (random.pick(&STATUSES), random.pick(&STATUSES));
    let word = random.below(words);
    let _ = write!(
        text,
        r#"{{"eventType":"{EVENT_TYPE}","atlassianId":"{assignee}","timestamp":1700000000{number:06},"issue":{{"id":"{number}","key":"{project}-{number}","self":"https://site.atlassian.net/rest/api/3/issue/{number}","fields":{{"summary":"Checkout fails for word{word} in the second step","project":{{"id":"10001","key":"{project}","name":"Project {project}","projectTypeKey":"software","simplified":false}},"issuetype":{{"id":"10004","name":"{kind}","subtask":false,"hierarchyLevel":0}},"priority":{{"id":"3","name":"{priority}","iconUrl":"https://site.atlassian.net/images/icons/priorities/medium.svg"}},"status":{{"id":"3","name":"{status}","statusCategory":{{"id":4,"key":"indeterminate","name":"In Progress","colorName":"yellow"}}}},"assignee":{},"reporter":{},"creator":{},"labels":["backend","checkout","customer"],"components":[{{"id":"10010","name":"api"}}],"created":"2024-05-01T10:00:00.000+0000","updated":"2024-05-02T11:30:00.000+0000","customfield_10016":{}"#,
        user(&assignee),
        user(&reporter),
        user(&reporter),
        random.below(40),
    );
    for field in 10_030..10_086 {
        let value = match field % 4 {
            0 => "null".to_owned(),
            1 => format!(r#"{{"id":"{field}1","value":"Option {field}"}}"#),
            2 => format!(r#""text of {field}, about 30 characters""#),
            _ => format!("{}.5", field % 97),
        };
        let _ = write!(text, r#","customfield_{field}":{value}"#);
    }
    let sentence = r#"A line of prose with \"quotes\", a tab\t and a line break.\n"#;
    let prose = sentence.repeat(prose / sentence.len() + 1);
    let _ = write!(text, r#","description":"{prose}"}}}},"changelog":{{"id":"{number}","items":["#);
    for (name, from, to) in [("status", from, status), ("assignee", "A", "B"), ("Rank", "", "up")] {
        let comma = if name == "Rank" { "" } else { "," };
        let _ = write!(
            text,
            r#"{{"field":"{name}","fieldId":"{name}","fieldtype":"jira","from":"1","fromString":"{from}","to":"2","toString":"{to}"}}{comma}"#
        );
    }
    text.push_str("]}}");
    Bytes::from(text)
}
