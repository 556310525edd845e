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
    assert_eq!(errors(looped, json!(1)).len(), 1);
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
