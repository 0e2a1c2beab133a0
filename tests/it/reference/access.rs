//! `docs/reference/access.md`: what each operation of the operator API needs.

use std::fmt::Write as _;

use serde_json::Value;

const HEAD: &str = "\
# Scopes

What each operation of the operator API needs, from [the OpenAPI document](../openapi.json), by a test. A higher scope includes the lower
ones. The last column says which operations are open to tokens of one installation, of what belongs to that.
[How to give access](../how-to/access.md)

| operation | scope | of one installation |
|---|---|---|
";

#[test]
fn access_page_is_what_operations_declare() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let text = std::fs::read_to_string(path).expect("the document");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let mut page = HEAD.to_owned();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let Some(entries) = operation["security"][0]["operatorToken"].as_array() else {
                continue;
            };
            let scope = entries[0].as_str().expect("a scope");
            let open = if entries.len() > 1 { "yes" } else { "" };
            let method = method.to_uppercase();
            writeln!(page, "| `{method} {path}` | `{scope}` | {open} |").expect("a text");
        }
    }
    super::hold("access", &page);
}
