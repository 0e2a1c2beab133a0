//! The stable error codes of the router, with the pages that `explain-code` prints.
//!
//! 1xxx: invalid or unauthorized input; 2xxx: registration; 4xxx: deliveries and jobs on them; 5xxx:
//! the broker and its streams. A code is never reused. The codes of the filter language, `SY-3nnn`, are in
//! [`switchyard_expr::Code`].

use switchyard_expr::diagnostic::Page;

/// A code with its title and page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodeEntry {
    /// `SY-nnnn`.
    pub code: &'static str,
    /// Its meaning in a few words.
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

/// Every code of the router, ascending.
pub const CODES: &[CodeEntry] = &[
    entry(
        "SY-1001",
        "an event is not UTF-8 text",
        "The body of an event is not valid UTF-8. On the event stream it becomes a dead letter with its original bytes.",
        "",
        "Publish the event as JSON in UTF-8.",
    ),
    entry(
        "SY-1002",
        "an event is not JSON",
        "The body of an event is incomplete or is not JSON. On the event stream it becomes a dead letter with its original bytes.",
        "POST /admin/v1/events?cloudId=site-1&type=avi:jira:created:issue\n\n{\"issue\": {\"key\": \"OPS-1\"",
        "{\"issue\": {\"key\": \"OPS-1\"}}",
    ),
    entry(
        "SY-1003",
        "an event nests too deep",
        "The body of an event nests deeper than 512 levels. On the event stream it becomes a dead letter with its original bytes.",
        "",
        "Publish events with less nesting.",
    ),
    entry(
        "SY-1004",
        "an event is too large",
        "The body of an event is larger than `limits.event` (1 MiB unless configured). On the event stream it becomes a dead letter.",
        "",
        "Remove large texts and attachments from the event, or raise `limits.event` and the broker's `max_payload`.",
    ),
    entry(
        "SY-1005",
        "JSON that is not an event",
        "The body is JSON but not an event: it is not an object, the site or the event type is missing, or body and headers name different event types.",
        "POST /admin/v1/events?cloudId=site-1&type=avi:jira:created:issue\n\n[1, 2, 3]",
        "{\"issue\": {\"key\": \"OPS-1\"}}",
    ),
    entry(
        "SY-1021",
        "a webhook without a site",
        "The path of a webhook must end with the id of its site, 1 to 128 bytes.",
        "",
        "Register the webhook with the address `/ingest/jira/<cloudId>` or `/ingest/confluence/<cloudId>`.",
    ),
    entry(
        "SY-1022",
        "a webhook with a wrong signature",
        "A secret is configured for the site, and the header `X-Hub-Signature` is missing or does not match the body and the secret.",
        "POST /ingest/jira/signed-site\nX-Hub-Signature: sha256=00\n\n{\"webhookEvent\": \"jira:issue_created\"}",
        "Configure the webhook with the secret of `ingest.jira.<cloudId>.secret` or `ingest.confluence.<cloudId>.secret`; proxies must not change the body.",
    ),
    entry(
        "SY-1023",
        "a webhook that is not an event",
        "The body is not a webhook: it has no bytes, it is not a JSON object that an event can have (nesting up to 512, numbers within the range of doubles), or nothing names it: `webhookEvent` or a transition of an issue in Jira, or the address.",
        "POST /ingest/jira/site-1\n\n{\"issue\": {\"key\": \"OPS-1\"}}",
        "Send only webhooks of the product to these paths; in Confluence, use one address for each event, such as `?event=page_created`. Publish other events with `POST /admin/v1/events`.",
    ),
    entry(
        "SY-1024",
        "an incomplete request body",
        "The connection closed before the body was complete. An incomplete event is not stored.",
        "",
        "Send the request again. Lines of a file that were stored before are recognised as duplicates by their event ids.",
    ),
    entry(
        "SY-1025",
        "a line is too long",
        "A file of events has one event on each line, and a line is longer than 1 MiB.",
        "",
        "Write each event on its own line, without line breaks inside.",
    ),
    entry(
        "SY-1026",
        "a webhook of an unknown site",
        "No installation has this site and product, so no app could receive the events of the webhook. They are not stored.",
        "POST /ingest/jira/no-such-site\n\n{\"webhookEvent\": \"jira:issue_created\"}",
        "Compare the site in the address of the webhook with the `cloudId` of the installations, `GET /admin/v1/installations`; install an app before the webhook is created.",
    ),
    entry(
        "SY-1027",
        "a site without a webhook secret",
        "The site is known, but nothing in the configuration says how its webhooks are authenticated, so none is accepted.",
        "POST /ingest/jira/closed-site\n\n{\"webhookEvent\": \"jira:issue_created\"}",
        "Set `ingest.<product>.<cloudId>.secret` to the secret of the webhook. For webhooks without a signature set `ingest.<product>.<cloudId>.token` and append it to the address, `/ingest/<product>/<cloudId>/<token>`. `ingest.<product>.<cloudId>.unsigned = true` lets everybody send.",
    ),
    entry(
        "SY-1028",
        "a webhook of another media type",
        "The header `Content-Type` of a webhook names something other than JSON.",
        "POST /ingest/jira/site-1\nContent-Type: text/plain\n\n{\"webhookEvent\": \"jira:issue_created\"}",
        "Send webhooks with `Content-Type: application/json`.",
    ),
    entry(
        "SY-1029",
        "a webhook with a wrong token",
        "The address of a webhook ends with a token that is not the one of its site, or with none where the site has only a token.",
        "POST /ingest/jira/site-1/not-the-token\n\n{\"webhookEvent\": \"jira:issue_created\"}",
        "Register the webhook with the address `/ingest/<product>/<cloudId>/<token>`, with the token of `ingest.<product>.<cloudId>.token`.",
    ),
    entry(
        "SY-1030",
        "a webhook is too large",
        "The body of a webhook is larger than `limits.body` (1 MiB unless configured), or the broker stores no message as large as the webhook with its event and headers.",
        "",
        "Raise `limits.body`, and the broker's `max_payload` to twice as much, for the webhooks of the site; Jira sends up to 25 MB. Or let the webhook exclude large fields.",
    ),
    entry(
        "SY-1031",
        "a packed body",
        "The header `Content-Encoding` of a webhook or an event names a compression. Bodies are not unpacked.",
        "POST /ingest/jira/site-1\nContent-Encoding: gzip\n\n{\"webhookEvent\": \"jira:issue_created\"}",
        "Send webhooks and events as they are; a proxy must not compress them.",
    ),
    entry(
        "SY-1032",
        "an event of a site without an app",
        "A hint at a stored event: no app is installed in its site, so no trigger matches it. An app that is installed later does not receive it, unless it is replayed.",
        "POST /admin/v1/events?cloudId=site-2&type=avi:jira:created:issue\n\n{\"issue\": {\"key\": \"OPS-1\"}}",
        "Compare the site with the `cloudId` of the installations, `GET /admin/v1/installations`.",
    ),
    entry(
        "SY-1033",
        "an event of an unknown type",
        "A hint at a stored event: its type is not in the catalogue of event types, so triggers on it are refused unless `events.allow_unknown` is set.",
        "POST /admin/v1/events?cloudId=site-1&type=avi:jira:craeted:issue\n\n{\"issue\": {\"key\": \"OPS-1\"}}",
        "Correct the type. For types of your own set `events.allow_unknown = true`.",
    ),
    entry(
        "SY-1101",
        "a body is not readable",
        "The body of the request is not valid JSON, or was not received completely.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\",",
        "Send one complete JSON object.",
    ),
    entry(
        "SY-1102",
        "a body is too large",
        "The body of the request is larger than `limits.body` (1 MiB unless configured).",
        "",
        "Send fewer modules in one request.",
    ),
    entry(
        "SY-1103",
        "no such record",
        "No app, installation, module or subscription has this name, or it belongs to another caller.",
        "GET /forge/installation/v2/dynamic/module/no-such-key",
        "List the records: `GET` the path without its last segment.",
    ),
    entry(
        "SY-1104",
        "method not allowed",
        "The path exists, but not with this method.",
        "PATCH /forge/installation/v2/dynamic/module\n\n{}",
        "Use `POST` to register, `PUT` to replace, `DELETE` to remove.",
    ),
    entry(
        "SY-1105",
        "no token of the operator API",
        "The operator API requires an admin token or an access token, and the header `Authorization` is missing or is not `Bearer <token>`.",
        "GET /admin/v1/apps\nAuthorization: Basic b3BlcmF0b3I6",
        "Send `Authorization: Bearer <token>`: an access token, or the admin token, which `dev` prints and `SWITCHYARD_ADMIN_TOKEN` sets.",
    ),
    entry(
        "SY-1106",
        "no such path",
        "The router does not serve this path.",
        "GET /forge/installation/v3/dynamic/module",
        "The README lists the APIs and their paths.",
    ),
    entry(
        "SY-1107",
        "too many registrations",
        "The installation exceeds `limits.registration_rate` registrations per second and its burst.",
        "",
        "Wait for `Retry-After`, or register many modules in one batch.",
    ),
    entry(
        "SY-1108",
        "the record was changed concurrently",
        "`If-Match` names a revision that is not the current one: another request changed the record after you read it.",
        "DELETE /forge/installation/v1/dynamic/module/known\nIf-Match: \"7000\"",
        "Read the record again, and send the `ETag` of that response.",
    ),
    entry(
        "SY-1109",
        "the token has expired",
        "The token was delivered with an event, as `x-forge-oauth-system`, and is valid for two hours.",
        "",
        "Use the token of the latest event. If it is rejected too, compare the clocks: `Date` of the response is the router's.",
    ),
    entry(
        "SY-1110",
        "a body arrived too slowly",
        "The body of a request did not arrive within `server.body_timeout_ms` (30 seconds unless configured).",
        "",
        "Send the request again, over a connection that carries a body in that time.",
    ),
    entry(
        "SY-1111",
        "too many bytes at once",
        "The bodies of all requests, of those of this address, or of the webhooks of this site are more than the router keeps in memory: `server.body_bytes_max`, `server.body_bytes_per_address_max`, `server.body_bytes_per_site_max`.",
        "",
        "Send the request again after the time of `Retry-After`, with fewer requests at a time. Behind a proxy, list it in `server.trusted_proxies`, so that its clients are distinguished.",
    ),
    entry(
        "SY-1112",
        "too many failed authentications",
        "This address sent more than `server.auth_failures_per_minute` requests with missing or wrong credentials. A request with the right ones is answered all the same.",
        "",
        "Correct the token or the signature. Behind a proxy, list it in `server.trusted_proxies`, so that its clients are distinguished.",
    ),
    entry(
        "SY-1113",
        "not a host of the router",
        "The console and the metrics of this machine are shown only under an address, `localhost`, the host of `server.public_url` or a name of `server.hosts`: pages of other hosts could read them otherwise.",
        "",
        "Open the console under one of these names, or add its name to `server.hosts`.",
    ),
    entry(
        "SY-1114",
        "a request of a foreign page",
        "The header `Origin` names another host than this router: a web page sends a request that needs no token.",
        "",
        "Send the request from a program. A browser may send it only from the pages of the router.",
    ),
    entry(
        "SY-1115",
        "metrics need a token",
        "`/metrics` is shown to programs on the machine of the router; with `metrics.token`, to who sends it as a bearer token.",
        "",
        "Set `metrics.token` and give it to the scraper (`authorization` in Prometheus), or set `metrics.listen`, a listener of its own for metrics and probes.",
    ),
    entry(
        "SY-1116",
        "a body of another media type",
        "The header `Content-Type` of a request to a JSON API names another media type than `application/json`.",
        "POST /forge/installation/v2/dynamic/module\nContent-Type: text/plain\n\n{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:created:issue\"]}}",
        "Send the body as JSON with `Content-Type: application/json`. `curl -d` sends a form unless `-H 'Content-Type: application/json'` is given.",
    ),
    entry(
        "SY-1117",
        "a revision that is not kept",
        "The last 16 revisions of a subscription are kept, those of a deleted one for 90 days. The one that the request asks for is older, or of a format that this release does not read.",
        "",
        "Ask for a later time: `keptSince` of `GET /admin/v1/subscriptions/{id}/revisions` says from when on revisions are known.",
    ),
    entry(
        "SY-1118",
        "an unknown query parameter",
        "The address of a request to the operator API has a parameter that its path does not take. Without the refusal, a misspelt filter would select everything.",
        "GET /admin/v1/subscriptions?instalation=acme",
        "Correct the name; the message has the nearest one.",
    ),
    entry(
        "SY-1119",
        "not a token of this router",
        "The operator API requires an admin token or an access token, and the one of the request is not a token that this router knows: it may have been deleted or rotated. A router that `dev` starts with a new data folder has a new token.",
        "GET /admin/v1/apps\nAuthorization: Bearer something-else",
        "Send the token of `SWITCHYARD_ADMIN_TOKEN`, `admin.token` or the file of `admin.token_file` of the router that you call.",
    ),
    entry(
        "SY-1120",
        "a token of another kind",
        "The operator API requires an admin token or an access token. The token of the request is known to this router as that of an installation, an OAuth client or a Forge remote, which call the registration APIs.",
        "",
        "Send an admin token or an access token: commands read it from `SWITCHYARD_TOKEN` or `--token-file`.",
    ),
    entry(
        "SY-1131",
        "the scope of the token is too low",
        "The access token of the request may not do this: each operation needs one of the scopes `read`, `operate` and `admin`, of which a higher one includes the lower ones. The message says which one is needed, and which one the token has.",
        "",
        "Ask an operator for a token with the scope that is needed: `switchyard tokens add NAME --scope operate`. `switchyard whoami` shows what a token may do.",
    ),
    entry(
        "SY-1132",
        "not open to a token of one installation",
        "The access token of the request is bound to one installation. It opens what belongs to that: its subscriptions, deliveries, dead letters and explanations, not what the router or others do.",
        "",
        "Ask an operator, who has a token for everything. `GET /openapi.json` names `installation` at the operations that are open to such a token.",
    ),
    entry(
        "SY-1133",
        "too many requests of an access token",
        "The access token sends more requests per second to this replica than it may.",
        "",
        "Send the request again after `Retry-After`, or raise `requestsPerSecond` of the token.",
    ),
    entry(
        "SY-1134",
        "the access token has expired",
        "The access token of the request was created with an end, `expiresAt`, which has passed.",
        "",
        "Ask an operator for another token, or for a later end: `switchyard tokens add NAME --expires 90d`.",
    ),
    entry(
        "SY-2001",
        "a required member is missing",
        "A required member is missing.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"function\": \"main\"}}",
        "{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:created:issue\"]}}",
    ),
    entry(
        "SY-2002",
        "an unknown member",
        "The member does not exist here. It is rejected rather than ignored, since it may be misspelt.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"event\": [\"avi:jira:created:issue\"]}}",
        "{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:created:issue\"]}}",
    ),
    entry(
        "SY-2003",
        "a value has a wrong type or format",
        "The value of a member has the wrong type or is not allowed.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": \"avi:jira:created:issue\"}}",
        "{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:created:issue\"]}}",
    ),
    entry(
        "SY-2004",
        "not exactly one handler",
        "A trigger names exactly one handler, either `function` or `endpoint`.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"events\": [\"avi:jira:created:issue\"]}}",
        "{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:created:issue\"]}}",
    ),
    entry(
        "SY-2005",
        "the app does not declare the handler",
        "The app declares no function or endpoint of this name.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"function\": \"mian\", \"events\": [\"avi:jira:created:issue\"]}}",
        "{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:created:issue\"]}}",
    ),
    entry(
        "SY-2006",
        "unknown event type",
        "No product publishes an event of this type, so the trigger would never match.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:created:comment\"]}}",
        "{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:commented:issue\"]}}",
    ),
    entry(
        "SY-2007",
        "the app lacks a scope",
        "The event type requires a scope that the app does not have.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:created:user\"]}}",
        "Add the scope to the app, and let its installations consent to it.",
    ),
    entry(
        "SY-2008",
        "module limit reached",
        "The installation has the maximum number of dynamic modules (`limits.modules_per_installation`).",
        "",
        "Delete unused modules. One trigger can list many event types, and one filter can combine conditions with `||`.",
    ),
    entry(
        "SY-2009",
        "too many entity properties",
        "All triggers of an installation together read at most five different entity properties (`limits.property_paths_per_installation`).",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:created:issue\"], \"payload\": {\"include\": {\"propertyPaths\": [\"issue.properties['k'].a\", \"issue.properties['k'].b\", \"issue.properties['k'].c\", \"issue.properties['k'].d\", \"issue.properties['k'].e\", \"issue.properties['k'].f\"]}}}}",
        "Store what filters need in one property, and read the same path in all triggers.",
    ),
    entry(
        "SY-2010",
        "the module type cannot be registered",
        "The type is not known, not dynamic, or not one of this product.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"jira:teapot\", \"data\": {}}",
        "Register `trigger` modules; `registry.accept_inert_types` stores others without routing them.",
    ),
    entry(
        "SY-2011",
        "the key is assigned by the server",
        "Version 2 of the API assigns the keys of modules.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"key\": \"mine\", \"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:created:issue\"]}}",
        "Leave `key` out and use the one of the response, or use version 1.",
    ),
    entry(
        "SY-2012",
        "filters at two levels",
        "The trigger has both a filter for all events and filters of single events.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"filter\": {\"ignoreSelf\": true}, \"events\": [{\"eventType\": \"avi:jira:created:issue\", \"filter\": {\"ignoreSelf\": true}}]}}",
        "Use one of the two.",
    ),
    entry(
        "SY-2013",
        "the filter has no condition",
        "A filter has at least one of `ignoreSelf`, `appIsLicensed` and `expression`.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:created:issue\"], \"filter\": {}}}",
        "Leave `filter` out, or add a condition.",
    ),
    entry(
        "SY-2014",
        "the event has no entity properties",
        "A warning: the vendor provides no entity properties with this event, so their paths are null.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:viewed:issue\"], \"payload\": {\"include\": {\"propertyPaths\": [\"issue.properties['k'].a\"]}}}}",
        "Use a separate trigger, without properties, for this event type.",
    ),
    entry(
        "SY-2015",
        "`onError` has no effect",
        "A warning: only expressions can fail, and the filter has none.",
        "POST /forge/installation/v2/dynamic/module\n\n{\"type\": \"trigger\", \"data\": {\"function\": \"main\", \"events\": [\"avi:jira:created:issue\"], \"filter\": {\"ignoreSelf\": true, \"onError\": \"RECEIVE\"}}}",
        "Leave `onError` out.",
    ),
    entry(
        "SY-2016",
        "the address is not allowed",
        "The address is not a URL, has no host, is not `https`, or leads to a private network or a port that is closed to deliveries.",
        "PUT /admin/v1/apps/another\n\n{\"kind\": \"forge\", \"endpoints\": [{\"key\": \"hook\", \"url\": \"ftp://files.example.com/\"}]}",
        "Use an https address; `delivery.allow_http`, `delivery.allow_cidrs` and `delivery.allow_ports` open more.",
    ),
    entry(
        "SY-2017",
        "the module type cannot change",
        "The type of a module cannot be changed by an update.",
        "PUT /forge/installation/v1/dynamic/module/known\n\n{\"key\": \"known\", \"type\": \"jira:entityProperty\", \"data\": {}}",
        "Delete the module and register another.",
    ),
    entry(
        "SY-2018",
        "the modules are too large to store",
        "All modules of an installation are stored in one document, whose size is limited by the store.",
        "",
        "Register fewer or smaller modules, or raise the broker's `max_payload`.",
    ),
    entry(
        "SY-2019",
        "a duplicate key or event",
        "Two modules, endpoints or events of one list have the same name.",
        "PUT /admin/v1/apps/another\n\n{\"kind\": \"forge\", \"endpoints\": [{\"key\": \"hook\", \"url\": \"https://one.example.com/\"}, {\"key\": \"hook\", \"url\": \"https://two.example.com/\"}]}",
        "Use unique keys; combine the conditions of one event with `||`.",
    ),
    entry(
        "SY-2020",
        "not provisioned",
        "The request names an app that the operator has not provisioned.",
        "PUT /admin/v1/installations/another\n\n{\"app\": \"nobody\", \"cloudId\": \"site-1\", \"product\": \"jira\"}",
        "Provision the app first: `PUT /admin/v1/apps/{appId}`.",
    ),
    entry(
        "SY-2021",
        "app and site cannot change",
        "The app and the site of an installation cannot change: its modules were validated against that app and subscribe to that site.",
        "PUT /admin/v1/installations/acme\n\n{\"app\": \"auto-assign\", \"cloudId\": \"site-2\", \"product\": \"jira\"}",
        "Provision a new installation.",
    ),
    entry(
        "SY-2022",
        "the JQL is too large",
        "Translated to an expression, the JQL exceeds the limits of expressions on size or nesting.",
        "",
        "Shorten it: use a list after `IN` instead of clauses joined with `OR`.",
    ),
    entry(
        "SY-2023",
        "the call to the app failed",
        "The router called the app's lifecycle or discovery endpoint, and the app did not answer with success.",
        "",
        "Read the app's answer in the message, fix the app's endpoint, and try again.",
    ),
    entry(
        "SY-2024",
        "the body is too large for the vendor",
        "A warning of `check --with`: the body for the sample event exceeds the 200 kB that the vendor delivers. Switchyard delivers bodies up to `delivery.payload_max`.",
        "",
        "List the issue fields that the handler needs in `payload.include.fields`, and fetch the others.",
    ),
    entry(
        "SY-2025",
        "the module was discovered",
        "The app declares the module at discovery, which would undo the change.",
        "",
        "Change what the app returns at discovery, then refresh: `POST /forge/installation/v2/dynamic/module:refresh`.",
    ),
    entry(
        "SY-2026",
        "the module limit is nearly reached",
        "A warning at registration: the installation has 90 % of its maximum number of modules.",
        "",
        "Delete unused modules, or subscribe one trigger to several event types.",
    ),
    entry(
        "SY-2031",
        "no event can match",
        "A warning at registration: the events of the module are never published for its installation, or its filter is false on each of them. JQL, for example, is only true of events with an issue.",
        "PUT /admin/v1/apps/hooks\n\n{\"kind\": \"connect\", \"baseUrl\": \"https://app.example.com\", \"staticModules\": {\"webhooks\": [{\"key\": \"w\", \"event\": \"worklog_created\", \"url\": \"/w\", \"filter\": \"project = OPS\"}]}}",
        "Subscribe to events that the site publishes and that have what the filter tests, or remove the filter.",
    ),
    entry(
        "SY-2032",
        "the filter has no effect",
        "A warning at registration: JQL, `fieldIdsFilter` and `issuePropertyKeysFilter` apply to some webhooks only, and others are delivered without them.",
        "PUT /admin/v1/apps/hooks\n\n{\"kind\": \"connect\", \"baseUrl\": \"https://app.example.com\", \"staticModules\": {\"webhooks\": [{\"key\": \"w\", \"event\": \"sprint_started\", \"url\": \"/w\", \"filter\": \"project = OPS\"}]}}",
        "Register the webhook for the events that the filter applies to.",
    ),
    entry(
        "SY-2033",
        "a custom field that webhooks do not filter by",
        "Webhooks of Jira filter by one kind of custom field, the epic label. `registry.epic_fields` has its ids; dynamic webhooks with another field are rejected, Connect modules are registered with a warning.",
        "PUT /admin/v1/apps/hooks\n\n{\"kind\": \"connect\", \"baseUrl\": \"https://app.example.com\", \"staticModules\": {\"webhooks\": [{\"key\": \"w\", \"event\": \"jira:issue_updated\", \"url\": \"/w\", \"filter\": \"cf[10029] = 5\"}]}}",
        "Test the field in the handler, or add its id to `registry.epic_fields`.",
    ),
    entry(
        "SY-2034",
        "a variable that is not declared",
        "The manifest uses `${NAME}`, and `environment.variables` does not list NAME, so nothing replaces it.",
        "",
        "List the variable in `environment.variables`.",
    ),
    entry(
        "SY-2035",
        "a variable without a value",
        "The manifest declares a variable that has neither a default nor a value in the environment or by `--var`.",
        "",
        "Check with `--var NAME=VALUE`, or set the variable in the environment.",
    ),
    entry(
        "SY-2036",
        "a condition that cannot be decided",
        "A webhook has a condition on a user, a page, an entity property or a feature flag. Events carry none of these, so the router cannot know who may receive the webhook. Only `addon_is_licensed` is decided, alone or composed with `and`, `or` and `invert`. In a descriptor the webhook is accepted and never delivered (SY-2037); as a dynamic module it is rejected.",
        "PUT /admin/v1/apps/hooks\n\n{\"kind\": \"connect\", \"baseUrl\": \"https://app.example.com\", \"staticModules\": {\"webhooks\": [{\"key\": \"w\", \"event\": \"jira:issue_updated\", \"url\": \"/w\", \"conditions\": [{\"condition\": \"user_is_admin\"}]}]}}",
        "Remove the condition and test it in the handler, or use `addon_is_licensed`.",
    ),
    entry(
        "SY-2037",
        "the webhook is never delivered",
        "A warning: a webhook of a Connect app has conditions that cannot be decided here (SY-2036) or JQL outside of the supported subset. It is stored and listed in the state `undelivered`, and no event is delivered, because the app must not receive events that a condition or the filter might exclude. Further warnings give the reasons.",
        "PUT /admin/v1/apps/hooks\n\n{\"kind\": \"connect\", \"baseUrl\": \"https://app.example.com\", \"staticModules\": {\"webhooks\": [{\"key\": \"w\", \"event\": \"jira:issue_updated\", \"url\": \"/w\", \"filter\": \"labels = urgent\"}]}}",
        "Remove what cannot be decided and test it in the handler, then register the app again.",
    ),
    entry(
        "SY-2038",
        "more errors or warnings than are listed",
        "An answer lists the first 100 errors and the first 100 warnings of a request; this entry has the number of the others. Names after the first 100 unknown ones get no suggestion.",
        "",
        "Correct the listed ones and send the request again, or run `switchyard check`, which lists all.",
    ),
    entry(
        "SY-2039",
        "no bodies are kept",
        "A warning: an installation has `retention.bodiesDays` 0. Its dead letters are stored without their body, so they cannot be redriven, and the delivery log has no responses of its handlers.",
        "PUT /admin/v1/installations/acme\n\n{\"app\": \"auto-assign\", \"cloudId\": \"site-1\", \"product\": \"jira\", \"retention\": {\"bodiesDays\": 0}}",
        "Nothing, if that is intended. Otherwise set 1 to 90 days, or leave `retention` out.",
    ),
    entry(
        "SY-2040",
        "no shadow, or nothing to roll back",
        "`promote` needs a shadow filter, and `rollback` a promotion. The module has none: it was removed, was promoted already, or never existed; or the app has registered another filter since the promotion, which ends it.",
        "POST /admin/v1/subscriptions/acme%2Fknown/promote",
        "Set a shadow first: `switchyard subscriptions shadow set acme/known -e EXPR`. What the filter was before, `switchyard modules -i acme revisions known` lists.",
    ),
    entry(
        "SY-2041",
        "the module changed since its shadow was set or promoted",
        "The filter or the events of the module are not those that the shadow was compared with, or not those that the promotion made: its app registered the module again. Promoting or rolling back would undo that change.",
        "",
        "Look at the module and at the new comparison: `switchyard subscriptions shadow show acme/known`. To promote nevertheless, name its revision: `switchyard subscriptions promote acme/known --shadow NAME --revision 7`. A rollback is not possible any more: register the filter that you want.",
    ),
    entry(
        "SY-2042",
        "the module cannot have a shadow",
        "Shadow filters are of triggers that an app or an operator registered. A static module changes with a new version of its app only; webhooks have no shadow.",
        "",
        "Register a trigger with the filter under another key, with an endpoint that ignores what it receives, or compare on stored events: `switchyard explain --site CLOUDID`.",
    ),
    entry(
        "SY-2043",
        "too many shadows",
        "An installation has at most 20 shadow filters, all together have 500: each is evaluated on every stored event of its site.",
        "",
        "Promote or remove a shadow that is not needed any more: `switchyard subscriptions shadow rm acme/other`.",
    ),
    entry(
        "SY-2044",
        "another shadow than the one that is named",
        "`promote` names the shadow that was compared, and the module has another one by now, or another one was promoted: someone else set it. What it gains and loses was not looked at.",
        "",
        "Look at the shadow that there is now: `switchyard subscriptions shadow show acme/known`. Then promote it by the name that is shown.",
    ),
    entry(
        "SY-4001",
        "the delivery log is off",
        "The router was started with `delivery.log = false`, so it does not record what becomes of deliveries.",
        "",
        "Set `delivery.log = true` and restart the routers. Deliveries are recorded from then on.",
    ),
    entry(
        "SY-4002",
        "too many jobs",
        "As many jobs run or are paused as may be at once: 16 redrives and replays together.",
        "",
        "Wait until a job is done, or cancel one: `switchyard dlq jobs`, `switchyard dlq cancel JOB`.",
    ),
    entry(
        "SY-4003",
        "a job in another state",
        "The state of the job does not permit the change. A running job can be paused, a paused or planned one resumed; one that is done, cancelled or failed stays as it is.",
        "",
        "Look at its state first: `switchyard dlq jobs`. Create a new job instead of an ended one.",
    ),
    entry(
        "SY-4004",
        "as many of these requests run as may",
        "A router computes one account of deliveries at a time, one explanation of stored events for operators and one for apps, and two backtests of filters, one of each site, since each reads streams and holds what it knows of them in memory. After a question, an installation asks none for three times as long as the answer took. A router also has at most 32 live feeds, and sends at most 30 tests of endpoints in a minute.",
        "",
        "Send the request again after `Retry-After`, or to another router.",
    ),
    entry(
        "SY-4005",
        "the account is too large",
        "The window has more deliveries that failed, waited or were repeated than an account may hold in memory, or the delivery log deleted records of the window while they were read.",
        "",
        "Narrow the window with `from` and `to`, or name a site: `switchyard account --from 2026-11-30T08:00:00Z --to 2026-11-30T09:00:00Z --site CLOUDID`.",
    ),
    entry(
        "SY-4006",
        "a job that does the same runs",
        "A replay that runs is for the same subscription and some of the same events, and both could deliver the same event twice. The message names it.",
        "",
        "Look at it with `switchyard replay show JOB`. Wait until it is done, or cancel it with `switchyard replay cancel JOB`; then send the request again.",
    ),
    entry(
        "SY-5011",
        "the broker did not confirm an event",
        "The broker did not confirm in time that it stored the event. It may have stored it.",
        "",
        "Send the event again with the same id: it is stored once.",
    ),
    entry(
        "SY-5012",
        "the broker refused an event",
        "The event with its headers is larger than a limit of the broker. It is not stored.",
        "",
        "Send a smaller event, or raise the broker's `max_payload`.",
    ),
    entry(
        "SY-5013",
        "the event stream is nearly full",
        "Unacknowledged events nearly fill the event stream. The APIs refuse events before the stream is full.",
        "",
        "Send the event again after `Retry-After`; add routers, or enlarge the stream.",
    ),
    entry(
        "SY-5014",
        "the event stream is full",
        "The event stream is full of unacknowledged events, or the storage of the broker is full. The broker refused the event, and it is not stored: stored events are never deleted before they are acknowledged.",
        "",
        "Send the event again after `Retry-After`, with the same id. Operators: add routers, raise `events.max_bytes`, or give the broker more storage.",
    ),
    entry(
        "SY-5021",
        "the registry did not confirm a change",
        "The store did not answer in time. The change may have been stored.",
        "",
        "Read the record, and send the change again if it is missing.",
    ),
    entry(
        "SY-5022",
        "the broker does not answer",
        "The request needs the broker, which did not answer in time. A job may have been created nevertheless; \
         then the message names it.",
        "",
        "If the message names a job, list the jobs first. Try again; if it persists, check the broker and `/healthz/ready`.",
    ),
    entry(
        "SY-5023",
        "a stored record cannot be read",
        "The stored record that the request changes is of a newer format, or damaged. It is not\n\
         changed; events of its installation wait. Or a secret would have to be stored in clear, since this\n\
         replica lacks the key that others are encrypted with.",
        "",
        "Operators: `GET /admin/v1/problems` lists such records; the runbook says what to do.",
    ),
    entry(
        "SY-5024",
        "the broker is silent",
        "The broker gave no answer, or confirmed no write, for four seconds while the request waited for it. A change \
         that the request makes may have been stored.",
        "",
        "Read the record before you send a change again. `/healthz/ready` says what the broker does not answer; check \
         its process, its disk and the network.",
    ),
    entry(
        "SY-5025",
        "a change cannot be recorded",
        "The audit log did not confirm the record that comes before every change. Nothing was changed.",
        "",
        "Send the change again. If it persists, check the broker: `nats stream info SW_AUDIT`, its disk, and `/healthz/ready`.",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Collects the codes of the router that occur as string literals in the code of a folder,
    /// except in tests and in this file.
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
    fn every_emitted_code_has_a_page_and_every_page_is_emitted() {
        let mut found = BTreeSet::new();
        emitted(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        let listed = CODES.iter().map(|entry| entry.code.strip_prefix("SY-").unwrap().to_owned());
        assert_eq!(found, listed.collect());
    }

    #[test]
    fn entries_ascend_and_have_cause_and_fix() {
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
