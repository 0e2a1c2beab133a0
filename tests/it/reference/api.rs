//! `docs/reference/api.md`, from `docs/openapi.json`, which a test of the API holds to the routes.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::{cell, plain};

const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

const HEAD: &str = "# API

Every request that a router answers, from [the OpenAPI document](../openapi.json), by a test. A router serves that document at
`/openapi.json`, and as a page at `/docs/api`. [Codes of errors](../codes.md).
";

/// Credentials, by their name in the document.
const CREDENTIALS: [(&str, &str); 6] = [
    ("operatorToken", "admin token or access token"),
    ("appJwt", "JWT of a Connect app"),
    ("installationToken", "token of an installation"),
    ("metricsToken", "token of `metrics.token`"),
    ("oauthToken", "token of an OAuth client"),
    ("webhookSignature", "signature of the webhook"),
];

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}

/// What a reference leads to, or the value itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(name) => document.pointer(&name[1..]).expect("references lead to something"),
        None => value,
    }
}

/// The name of a schema, with a link if it has a section.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().expect("a name");
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        return choices.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    let name = |one: &Value| one.as_str().unwrap_or_default().to_owned();
    let types = match &schema["type"] {
        Value::Array(all) => all.iter().map(name).collect::<Vec<_>>().join(" or "),
        one => name(one),
    };
    let values = schema["enum"].as_array().map(|values| {
        values.iter().map(|value| format!("`{}`", name(value))).collect::<Vec<_>>().join(", ")
    });
    match (values, types.as_str()) {
        (Some(values), _) => values,
        (None, "array") => format!("list of {}", kind(&schema["items"])),
        (None, "") => "any".to_owned(),
        (None, types) => types.to_owned(),
    }
}

/// Bounds of a number or a list, and its default.
fn bounds(schema: &Value) -> String {
    let words = [("minimum", "from"), ("maximum", "to"), ("default", "default")];
    let said = words.iter().filter_map(|(member, word)| {
        let value = schema.get(*member)?;
        Some(format!("{word} `{value}`"))
    });
    let said: Vec<String> = said.collect();
    if said.is_empty() { String::new() } else { format!(", {}", said.join(" ")) }
}

/// Bodies by their media type.
fn bodies(content: &Value) -> String {
    let all = content.as_object().into_iter().flatten();
    let all = all.map(|(media, body)| match media.as_str() {
        "application/json" => kind(&body["schema"]),
        other => format!("{} (`{other}`)", kind(&body["schema"])),
    });
    all.collect::<Vec<_>>().join("; ")
}

fn write_operation(page: &mut String, document: &Value, (method, path): (&str, &str), one: &Value) {
    let summary = plain(text(one, "summary"));
    writeln!(page, "\n### {} {path}\n\n{summary}", method.to_uppercase()).expect("a text");
    let description = plain(text(one, "description"));
    if !description.is_empty() {
        writeln!(page, "\n{description}").expect("a text");
    }
    let credentials = one["security"].as_array().into_iter().flatten();
    let credentials = credentials.flat_map(|one| one.as_object().into_iter().flatten());
    let credentials = credentials.map(|(name, scopes)| {
        let known = CREDENTIALS.iter().find(|(known, _)| known == name);
        let known = known.unwrap_or_else(|| panic!("no description of {name}")).1;
        match (scopes[0].as_str(), scopes[1].as_str()) {
            (None, _) => known.to_owned(),
            (Some(scope), None) => format!("{known}, scope `{scope}`"),
            (Some(scope), Some(_)) => format!("{known}, scope `{scope}`, also of one installation"),
        }
    });
    let credentials: Vec<String> = credentials.collect();
    let credentials = if credentials.is_empty() { "none".into() } else { credentials.join(" or ") };
    writeln!(page, "\nCredentials: {credentials}").expect("a text");
    let parameters = one["parameters"].as_array().into_iter().flatten();
    let parameters: Vec<String> = parameters
        .map(|one| {
            let (schema, name) = (&one["schema"], text(one, "name"));
            let required = if one["required"] == true { ", required" } else { "" };
            format!(
                "| `{name}` | {}{required} | {}{} | {} |",
                text(one, "in"),
                cell(&kind(schema)),
                bounds(schema),
                cell(text(one, "description"))
            )
        })
        .collect();
    if !parameters.is_empty() {
        let head = "| parameter | in | type | |\n|---|---|---|---|";
        writeln!(page, "\n{head}\n{}", parameters.join("\n")).expect("a text");
    }
    if let Some(body) = one.get("requestBody") {
        writeln!(page, "\nBody: {}", bodies(&body["content"])).expect("a text");
    }
    writeln!(page, "\n| answer | body | |\n|---|---|---|").expect("a text");
    for (status, answer) in one["responses"].as_object().expect("answers") {
        let answer = resolved(document, answer);
        let (body, said) = (bodies(&answer["content"]), text(answer, "description"));
        writeln!(page, "| {status} | {} | {} |", cell(&body), cell(said)).expect("a text");
    }
}

fn write_schema(page: &mut String, name: &str, schema: &Value) {
    writeln!(page, "\n### {name}").expect("a text");
    let description = plain(text(schema, "description"));
    if !description.is_empty() {
        writeln!(page, "\n{description}").expect("a text");
    }
    let Some(members) = schema["properties"].as_object() else {
        writeln!(page, "\n{}{}", kind(schema), bounds(schema)).expect("a text");
        return;
    };
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    writeln!(page, "\n| member | type | |\n|---|---|---|").expect("a text");
    for (member, schema) in members {
        let optional = if required.contains(&member.as_str()) { "" } else { ", may be missing" };
        let said = cell(text(schema, "description"));
        let kind = cell(&kind(schema));
        writeln!(page, "| `{member}` | {kind}{}{optional} | {said} |", bounds(schema))
            .expect("a text");
    }
}

#[test]
fn reference_of_the_api_is_that_of_the_document() {
    let document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
    let mut page = HEAD.to_owned();
    writeln!(page, "\n{}", text(&document["info"], "description")).expect("a text");
    let mut areas: BTreeMap<&str, Vec<(&str, &str, &Value)>> = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, one) in methods.as_object().expect("methods") {
            let area = one["tags"][0].as_str().expect("each operation has an area");
            areas.entry(area).or_default().push((method, path, one));
        }
    }
    for (area, operations) in areas {
        writeln!(page, "\n## {area}").expect("a text");
        for (method, path, one) in operations {
            write_operation(&mut page, &document, (method, path), one);
        }
    }
    writeln!(page, "\n## Schemas").expect("a text");
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        write_schema(&mut page, name, schema);
    }
    super::hold("api", &page);
}
