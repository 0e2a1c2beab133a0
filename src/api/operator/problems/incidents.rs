//! What fails now, as problems: what the doctor finds without asking the broker.

use serde_json::{Value, json};

use crate::api::operator::doctor::router_facts;
use crate::api::state::Shared;
use crate::recovery::doctor::{Finding, Severity, findings_of_replica};

/// Prefix of the keys: before those of all other problems.
const PREFIX: &str = "0";
/// Findings that are listed otherwise: documents one by one.
const LISTED_OTHERWISE: &str = "registry";
/// Findings about the whole router, which are none of an installation.
const OF_ROUTER: [&str; 2] = ["clock", "input"];
/// Findings about what all deliveries need. To whom an installation belongs, addresses and names of streams say nothing.
const OF_BROKER: [&str; 2] = ["broker", "storage"];

/// Returns what fails now with keys, the worst first; of one installation alone, if there is one.
pub(super) async fn list(state: &Shared, only: Option<&str>) -> Vec<(String, Value)> {
    let facts = router_facts(state, only).await;
    let mut findings = findings_of_replica(&facts);
    findings.retain(|one| one.check != LISTED_OTHERWISE);
    if only.is_some() {
        let is_unready = findings.iter().any(|one| OF_BROKER.contains(&one.check));
        let hidden = |check: &&str| OF_ROUTER.contains(check) || OF_BROKER.contains(check);
        findings.retain(|one| !hidden(&one.check));
        if is_unready {
            findings.insert(0, unready());
        }
    }
    let views = findings.into_iter().enumerate().map(|(number, one)| {
        let key = format!("{PREFIX}.{number:03}.{}", one.check);
        let view = json!({
            "kind": "incident",
            "key": key,
            "severity": one.severity,
            "check": one.check,
            "reason": one.message,
            "fix": one.fix,
            "subjects": one.subjects,
        });
        (key, view)
    });
    views.collect()
}

/// Returns the finding that an app sees while the router is not ready.
fn unready() -> Finding {
    Finding::new(
        Severity::Critical,
        "broker",
        "the router is not ready: events and deliveries wait",
        "nothing is to be done by the app: deliveries go on once the router is ready again",
    )
}
