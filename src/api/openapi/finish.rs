//! What the operations of an API share: tag, credentials, parameters of the path, and the errors that every
//! request may get.

use std::collections::BTreeSet;

use serde_json::Value;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Components, InfoBuilder, LicenseBuilder, OpenApi, RefOr, Required, Schema};
use utoipa::{PartialSchema as _, ToSchema as _};

use super::responses::{self, ErrorResponse};
use crate::api::access::{OPERATOR_TOKEN, is_of_installation};
use crate::api::schema::{ConnectError, Error, WebhookError};

/// Prefix of the operator API.
const PREFIX_OPERATOR: &str = "/admin/v1";
/// The probe that operators alone may read.
const DEEP_HEALTH: &str = "/healthz/deep";
/// Schemes of credentials.
const INSTALLATION_TOKEN: &str = "installationToken";
const APP_JWT: &str = "appJwt";
const OAUTH_TOKEN: &str = "oauthToken";
const METRICS_TOKEN: &str = "metricsToken";
const WEBHOOK_SIGNATURE: &str = "webhookSignature";

/// What the paths with a prefix have in common.
struct Area {
    prefix: &'static str,
    /// None for the operator API, whose tags are the first parts of the paths.
    tag: Option<&'static str>,
    /// Schemes of credentials, each of which suffices; none = no credentials.
    schemes: &'static [&'static str],
    /// Schema of the error body, and suffix of the names of its responses.
    error: (&'static str, &'static str),
    /// Status of a request without the right credentials, and of one that is not valid.
    refused: u16,
    invalid: u16,
}

const COMMON: (&str, &str) = ("Error", "");
const CONNECT: (&str, &str) = ("ConnectError", "Connect");
const WEBHOOK: (&str, &str) = ("WebhookError", "Webhook");
const FORGE: &[&str] = &[INSTALLATION_TOKEN];
const APPS: &[&str] = &[APP_JWT, OAUTH_TOKEN];

const fn area(
    prefix: &'static str,
    tag: &'static str,
    schemes: &'static [&'static str],
    error: (&'static str, &'static str),
    (refused, invalid): (u16, u16),
) -> Area {
    Area { prefix, tag: Some(tag), schemes, error, refused, invalid }
}

/// The areas; the first one whose prefix a path has counts.
const AREAS: &[Area] = &[
    Area {
        prefix: PREFIX_OPERATOR,
        tag: None,
        schemes: &[OPERATOR_TOKEN],
        error: COMMON,
        refused: 401,
        invalid: 422,
    },
    area("/forge/", "Forge API", FORGE, COMMON, (401, 422)),
    area("/atlassian/forge/", "Forge API", FORGE, COMMON, (401, 422)),
    area("/rest/atlassian-connect/", "Connect API", &[APP_JWT], CONNECT, (401, 400)),
    area("/wiki/rest/atlassian-connect/", "Connect API", &[APP_JWT], CONNECT, (401, 400)),
    area("/rest/api/", "Jira webhook API", APPS, WEBHOOK, (403, 400)),
    area("/ex/jira/", "Jira webhook API", APPS, WEBHOOK, (403, 400)),
    area("/ingest/", "ingest", &[WEBHOOK_SIGNATURE], COMMON, (401, 400)),
    area("/.well-known/", "keys", &[], COMMON, (401, 422)),
    area("/healthz/", "probes", &[], COMMON, (401, 422)),
    area("/metrics", "metrics", &[], COMMON, (401, 422)),
    area("/openapi.json", "document", &[], COMMON, (401, 422)),
];

fn area_of(path: &str) -> Option<&'static Area> {
    AREAS.iter().find(|area| path.starts_with(area.prefix))
}

/// Returns the tag of a path; none if the path belongs to no area.
fn tag_of(path: &str) -> Option<String> {
    let area = area_of(path)?;
    let first =
        || path.strip_prefix(PREFIX_OPERATOR)?.split(['/', ':']).find(|part| !part.is_empty());
    area.tag.or_else(first).map(str::to_owned)
}

/// Completes the document of some routes.
pub(super) fn finished(mut document: OpenApi) -> Value {
    let license = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    document.info = InfoBuilder::new()
        .title("Switchyard")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Registers triggers of apps and sends Jira events only to the apps that asked for them.\n\n\
            Every path works with and without a trailing slash. An id in a path is percent-encoded, also its `/`: \
            the subscription `inst-a/key` is `inst-a%2Fkey`. Times are RFC 3339 in UTC. An answer may get new \
            members in a later release; a request with an unknown member is refused.",
        ))
        .license(Some(license))
        .build();
    for (path, item) in &mut document.paths.paths {
        let reads = item.get.iter_mut().map(|operation| (false, operation));
        let writes = [&mut item.put, &mut item.post, &mut item.delete].into_iter().flatten();
        for (is_write, operation) in reads.chain(writes.map(|operation| (true, operation))) {
            complete(path, is_write, operation);
        }
    }
    let components = document.components.get_or_insert_with(Components::new);
    components.schemas.extend(error_schemas());
    for (schema, suffix) in [COMMON, CONNECT, WEBHOOK] {
        for one in responses::ALL {
            let name = format!("{}{suffix}", one.name);
            components.responses.insert(name, RefOr::T(one.response(schema)));
        }
    }
    for (name, scheme) in schemes() {
        components.security_schemes.insert(name.to_owned(), RefOr::T(scheme));
    }
    let mut document = match serde_json::to_value(document) {
        Ok(document) => document,
        Err(error) => {
            debug_assert!(false, "the keys of the document are strings: {error}");
            Value::Null
        }
    };
    without_unused_responses(&mut document);
    without_loose_words(&mut document);
    without_null_in_answers(&mut document);
    document
}

