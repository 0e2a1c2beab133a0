//! The page about the API, `/docs/api`, rendered from the OpenAPI document. It needs no script, and it shows what the
//! document has, which everybody may read.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::middleware;
use axum::routing::get;
use maud::{DOCTYPE, Markup, html};
use serde_json::{Map, Value};

use super::components::prose;
use super::headers::{add_policy, asset};

/// Methods in the order in which they are shown.
const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

/// Returns the routes of the page about the API that `document` describes, and its style sheet.
pub fn reference_routes(document: Arc<Value>) -> Router {
    let rendered = Arc::new(OnceLock::<Markup>::new());
    let show = async move || rendered.get_or_init(|| page(&document)).clone();
    Router::new()
        .route("/docs/api", get(show))
        .route(
            "/assets/reference.css",
            get(|| asset("text/css", include_str!("assets/reference.css"))),
        )
        .layer(middleware::map_response(add_policy))
}

fn page(document: &Value) -> Markup {
    let info = |name| document.pointer(&format!("/info/{name}")).and_then(Value::as_str);
    let tags = by_tag(document);
    let schemas = members(document, "/components/schemas");
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Switchyard: API" }
                link rel="icon" href="/assets/icon.svg";
                link rel="stylesheet" href="/assets/reference.css";
            }
            body {
                header {
                    h1 { "Switchyard API " small { (info("version").unwrap_or_default()) } }
                    @for part in info("description").unwrap_or_default().split("\n\n") { p { (prose(part)) } }
                    p { "The document for tools: " a href="/openapi.json" { code { "/openapi.json" } } }
                }
                nav aria-label="Parts of the API" {
                    ul { @for (tag, operations) in &tags {
                        li { a href={ "#" (anchor(tag)) } { (tag) } " " small { (operations.len()) } }
                    } li { a href="#credentials" { "credentials" } } li { a href="#errors" { "errors" } } li { a href="#schemas" { "schemas" } } }
                }
                main {
                    @for (tag, operations) in &tags {
                        section aria-labelledby=(anchor(tag)) {
                            h2 id=(anchor(tag)) { (tag) }
                            @for operation in operations { (operation_view(operation)) }
                        }
                    }
                    section aria-labelledby="credentials" {
                        h2 id="credentials" { "credentials" }
                        dl { @for (name, scheme) in members(document, "/components/securitySchemes") {
                            dt { code { (name) } }
                            dd { (prose(text(scheme, "description"))) }
                        } }
                    }
                    section aria-labelledby="errors" {
                        h2 id="errors" { "errors" }
                        @for (name, response) in members(document, "/components/responses") {
                            div id={ "error-" (anchor(name)) } { h3 { (name) } (response_view(response)) }
                        }
                    }
                    section aria-labelledby="schemas" {
                        h2 id="schemas" { "schemas" }
                        @for (name, schema) in schemas { (schema_view(name, schema)) }
                    }
                }
            }
        }
    }
}

/// An operation with its path and method.
struct Operation<'d> {
    path: &'d str,
    method: &'static str,
    value: &'d Value,
}

/// Returns the operations by their tags.
fn by_tag(document: &Value) -> BTreeMap<&str, Vec<Operation<'_>>> {
    let mut tags: BTreeMap<&str, Vec<Operation<'_>>> = BTreeMap::new();
    for (path, item) in members(document, "/paths") {
        for method in METHODS {
            let Some(value) = item.get(method) else { continue };
            let tag = value.pointer("/tags/0").and_then(Value::as_str).unwrap_or("other");
            tags.entry(tag).or_default().push(Operation { path, method, value });
        }
    }
    tags
}

fn operation_view(operation: &Operation<'_>) -> Markup {
    let Operation { path, method, value } = operation;
    let credentials = value.get("security").and_then(Value::as_array).into_iter().flatten();
    let credentials = credentials.filter_map(Value::as_object).flat_map(Map::keys);
    let credentials: Vec<&str> = credentials.map(String::as_str).collect();
    let parameters = value.get("parameters").and_then(Value::as_array);
    // Operations share errors, which are shown once.
    let (errors, answers): (Vec<_>, Vec<_>) =
        members(value, "/responses").partition(|(_, response)| shared_name(response).is_some());
    let errors: Vec<(&str, &str)> = errors
        .into_iter()
        .filter_map(|(status, response)| Some((status, shared_name(response)?)))
        .collect();
    html! {
        details id=(text(value, "operationId")) {
            summary {
                span class={ "method " (method) } { (method.to_uppercase()) } " "
                code { (path) } " " span { (prose(text(value, "summary"))) }
            }
            @if let Some(more) = value.get("description").and_then(Value::as_str) { p { (prose(more)) } }
            @if !credentials.is_empty() {
                p { "Credentials: " @for (at, name) in credentials.iter().enumerate() {
                    @if at > 0 { " or " } code { (name) }
                } }
            }
            @if let Some(parameters) = parameters { (parameters_view(parameters)) }
            @if let Some(body) = value.get("requestBody") {
                h3 { "Body" }
                (content_view(body))
            }
            h3 { "Answers" }
            table { tbody { @for (status, response) in answers {
                tr { th scope="row" { (status) } td { (response_view(response)) } }
            } } }
            @if !errors.is_empty() {
                p { "Errors: " @for (at, (status, name)) in errors.iter().enumerate() {
                    @if at > 0 { ", " } a href={ "#error-" (anchor(name)) } { (status) }
                } }
            }
        }
    }
}

