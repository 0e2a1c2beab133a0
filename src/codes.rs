//! The stable codes outside of the filter language, each with the page that `explain-code` prints.
//!
//! 1xxx: what came in cannot be read or is not allowed; 2xxx: registration; 5xxx: the broker and
//! what is stored there. A code is never reused. Those of the language are `SY-3nnn`, see
//! [`switchyard_expr::Code`].

use switchyard_expr::diagnostic::Page;

/// A code and what is to be said about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodeEntry {
    /// `SY-nnnn`.
    pub code: &'static str,
    /// What it means, in a few words.
    pub title: &'static str,
    /// Cause, example and fix. An example is a request: method and path, headers, then its body.
    pub page: Page,
}

const fn entry(
    code: &'static str,
    title: &'static str,
    cause: &'static str,
    example: &'static str,
    fix: &'static str,
) -> CodeEntry {
    CodeEntry { code, title, page: Page { cause, example, fix } }
}

/// Every code outside of the language, ascending.
pub const CODES: &[CodeEntry] = &[
    entry(
        "SY-1001",
        "an event is not UTF-8 text",
        "The body of an event holds bytes that are no UTF-8. On the event stream it becomes a dead letter with its original bytes.",
        "",
        "Publish the event as JSON in UTF-8.",
    ),
    entry(
        "SY-1002",
        "an event is not JSON",
        "The body of an event breaks off or does not read as JSON. On the event stream it becomes a dead letter with its original bytes.",
        "POST /admin/v1/events?cloudId=site-1&type=avi:jira:created:issue\n\n{\"issue\": {\"key\": \"OPS-1\"",
        "{\"issue\": {\"key\": \"OPS-1\"}}",
    ),
    entry(
        "SY-1003",
        "an event nests too deep",
        "The body of an event nests deeper than 512 levels. On the event stream it becomes a dead letter with its original bytes.",
        "",
        "Publish what handlers need in a flatter form.",
    ),
    entry(
        "SY-1004",
        "an event is too large",
        "The body of an event is larger than `limits.event` (1 MiB unless configured). On the event stream it becomes a dead letter.",
        "",
        "Leave large texts and attachments out of the event, or raise `limits.event` and the broker's `max_payload`.",
    ),
    entry(
        "SY-1005",
        "JSON that is no event",
        "The body is JSON, but body and headers together are no event: it is no object, the site or the type is missing, or body and headers name different types.",
        "POST /admin/v1/events?cloudId=site-1&type=avi:jira:created:issue\n\n[1, 2, 3]",
        "{\"issue\": {\"key\": \"OPS-1\"}}",
    ),
    entry(
        "SY-1021",
        "a webhook that names no site",
        "The path of a webhook ends in the id of the site that it comes from, 1 to 128 bytes.",
        "",
        "Register the webhook with the address `/ingest/jira/<cloudId>` or `/ingest/confluence/<cloudId>`.",
    ),
    entry(
        "SY-1022",
        "a webhook with a wrong signature",
        "A secret is configured for the site, and the header `X-Hub-Signature` is missing or was not made from this body with that secret.",
        "POST /ingest/jira/signed-site\nX-Hub-Signature: sha256=00\n\n{\"webhookEvent\": \"jira:issue_created\"}",
        "Set the secret of the webhook to `ingest.jira.<cloudId>.secret` or `ingest.confluence.<cloudId>.secret`; proxies between must not change the body.",
    ),
    entry(
        "SY-1023",
        "a webhook that stands for no event",
        "The body is no webhook: it is no JSON object, or nothing says which one it is: `webhookEvent` in Jira, the address in Confluence.",
        "POST /ingest/jira/site-1\n\n{\"issue\": {\"key\": \"OPS-1\"}}",
        "Send these paths webhooks of the product only, and in Confluence an address for each event, such as `?event=page_created`; publish events of your own by `POST /admin/v1/events`.",
    ),
    entry(
        "SY-1024",
        "a request that ended early",
        "The connection closed before the body was complete. Nothing of an incomplete event is stored.",
        "",
        "Send it again; lines of a file that were answered for are stored.",
    ),
    entry(
        "SY-1025",
        "a line that is too long",
        "A file of events has one event a line, and a line has at most 1 MiB.",
        "",
        "Write each event on a line of its own, without line breaks inside.",
    ),
    entry(
        "SY-1101",
        "a body that cannot be read",
        "The body of the request is not JSON, or not the object that the path takes.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\",",
        "Send one complete JSON object.",
    ),
    entry(
        "SY-1102",
        "a body that is too large",
        "The body of the request is larger than `limits.body` (1 MiB unless configured).",
        "",
        "Send fewer modules at once.",
    ),
    entry(
        "SY-1103",
        "no such record",
        "There is no app, installation, module or subscription under this name, or it is not the caller's.",
        "GET /forge/installation/v2/dynamic/module/no-such-key",
        "List what there is: the path without its last part.",
    ),
    entry(
        "SY-1104",
        "a method that the path does not take",
        "The path exists, the method does not.",
        "PATCH /forge/installation/v2/dynamic/module\n\n{}",
        "Use `POST` to register, `PUT` to replace, `DELETE` to remove.",
    ),
    entry(
        "SY-1105",
        "not the operator",
        "The operator API asks for the admin token, and the header is missing or holds another.",
        "GET /admin/v1/apps\nAuthorization: Bearer something-else",
        "Send `Authorization: Bearer <admin token>`, which `dev` prints and `SWITCHYARD_ADMIN_TOKEN` sets.",
    ),
    entry(
        "SY-1106",
        "no such path",
        "Nothing is served under the path.",
        "GET /forge/installation/v3/dynamic/module",
        "The README lists the doors and their paths.",
    ),
    entry(
        "SY-1107",
        "too many registrations",
        "An installation registers at most `limits.registration_rate` modules a second, with bursts.",
        "",
        "Wait as long as `Retry-After` says, or register many modules in one batch.",
    ),
    entry(
        "SY-1108",
        "the record has changed meanwhile",
        "`If-Match` names a revision that is not the current one: somebody changed the record after you read it.",
        "DELETE /forge/installation/v1/dynamic/module/known\nIf-Match: \"7000\"",
        "Read it again, and send the `ETag` of that answer.",
    ),
    entry(
        "SY-1109",
        "the token has expired",
        "The token came with an event, as `x-forge-oauth-system`, and is older than its two hours.",
        "",
        "Take the token of the latest event. If that one is refused too, compare the clocks: the answer's `Date` is the router's.",
    ),
    entry(
        "SY-2001",
        "something required is missing",
        "A member that must be there is not.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"function\": \"main\"}}",
        "{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:created:issue\"]}}",
    ),
    entry(
        "SY-2002",
        "an unknown member",
        "A member that does not belong here; misspelt ones would be ignored in silence otherwise.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"event\": [\"avi:jira:created:issue\"]}}",
        "{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:created:issue\"]}}",
    ),
    entry(
        "SY-2003",
        "a value of a wrong type or form",
        "A member has another type than it should, or a value that it cannot have.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": \"avi:jira:created:issue\"}}",
        "{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:created:issue\"]}}",
    ),
    entry(
        "SY-2004",
        "not exactly one handler",
        "A trigger names who handles its matches, either by `function` or by `endpoint`.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"events\": [\"avi:jira:created:issue\"]}}",
        "{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:created:issue\"]}}",
    ),
    entry(
        "SY-2005",
        "a handler that the app does not have",
        "The function or endpoint is not declared by the app.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"function\": \"mian\", \"events\": [\"avi:jira:created:issue\"]}}",
        "{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:created:issue\"]}}",
    ),
    entry(
        "SY-2006",
        "no such event",
        "No product publishes an event of this name, so the trigger would wait for ever.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:created:comment\"]}}",
        "{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:commented:issue\"]}}",
    ),
    entry(
        "SY-2007",
        "the app lacks a scope",
        "Hearing the event needs a scope that the app does not have.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:created:user\"]}}",
        "Add the scope to the app, and have its installations consent to it.",
    ),
    entry(
        "SY-2008",
        "no room for another module",
        "The installation has as many dynamic modules as `limits.modules_per_installation` lets it have.",
        "",
        "Delete modules that are not needed; one trigger may list many events, and one filter join many conditions with `||`.",
    ),
    entry(
        "SY-2009",
        "too many entity properties",
        "All triggers of an installation together read at most five different entity properties (`limits.property_paths_per_installation`).",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:created:issue\"], \"payload\": {\"include\": {\"propertyPaths\": [\"issue.properties['k'].a\", \"issue.properties['k'].b\", \"issue.properties['k'].c\", \"issue.properties['k'].d\", \"issue.properties['k'].e\", \"issue.properties['k'].f\"]}}}}",
        "Keep what filters need in one property, and read the same path everywhere.",
    ),
    entry(
        "SY-2010",
        "a module type that cannot be registered",
        "The type is not known, not dynamic, or not one of this product.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"jira:teapot\", \"data\": {}}",
        "Register `trigger` modules; `registry.accept_inert_types` stores others without routing them.",
    ),
    entry(
        "SY-2011",
        "a key that is not yours to give",
        "In version 2 the server assigns the keys of modules.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"key\": \"mine\", \"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:created:issue\"]}}",
        "Leave `key` out and keep the one of the answer, or use version 1.",
    ),
    entry(
        "SY-2012",
        "two forms of filters",
        "Events with filters of their own stand beside a filter for all events.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"filter\": {\"ignoreSelf\": true}, \"events\": [{\"eventType\": \"avi:jira:created:issue\", \"filter\": {\"ignoreSelf\": true}}]}}",
        "Keep one of the two forms.",
    ),
    entry(
        "SY-2013",
        "a filter without a condition",
        "A filter has at least one of `ignoreSelf`, `appIsLicensed` and `expression`.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:created:issue\"], \"filter\": {}}}",
        "Leave `filter` out, or say what must hold.",
    ),
    entry(
        "SY-2014",
        "an event without entity properties",
        "A warning: the vendor offers no entity properties on the event, so their paths are null on it.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:viewed:issue\"], \"payload\": {\"include\": {\"propertyPaths\": [\"issue.properties['k'].a\"]}}}}",
        "Listen to the event in a trigger of its own that reads no properties.",
    ),
    entry(
        "SY-2015",
        "an `onError` that does nothing",
        "A warning: only expressions can fail, and the filter has none.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:created:issue\"], \"filter\": {\"ignoreSelf\": true, \"onError\": \"RECEIVE\"}}}",
        "Leave `onError` out.",
    ),
    entry(
        "SY-2016",
        "an address that deliveries may not have",
        "The address is none, has no host, is not `https`, or leads to a private network or a port that is closed to deliveries.",
        "PUT /admin/v1/apps/another\n\n{\"kind\": \"forge\", \"endpoints\": [{\"key\": \"hook\", \"url\": \"ftp://files.example.com/\"}]}",
        "Use an https address; `delivery.allow_http`, `delivery.allow_cidrs` and `delivery.allow_ports` open more.",
    ),
    entry(
        "SY-2017",
        "another type under the same key",
        "A module keeps its type for as long as it lives.",
        "PUT /forge/installation/v1/dynamic/module/known\n\n{\"key\": \"known\", \"type\": \"jira:entityProperty\", \"data\": {}}",
        "Delete the module and register another.",
    ),
    entry(
        "SY-2018",
        "too much to store",
        "All modules of an installation are one document, and the store takes documents up to a size.",
        "",
        "Register fewer or smaller modules, or raise the broker's `max_payload`.",
    ),
    entry(
        "SY-2019",
        "the same key or event twice",
        "Two modules, endpoints or events of one list have the same name, and it is unclear which is meant.",
        "PUT /admin/v1/apps/another\n\n{\"kind\": \"forge\", \"endpoints\": [{\"key\": \"hook\", \"url\": \"https://one.example.com/\"}, {\"key\": \"hook\", \"url\": \"https://two.example.com/\"}]}",
        "Give each its own key; join the conditions of one event with `||`.",
    ),
    entry(
        "SY-2020",
        "not provisioned",
        "The request names an app that the operator has not set up.",
        "PUT /admin/v1/installations/another\n\n{\"app\": \"nobody\", \"cloudId\": \"site-1\", \"product\": \"jira\"}",
        "Set the app up first: `PUT /admin/v1/apps/{appId}`.",
    ),
    entry(
        "SY-2021",
        "what identifies a record cannot change",
        "An installation keeps its app and its site: its modules were checked against that app and hear that site.",
        "PUT /admin/v1/installations/acme\n\n{\"app\": \"auto-assign\", \"cloudId\": \"site-2\", \"product\": \"jira\"}",
        "Provision another installation.",
    ),
    entry(
        "SY-2022",
        "JQL that cannot be used",
        "Written as an expression, the JQL is larger or nests deeper than expressions may.",
        "",
        "Shorten it: lists after `IN` are shorter than clauses joined with `OR`.",
    ),
    entry(
        "SY-2023",
        "the app did not take the call",
        "The app was told of its installation, or asked for its modules, and did not answer with success.",
        "",
        "Look at the answer that the message quotes, mend the app's endpoint, and try again.",
    ),
    entry(
        "SY-2024",
        "a body that the vendor drops",
        "A warning of `check --with`: what the handler would get of the sample event is larger than the 200 kB that the vendor delivers. Switchyard delivers it, up to `delivery.payload_max`.",
        "",
        "Name the issue fields that the handler needs in `payload.include.fields`, and fetch the rest.",
    ),
    entry(
        "SY-2025",
        "a module that its app answers for",
        "The module was discovered: the app names it when it is asked for its modules, so that a change made here would not last.",
        "",
        "Change what the app answers, then have it asked again: `POST /forge/installation/v2/dynamic/module:refresh`.",
    ),
    entry(
        "SY-2026",
        "nearly as many modules as there may be",
        "A warning of a registration: nine tenths of the modules that the installation may have are used.",
        "",
        "Delete modules that nobody needs, or have one trigger hear several event types.",
    ),
    entry(
        "SY-5011",
        "the broker did not confirm an event",
        "The broker did not say in time whether it stored the event. It may have.",
        "",
        "Send it again under the same id: it is stored once.",
    ),
    entry(
        "SY-5012",
        "the broker refused an event",
        "The event stream does not take the event, because it is full or the broker's limits forbid it.",
        "",
        "Read the message: it is the broker's. Send the event again when the cause is gone.",
    ),
    entry(
        "SY-5013",
        "too many events wait",
        "The event stream is nearly full of events that nobody has handled. Taking more would evict them unseen.",
        "",
        "Send it again after `Retry-After`; add routers, or room in the stream.",
    ),
    entry(
        "SY-5021",
        "the registry did not confirm a change",
        "The store of the registry did not answer in time. The change may have been made.",
        "",
        "Read the record, and send the change again if it is not there.",
    ),
    entry(
        "SY-5022",
        "the broker does not answer",
        "What was asked for is read from the broker, which did not answer in time.",
        "",
        "Try again in a moment; if it stays, look at the broker and at `/healthz/ready`.",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Codes outside of the language that stand as string literals in the code of a folder, its
    /// tests and this file aside.
    fn emitted(folder: &Path, out: &mut BTreeSet<String>) {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            match path.is_dir() {
                true if name != "tests" => emitted(&path, out),
                false if name.ends_with(".rs") && name != "tests.rs" && name != "codes.rs" => {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let code = text.split("mod tests {").next().unwrap();
                    let found = code.split("\"SY-").skip(1).filter_map(|rest| rest.get(..4));
                    let is_code = |digits: &&str| {
                        digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('3')
                    };
                    out.extend(found.filter(is_code).map(String::from));
                }
                _ => {}
            }
        }
    }

    #[test]
    fn every_code_that_is_emitted_has_a_page_and_every_page_a_code() {
        let mut found = BTreeSet::new();
        emitted(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        let listed = CODES.iter().map(|entry| entry.code.strip_prefix("SY-").unwrap().to_owned());
        assert_eq!(found, listed.collect());
    }

    #[test]
    fn entries_ascend_and_each_says_cause_and_fix() {
        assert!(CODES.is_sorted_by(|a, b| a.code < b.code));
        for CodeEntry { code, title, page } in CODES {
            assert!(
                !title.is_empty() && page.cause.ends_with('.') && !page.fix.is_empty(),
                "{code}"
            );
        }
    }

    #[test]
    fn manual_lists_every_code() {
        let manual = include_str!("../docs/codes.md");
        let rows = manual.lines().filter(|line| line.starts_with("| SY-"));
        let listed: Vec<String> =
            CODES.iter().map(|e| format!("| {} | {} |", e.code, e.title)).collect();
        assert_eq!(rows.collect::<Vec<_>>(), listed);
    }
}