/// Returns the operations of a path.
pub(super) fn operations_mut(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten()
}

/// Adds what the operation shares with others of its area.
fn complete(path: &str, is_write: bool, operation: &mut Operation) {
    operation.tags = tag_of(path).map(|tag| vec![tag]);
    add_path_parameters(path, operation);
    let Some(area) = area_of(path) else { return };
    if operation.security.is_none() && !area.schemes.is_empty() {
        let requirement = |name: &&str| SecurityRequirement::new(*name, Vec::<String>::new());
        operation.security = Some(area.schemes.iter().map(requirement).collect());
    }
    let is_protected = operation.security.is_some();
    let mut statuses = Vec::new();
    if is_protected {
        statuses.extend([area.refused, 429]);
    }
    if area.prefix == PREFIX_OPERATOR || path == DEEP_HEALTH {
        statuses.push(403);
    }
    if is_of_installation(operation) {
        // A name of another installation in the query.
        statuses.push(404);
    }
    if operation.request_body.is_some() {
        statuses.extend([400, 408, 413, 415, area.invalid, 429, 503]);
    }
    let has = |place: &ParameterIn| {
        let parameters = operation.parameters.iter().flatten();
        parameters.into_iter().any(|one| matches!(one, RefOr::T(one) if one.parameter_in == *place))
    };
    // The operator API refuses unknown parameters.
    if has(&ParameterIn::Query) || area.prefix == PREFIX_OPERATOR {
        statuses.push(area.invalid);
    }
    if has(&ParameterIn::Path) && is_protected {
        statuses.push(404);
    }
    if is_write {
        statuses.push(503);
    }
    let known = &mut operation.responses.responses;
    // Of errors that are named by the common type.
    for (status, response) in known.iter_mut() {
        let error = status.parse().ok().and_then(responses::of_status);
        if let (RefOr::Ref(_), Some(error)) = (&response, error) {
            *response = error.reference(area.error.1);
        }
    }
    let errors = statuses.into_iter().filter_map(responses::of_status);
    for error in errors {
        let ErrorResponse { status, .. } = error;
        known.entry(status.to_string()).or_insert_with(|| error.reference(area.error.1));
    }
}

/// Describes the parameters of a path that the operation does not.
fn add_path_parameters(path: &str, operation: &mut Operation) {
    let mut before = "";
    for part in path.split('/') {
        if let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            let parameters = operation.parameters.get_or_insert_default();
            let is_known =
                |one: &RefOr<Parameter>| matches!(one, RefOr::T(one) if one.name == name);
            if !parameters.iter().any(is_known) {
                parameters.push(RefOr::T(path_parameter(name, before)));
            }
        }
        before = part;
    }
}

fn path_parameter(name: &str, before: &str) -> Parameter {
    let text = match (before, name) {
        ("apps", _) => "Id of the app.",
        ("installations", _) => "Id of the installation.",
        ("subscriptions", _) => "Id of the subscription, `<installation>/<key>`.",
        ("endpoints", _) => "Key of the endpoint.",
        ("modules" | "module", _) => "Key of the module.",
        ("oauth-clients", _) => "Id of the OAuth client.",
        ("revisions", _) => "Id of the revision, or a revision of the registry.",
        ("tokens", _) => "Id of the access token.",
        ("deliveries", _) => "Id of the delivery.",
        ("events", _) => "The event: `<site>/<event id>`, or a sequence of the event stream.",
        ("dlq", _) => "Id of the dead letter.",
        ("audit-log", _) => "Id of the entry.",
        ("redrives" | "replays" | "erasures", _) => "Id of the job.",
        ("sites" | "jira" | "confluence", _) => "Id of the site.",
        ("connect-keys", _) => "Id of the key.",
        (_, "token") => "Token of the site, if its settings have one.",
        ("webhook", _) => "Id of the webhook.",
        _ => "Id, percent-encoded.",
    };
    let schema = ObjectBuilder::new().schema_type(Type::String).build();
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(text))
        .schema(Some(schema))
        .build()
}

