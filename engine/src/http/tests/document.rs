//! The OpenAPI document: complete, unique, committed.

use std::collections::BTreeSet;

use serde_json::Value;

/// Every operation: method, path and the operation.
pub(super) fn operations() -> Vec<(String, String, Value)> {
    let document: Value = serde_json::from_str(&super::super::openapi()).unwrap();
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            all.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    all
}

#[test]
fn every_operation_is_named_once_and_has_a_role() {
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations() {
        let id = operation["operationId"].as_str().unwrap_or("").to_owned();
        assert!(
            !id.is_empty() && ids.insert(id.clone()),
            "{method} {path}: {id:?}"
        );
        let role = operation["x-role"].as_str().unwrap_or("");
        assert!(
            ["public", "viewer", "operator", "admin"].contains(&role),
            "{method} {path}: {role:?}"
        );
        assert!(path.starts_with("/api/v1/"), "{path}");
    }
    assert!(ids.len() > 70, "{}", ids.len());
}

#[test]
fn changes_need_an_operator() {
    // These change nothing, or only what is the caller's own.
    let harmless = [
        "log_in",
        "log_in_with_link",
        "log_out",
        "set_own_password",
        "select_nodes",
        "test_rule",
        "preview_schedule",
    ];
    for (method, path, operation) in operations() {
        let id = operation["operationId"].as_str().unwrap();
        let role = operation["x-role"].as_str().unwrap();
        if method != "GET" && !harmless.contains(&id) {
            assert!(
                ["operator", "admin"].contains(&role),
                "{method} {path} needs {role}"
            );
        }
    }
}

#[test]
fn every_reference_is_defined() {
    let text = super::super::openapi();
    let document: Value = serde_json::from_str(&text).unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for part in text.split("\"#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
}

#[test]
fn the_committed_document_is_the_current_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../web/openapi.json");
    let current = super::super::openapi();
    if std::env::var_os("BELLWETHER_UPDATE_OPENAPI").is_some() {
        std::fs::write(path, &current).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == current,
        "web/openapi.json is not what the routes say; run this test with \
         BELLWETHER_UPDATE_OPENAPI=1 and commit the file"
    );
}