/// A response with its headers and bodies.
fn response_view(response: &Value) -> Markup {
    html! {
        (prose(text(response, "description")))
        @for (name, header) in members(response, "/headers") {
            p { "Header " code { (name) } ": " (prose(text(header, "description"))) }
        }
        (content_view(response))
    }
}

fn parameters_view(parameters: &[Value]) -> Markup {
    html! {
        h3 { "Parameters" }
        table { tbody { @for parameter in parameters {
            tr {
                th scope="row" { code { (text(parameter, "name")) } }
                td { (text(parameter, "in")) }
                td { (type_view(parameter.get("schema").unwrap_or(&Value::Null))) }
                td { (prose(text(parameter, "description"))) }
            }
        } } }
    }
}

/// The media types of a body with their schemas and examples.
fn content_view(body: &Value) -> Markup {
    html! { @for (media_type, content) in members(body, "/content") {
        p { code { (media_type) } @if let Some(schema) = content.get("schema") { ": " (type_view(schema)) } }
        @if let Some(example) = content.get("example") {
            pre { code { (example.as_str().map_or_else(|| example.to_string(), str::to_owned)) } }
        }
    } }
}

fn schema_view(name: &str, schema: &Value) -> Markup {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let has_members = schema.get("properties").is_some();
    html! {
        details id={ "schema-" (anchor(name)) } {
            summary { code { (name) } " " span { (prose(text(schema, "description"))) } }
            @if !has_members { p { (type_view(schema)) } }
            table { tbody { @for (member, of) in members(schema, "/properties") {
                tr {
                    th scope="row" { code { (member) } @if !required.contains(&member) { " " small { "optional" } } }
                    td { (type_view(of)) }
                    td { (prose(text(of, "description"))) }
                }
            } } }
            @if let Some(example) = schema.get("example") { pre { code { (example) } } }
        }
    }
}

/// Names the type of a schema. Recursion is bounded, since the document is ours.
fn type_view(schema: &Value) -> Markup {
    if let Some(name) = shared_name(schema) {
        return html! { a href={ "#schema-" (anchor(name)) } { (name) } };
    }
    for choice in ["oneOf", "anyOf", "allOf"] {
        if let Some(parts) = schema.get(choice).and_then(Value::as_array) {
            return html! { @for (at, part) in parts.iter().enumerate() {
                @if at > 0 { " or " } (type_view(part))
            } };
        }
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return html! { @for (at, value) in values.iter().enumerate() {
            @if at > 0 { " or " } code { (value) }
        } };
    }
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => return html! { "any value" },
    };
    let bounds = [("minimum", "from"), ("maximum", "to")];
    let bounds = bounds.into_iter().filter_map(|(name, word)| Some((word, schema.get(name)?)));
    html! {
        @for (at, one) in types.iter().enumerate() {
            @if at > 0 { " or " }
            @match (*one, schema.get("items"), schema.get("additionalProperties")) {
                ("array", Some(items), _) => { "list of " (type_view(items)) },
                ("object", _, Some(values @ Value::Object(_))) => { "object of " (type_view(values)) },
                _ => { (one) },
            }
        }
        @for (word, bound) in bounds { " " (word) " " (bound) }
    }
}

/// Returns the name that a reference leads to.
fn shared_name(value: &Value) -> Option<&str> {
    value.get("$ref")?.as_str()?.rsplit('/').next()
}

/// Returns the members of the object at a pointer.
fn members<'d>(value: &'d Value, pointer: &str) -> impl Iterator<Item = (&'d str, &'d Value)> {
    let object = value.pointer(pointer).and_then(Value::as_object);
    object.into_iter().flatten().map(|(name, member)| (name.as_str(), member))
}

fn text<'d>(value: &'d Value, name: &str) -> &'d str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Returns a name as the target of a link.
fn anchor(name: &str) -> String {
    name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn page_shows_operations_parameters_and_schemas_and_escapes_text() {
        let document = json!({
            "info": {"version": "1", "description": "First.\n\nSecond `code`."},
            "paths": {"/a/{id}": {"get": {
                "operationId": "getA", "tags": ["a <b>"], "summary": "Shows an `a`.",
                "parameters": [{"name": "id", "in": "path", "description": "Its id.",
                    "schema": {"type": "integer", "minimum": 1}}],
                "responses": {"200": {"description": "Yes.", "content": {"application/json": {
                    "schema": {"type": "array", "items": {"$ref": "#/components/schemas/A"}}}}},
                    "404": {"$ref": "#/components/responses/NotFound"}}}}},
            "components": {
                "responses": {"NotFound": {"description": "None."}},
                "schemas": {"A": {"required": ["n"], "properties": {
                    "n": {"type": ["string", "null"]}, "o": {"enum": ["x", "y"]}}}}},
        });
        let page = page(&document).into_string();
        for expected in [
            "a &lt;b&gt;",
            "<code>/a/{id}</code>",
            "Shows an <code>a</code>.",
            "integer from 1",
            "list of <a href=\"#schema-A\">A</a>",
            "<a href=\"#error-NotFound\">404</a>",
            "None.",
            "string or null",
            "<small>optional</small>",
        ] {
            assert!(page.contains(expected), "{expected}: {page}");
        }
        assert!(!page.contains("<script") && !page.contains("style="), "the policy forbids both");
    }
}