fn schemes() -> [(&'static str, SecurityScheme); 6] {
    let bearer = |text| {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(text));
        SecurityScheme::Http(scheme.build())
    };
    let header = |name: &str, text: &str| {
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(name, text)))
    };
    [
        (
            OPERATOR_TOKEN,
            bearer(
                "An admin token of the router, `SWITCHYARD_ADMIN_TOKEN`, or an access token, `PUT /admin/v1/tokens/{id}`. \
                 An operation names the lowest scope that it needs: `read`, `operate` or `admin`. A second entry \
                 `installation` opens it to tokens of one installation, which see only what belongs to that.",
            ),
        ),
        (
            INSTALLATION_TOKEN,
            bearer("The token of a Forge installation, or a system token that came with an event."),
        ),
        (
            APP_JWT,
            header(
                "Authorization",
                "`JWT <token>`, signed with the shared secret of the installation.",
            ),
        ),
        (OAUTH_TOKEN, bearer("The token of an OAuth client.")),
        (METRICS_TOKEN, bearer("The token of `metrics.token`.")),
        (
            WEBHOOK_SIGNATURE,
            header(
                "X-Hub-Signature",
                "`sha256=<HMAC of the body>` with the secret of the site, unless its settings say otherwise.",
            ),
        ),
    ]
}

/// The schemas of error bodies, which operations name by reference only.
fn error_schemas() -> Vec<(String, RefOr<Schema>)> {
    let mut all = vec![
        (Error::name().into_owned(), Error::schema()),
        (ConnectError::name().into_owned(), ConnectError::schema()),
        (WebhookError::name().into_owned(), WebhookError::schema()),
    ];
    Error::schemas(&mut all);
    all
}

/// Removes responses that no operation refers to.
fn without_unused_responses(document: &mut Value) {
    let mut used = BTreeSet::new();
    collect_references(document.get("paths").unwrap_or(&Value::Null), &mut used);
    let all = document.pointer_mut("/components/responses").and_then(Value::as_object_mut);
    if let Some(all) = all {
        all.retain(|name, _| used.contains(&format!("#/components/responses/{name}")));
    }
}

/// Removes what says nothing, or less than the type: names of members are strings, and a number from 0 has 64 bits
/// without a sign, which `int64` has.
fn without_loose_words(value: &mut Value) {
    if let Value::Object(members) = value {
        members.remove("propertyNames");
        let is_unsigned = members.get("minimum").is_some_and(|least| *least == 0);
        if is_unsigned && members.get("format").is_some_and(|format| *format == "int64") {
            members.remove("format");
        }
        members.values_mut().for_each(without_loose_words);
    } else if let Value::Array(items) = value {
        items.iter_mut().for_each(without_loose_words);
    }
}

/// Removes `null` from the members of answers that are left out instead. A request may have it.
fn without_null_in_answers(document: &mut Value) {
    let of_requests = schemas_of_requests(document);
    let schemas = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut);
    let Some(schemas) = schemas else { return };
    for (name, schema) in schemas {
        if !of_requests.contains(name) {
            omit_null(schema);
        }
    }
}

/// Returns the names of the schemas that a request body may have.
fn schemas_of_requests(document: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let paths = document.get("paths").and_then(Value::as_object);
    let items = paths.into_iter().flat_map(serde_json::Map::values);
    let operations = items.filter_map(Value::as_object).flat_map(serde_json::Map::values);
    for body in operations.filter_map(|operation| operation.get("requestBody")) {
        collect_references(body, &mut found);
    }
    let prefix = "#/components/schemas/";
    let mut names = BTreeSet::new();
    while let Some(reference) = found.pop_first() {
        let Some(name) = reference.strip_prefix(prefix) else { continue };
        if names.insert(name.to_owned())
            && let Some(schema) = document.pointer(reference.trim_start_matches('#'))
        {
            collect_references(schema, &mut found);
        }
    }
    names
}

/// Collects the targets of references. Recursion is bounded, since the document is ours.
fn collect_references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                found.insert(reference.clone());
            }
            members.values().for_each(|member| collect_references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, found)),
        _ => {}
    }
}

/// Removes `null` from the optional members of a schema.
fn omit_null(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    let required: BTreeSet<String> = members
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    if let Some(properties) = members.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in properties {
            if !required.contains(name) {
                not_null(property);
            }
        }
    }
    for (_, part) in members.iter_mut() {
        match part {
            Value::Object(_) => omit_null(part),
            Value::Array(parts) => parts.iter_mut().for_each(omit_null),
            _ => {}
        }
    }
}

fn not_null(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = members.get_mut("type") {
        types.retain(|one| one != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            members.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(choices)) = members.get_mut("oneOf") else { return };
    choices.retain(|one| one.get("type").is_none_or(|one| one != "null"));
    if choices.len() == 1
        && let Some(only) = choices.pop()
    {
        let description = members.remove("description");
        *schema = only;
        if let (Some(members), Some(description)) = (schema.as_object_mut(), description) {
            members.insert("description".to_owned(), description);
        }
    }
}
