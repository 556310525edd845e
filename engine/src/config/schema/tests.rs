use super::*;
use serde_json::json;

fn errors(schema: Value, value: Value) -> Vec<String> {
    check(&schema, &value, "config")
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn wrong_values_are_named() {
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["url"],
        "properties": {
            "url": { "type": "string", "format": "uri" },
            "port": { "type": "integer", "minimum": 1, "maximum": 65535 },
            "mode": { "enum": ["fast", "slow"] },
            "codes": { "type": "array", "minItems": 1, "items": { "anyOf": [
                { "type": "integer" }, { "type": "string", "pattern": "^[1-9]xx$" } ] } },
            "re": { "type": "string", "format": "regex" }
        }
    });
    assert!(
        errors(
            schema.clone(),
            json!({ "url": "http://x/", "codes": [200, "2xx"] })
        )
        .is_empty()
    );
    assert_eq!(
        errors(schema.clone(), json!({})),
        ["config: expected the key \"url\", found none"]
    );
    let found = errors(
        schema,
        json!({ "url": "nope", "port": 0, "mode": "fats", "codes": [true], "re": "(", "prot": 1 }),
    );
    insta::assert_snapshot!(found.join("\n"));
}

#[test]
fn references_and_loops() {
    let schema = json!({ "$defs": { "n": { "type": "number" } }, "properties": { "a": { "$ref": "#/$defs/n" } } });
    assert_eq!(
        errors(schema, json!({ "a": "x" })),
        ["config.a: expected a number, found the text \"x\""]
    );
    let looped = json!({ "$ref": "#" });
    assert_eq!(
        errors(looped, json!(1)),
        ["config: the plugin's schema is too complex to be checked"]
    );
}

#[test]
fn work_is_bounded_whatever_the_schema_says() {
    let twice = |key: &str| json!({ key: [{ "$ref": "#" }, { "$ref": "#" }] });
    let ladder: serde_json::Map<String, Value> = (0..25)
        .map(|step| {
            let next = json!({ "$ref": format!("#/$defs/{}", step + 1) });
            (step.to_string(), json!({ "anyOf": [next, next] }))
        })
        .collect();
    let patterns: serde_json::Map<String, Value> = (0..2_000)
        .map(|n| (format!("^\\w{{{n}}}$"), json!({ "type": "integer" })))
        .collect();
    let text = "x".repeat(100_000);
    let many = vec![json!({ "$ref": "#/$defs/text" }); 1_000];
    for (name, schema) in [
        ("all of itself", twice("allOf")),
        ("any of itself", twice("anyOf")),
        ("one of itself", twice("oneOf")),
        ("not itself", json!({ "not": { "$ref": "#" } })),
        ("a ladder", json!({ "$defs": ladder, "$ref": "#/$defs/0" })),
        ("patterns", json!({ "patternProperties": patterns })),
        (
            "long texts",
            json!({ "$defs": { "text": { "const": text } }, "allOf": many }),
        ),
    ] {
        let found = errors(schema.clone(), json!({ "a": 1 }));
        assert_eq!(
            found,
            ["config: the plugin's schema is too complex to be checked"],
            "{name}"
        );
        // What is marked is looked for within the same bounds.
        assert!(marked(&schema, &json!({ "a": "b" }), "x-target").is_empty());
    }
    // A schema may refer to itself where the value gets smaller.
    let tree = json!({ "type": "object", "additionalProperties": { "$ref": "#" } });
    assert!(!is_too_complex(&tree) && is_too_complex(&twice("anyOf")));
    assert!(errors(tree, json!({ "a": { "b": {} } })).is_empty());
}

#[test]
fn large_configurations_are_checked_and_problems_counted() {
    let schema = json!({ "properties": { "list": { "type": "array", "uniqueItems": true, "items": {
        "type": "string", "pattern": "^[a-z]+[0-9]*$", "x-target": "host" } } } });
    let names: Vec<String> = (0..1_000).map(|n| format!("host{n}")).collect();
    let config = json!({ "list": names });
    assert!(errors(schema.clone(), config.clone()).is_empty());
    assert_eq!(targets(&schema, &config).len(), 3_000);
    let wrong: Vec<usize> = (0..1_000).collect();
    assert_eq!(errors(schema.clone(), json!({ "list": wrong })).len(), 100);
    assert_eq!(
        errors(schema, json!({ "list": ["a", "b", "a"] })),
        ["config.list[2]: expected each item once"]
    );
}

#[test]
fn targets_of_a_configuration() {
    let schema = json!({ "properties": {
        "url": { "type": "string", "x-target": "url" },
        "servers": { "type": "array", "items": { "type": "string", "x-target": "host:port" } },
        "host": { "x-target": "host" }, "name": { "x-target": "name" }, "other": {} } });
    let config = json!({ "url": "https://example.org/x", "servers": ["10.0.0.1:53", "[::1]:53", "nonsense"],
        "host": "db.local", "name": "_dmarc.Example.org.", "other": "http://elsewhere/" });
    assert_eq!(
        targets(&schema, &config),
        [
            "10.0.0.1:53",
            "[::1]:53",
            "db.local:*",
            "dns:_dmarc.example.org",
            "example.org:443",
            "icmp:db.local",
            "udp:10.0.0.1:53",
            "udp:[::1]:53",
            "udp:db.local:*"
        ]
    );
    assert_eq!(
        targets(&schema, &json!({ "url": "http://[::1]:8081/" })),
        ["[::1]:8081"]
    );
    // Whatever comes out is a grant that the host understands.
    let schema = json!({ "properties": { "host": { "x-target": "host" }, "a": { "x-target": "host:port" } } });
    for config in [
        json!({ "host": "::1" }),
        json!({ "host": "[fd00::1]" }),
        json!({ "a": "[::1]:53" }),
        json!({ "a": "udp:db.local:53" }),
    ] {
        let grants = targets(&schema, &config);
        assert!(!grants.is_empty());
        for grant in grants {
            assert!(
                grant.parse::<crate::plugin::grants::NetGrant>().is_ok(),
                "{grant}"
            );
        }
    }
}
