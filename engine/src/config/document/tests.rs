use super::*;
use serde_json::json;

fn errors(text: &str) -> String {
    let problems = Document::parse("a.yaml", text).unwrap_err();
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn values_and_places() {
    let doc = Document::parse("a.yaml", "a:\n  - { b: 1, c: \"2\" }\n  - 30s\nd: true\n").unwrap();
    assert_eq!(
        doc.value,
        json!({ "a": [{ "b": 1, "c": "2" }, "30s"], "d": true })
    );
    let place = doc.origins.place("a[0].c").unwrap();
    assert_eq!((place.line, place.column), (2, 16));
    assert_eq!(doc.origins.key_place("a[0].c").unwrap().column, 13);
    assert_eq!(
        doc.origins.place("a[0].zzz[3].y").unwrap().line,
        2,
        "nearest object around"
    );
}

#[test]
fn duplicate_keys_tabs_and_second_documents_are_refused() {
    assert_eq!(
        errors("a: 1\nb: 2\na: 3\n"),
        "a.yaml:3:1: a: expected each key once, found it again (first on line 1); remove one"
    );
    assert!(
        errors("a:\n\t- 1\n").contains("indent with spaces"),
        "{}",
        errors("a:\n\t- 1\n")
    );
    assert!(errors("a: 1\n---\nb: 2\n").contains("a.yaml:2:1: expected one YAML document"));
    assert!(errors("{ [1]: 2 }").contains("expected a plain key"));
    assert!(errors("a: .nan").contains("finite"));
}

#[test]
fn alias_bombs_are_bounded() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let items = vec![format!("*a{}", i - 1); 10].join(", ");
        text.push_str(&format!("a{i}: &a{i} [{items}]\n"));
    }
    assert!(errors(&text).contains("expected at most 500000 values"));
    let deep = format!("a: {}{}", "[".repeat(100), "]".repeat(100));
    assert!(errors(&deep).contains("levels of nesting"));
}

#[test]
fn files_of_a_folder_are_joined() {
    let doc = Document::parse_all([
        ("a.yaml", "nodes: [{ name: a }]\nsecrets: { x: 1 }\n"),
        ("b.yaml", "nodes:\n  - name: b\nsecrets: { y: 2 }\n"),
        ("c.yaml", "# nothing\n"),
    ])
    .unwrap();
    assert_eq!(
        doc.value,
        json!({ "nodes": [{ "name": "a" }, { "name": "b" }], "secrets": { "x": 1, "y": 2 } })
    );
    assert_eq!(&*doc.origins.place("nodes[1].name").unwrap().file, "b.yaml");
    let problems =
        Document::parse_all([("a.yaml", "public_url: x"), ("b.yaml", "\npublic_url: y")]);
    let text = problems.unwrap_err()[0].to_string();
    assert_eq!(
        text,
        "b.yaml:2:13: public_url: expected one value, found another at a.yaml:1; remove one"
    );
}

#[test]
fn an_empty_file_is_an_empty_configuration() {
    assert_eq!(Document::parse("a.yaml", "").unwrap().value, json!({}));
}
