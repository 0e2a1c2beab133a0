//! The document and the routes describe each other.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use axum::http::{StatusCode, header};
use serde_json::Value;
use tower::ServiceExt;

use crate::api::testing::{ADMIN, TestApi, request};

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];
/// Where the document is stored.
const STORED: &str = "docs/openapi.json";

/// Returns the methods of each path of the document.
fn documented(document: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let methods = |item: &Value| {
        let known = METHODS.into_iter().filter(|method| item.get(method).is_some());
        known.map(str::to_owned).collect()
    };
    let paths = document["paths"].as_object().unwrap();
    paths.iter().map(|(path, item)| (path.clone(), methods(item))).collect()
}

/// Returns the paths of a router as it prints them, those with a slash at the end only if there is no other.
fn routed_paths(router: &axum::Router) -> BTreeSet<String> {
    let text = format!("{router:?}");
    let paths = text.split('"').filter(|part| part.starts_with('/') && !part.contains('\n'));
    // The fallback is at the root, and at a path of its own.
    let paths = paths.filter(|path| *path != "/" && !path.contains("__private"));
    let paths: BTreeSet<String> = paths.map(str::to_owned).collect();
    let is_twin = |path: &str| path.strip_suffix('/').is_some_and(|twin| paths.contains(twin));
    paths.iter().filter(|path| !is_twin(path)).cloned().collect()
}

#[tokio::test]
async fn every_route_has_an_operation_and_every_operation_a_route() {
    let api = TestApi::start().await;
    let documented = documented(&api.document);
    let routed = routed_paths(&api.router);
    assert!(routed.len() > 60, "the paths of the router are not read: {routed:?}");
    for path in &routed {
        let asked: String = path
            .split('/')
            .map(|part| if part.starts_with('{') { "x" } else { part })
            .collect::<Vec<_>>()
            .join("/");
        let request = request("TRACE", &asked, ADMIN).body(Body::empty()).unwrap();
        let answer = api.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allowed = answer.headers()[header::ALLOW].to_str().unwrap().to_ascii_lowercase();
        let allowed: BTreeSet<String> =
            allowed.split(',').filter(|one| *one != "head").map(str::to_owned).collect();
        let Some(known) = documented.get(path) else {
            panic!(
                "{path} is not in the OpenAPI document: add its handler with `routes!` and \
                 #[utoipa::path], see docs/design/openapi.md"
            )
        };
        assert_eq!(*known, allowed, "methods of {path}: in the document, and of the router");
    }
    for path in documented.keys() {
        assert!(routed.contains(path), "no route is at {path}, which the document has");
    }
}

#[tokio::test]
async fn operations_have_what_clients_and_readers_need() {
    let api = TestApi::start().await;
    let mut ids = BTreeSet::new();
    for (path, methods) in documented(&api.document) {
        for method in methods {
            let operation = &api.document["paths"][&path][&method];
            let what = format!("{method} {path}");
            let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{what}: no id"));
            assert!(ids.insert(id.to_owned()), "{what}: a second operation has the id {id}");
            assert!(operation["summary"].is_string(), "{what}: no doc comment");
            assert!(
                operation["tags"][0].is_string(),
                "{what}: its prefix is of no area in finish.rs"
            );
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{what}: no success");
            let names =
                path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
            for name in names {
                let parameters = operation["parameters"].as_array().unwrap();
                let is_it = |one: &Value| one["name"] == name && one["in"] == "path";
                assert!(parameters.iter().any(is_it), "{what}: {name}");
            }
        }
    }
}

#[tokio::test]
async fn every_reference_leads_to_something() {
    let api = TestApi::start().await;
    let text = api.document.to_string();
    let references = text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next());
    let references: BTreeSet<&str> = references.collect();
    assert!(references.len() > 50);
    for reference in references {
        assert!(api.document.pointer(reference).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn document_is_served_as_it_is_stored() {
    let api = TestApi::start().await;
    let answer = api.send(request("GET", "/openapi.json", "").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.body, *api.document);
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(STORED);
    let current = format!("{}\n", serde_json::to_string_pretty(&*api.document).unwrap());
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    let differs = current.lines().zip(stored.lines()).find(|(new, old)| new != old);
    assert!(
        current == stored,
        "the API differs from {STORED}, first at {differs:?}; if that is meant, renew the file: \
         UPDATE_OPENAPI=1 cargo test --lib document_is_served_as_it_is_stored"
    );
}
