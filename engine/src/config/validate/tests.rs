use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::check::outcome::Digest;
use crate::check::schedule::Schedule;
use crate::config::{
    Config, Loaded, Origin, PluginFacts, PluginKind, PluginLookup, Problem, SmtpTls, SmtpTransport,
    UiObjects, load, load_str, merge, parse_object,
};

/// The plugins that the tests pretend to have.
struct Present;

impl PluginLookup for Present {
    fn find(&self, reference: &str) -> Option<PluginFacts> {
        let (name, version) = reference.split_once('@').unwrap_or((reference, "0.1.0"));
        let (kind, schema) = match name {
            "http" => (
                PluginKind::Probe,
                json!({
                    "type": "object", "additionalProperties": false, "required": ["url"],
                    "properties": {
                        "url": { "type": "string", "format": "uri", "x-target": "url" },
                        "expect_status": { "type": "array", "items": { "type": "integer" } },
                        "token": { "type": "string", "x-secret": true }
                    }
                }),
            ),
            "my-probe" => (PluginKind::Command, json!(true)),
            "run-command" => (
                PluginKind::Action,
                json!({
                    "type": "object", "additionalProperties": false, "required": ["command"],
                    "properties": { "command": { "type": "string" } }
                }),
            ),
            "json-lines" => (PluginKind::LogParser, json!({ "type": "object" })),
            _ => return None,
        };
        (version == "0.1.0").then(|| PluginFacts {
            name: name.into(),
            version: version.into(),
            digest: Digest(Arc::from(format!("{name:0<64}"))),
            kind,
            config_schema: Arc::new(schema),
            first_party: name != "my-probe",
        })
    }

    fn names(&self) -> Vec<String> {
        ["http", "my-probe", "run-command", "json-lines"]
            .map(str::to_owned)
            .into()
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

fn build(loaded: &Loaded) -> Result<Config, Vec<Problem>> {
    Config::build(&loaded.spec, &Present).map_err(|problems| loaded.origins.locate(problems))
}

fn build_str(text: &str) -> Result<Config, Vec<Problem>> {
    build(&load_str("test.yaml", text, Path::new("."))?)
}

fn errors(text: &str) -> String {
    let problems = build_str(text).expect_err("the configuration should be refused");
    problems.iter().map(|p| format!("{p}\n")).collect()
}

#[test]
fn the_example_loads_as_it_stands() {
    let loaded = load(&folder().join("example.yaml")).unwrap();
    assert_eq!(loaded.base, folder());
    let config = build(&loaded).unwrap_or_else(|e| panic!("{}", e[0]));
    assert_eq!(config.warnings, []);
    let check = &config.checks["homepage"];
    let names: Vec<&str> = check.nodes.iter().map(|n| n.name.as_str()).collect();
    assert_eq!(names, ["web-1"]);
    let rendered = check.render_config(&check.nodes[0]).unwrap();
    assert_eq!(rendered["url"], "http://127.0.0.1:8081/health");
    let targets = crate::config::schema::targets(&check.plugin.config_schema, &rendered);
    assert_eq!(targets, ["127.0.0.1:8081"]);
    assert_eq!(
        Config::render_check_config(check, &check.nodes[0]).unwrap(),
        r#"{"url":"http://127.0.0.1:8081/health","expect_status":[200]}"#
    );
    assert!(
        matches!(&check.schedule, Schedule::Every { every, retry: Some(retry), .. }
        if *every == Duration::from_secs(10) && *retry == Duration::from_secs(2))
    );
    assert_eq!(
        config.rules["homepage-down"].check_filter(),
        Some("homepage")
    );
    assert!(config.rules["homepage-down"].per_result());
    assert!(!config.rules["many-errors"].per_result());
    assert_eq!(config.queries.list().len(), 1);
    assert_eq!(
        config.remediations["restart-web"].command(),
        Some("restart-web")
    );
    assert_eq!(config.parents("web-1").count(), 1);
    assert_eq!(config.contacts["oncall"].mailboxes.len(), 1);
    let smtp = config.smtp.as_ref().unwrap();
    let server = SmtpTransport::Server {
        host: "127.0.0.1".into(),
        port: 2525,
        tls: SmtpTls::Offered,
    };
    assert_eq!(smtp.transport, server);
}

/// Each file differs from a right one in one mistake; all messages stand in one
/// snapshot, to be read as a person would.
#[test]
fn broken_configurations_say_where_and_what() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder().join("broken"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut report = String::new();
    let mut messages = std::collections::BTreeSet::new();
    for file in &files {
        let name = file.file_name().unwrap().to_string_lossy();
        let text = std::fs::read_to_string(file).unwrap();
        let problems = load_str(&name, &text, Path::new("."))
            .and_then(|loaded| build(&loaded).map(|_| ()))
            .expect_err(&name);
        report.push_str(&format!("# {name}\n"));
        for problem in &problems {
            assert!(problem.place.is_some(), "{name}: {problem}");
            report.push_str(&format!("{problem}\n"));
        }
        messages.insert(problems[0].message.clone());
    }
    assert!(
        files.len() >= 40 && messages.len() == files.len(),
        "distinct mistakes"
    );
    insta::assert_snapshot!(report);
}

#[test]
fn an_unreadable_path_is_named() {
    let problems = load(Path::new("/nonexistent/bellwether.yaml")).unwrap_err();
    assert!(
        problems[0]
            .message
            .starts_with("cannot read /nonexistent/bellwether.yaml")
    );
    let empty = tempfile::tempdir().unwrap();
    assert!(
        load(empty.path()).unwrap_err()[0]
            .message
            .contains("found none")
    );
}

#[test]
fn a_folder_is_read_in_name_order() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("20-checks.yml"),
        "checks: [{ name: c, plugin: http, every: 1s, config: { url: \"http://x/\" } }]\n",
    )
    .unwrap();
    std::fs::write(
        dir.path().join("10-nodes.yaml"),
        "nodes: [{ name: a, address: a.example }]\n",
    )
    .unwrap();
    std::fs::write(
        dir.path().join("30-more.yaml"),
        "nodes:\n- { name: a, address: b.example }\n",
    )
    .unwrap();
    std::fs::write(dir.path().join("notes.txt"), "not: [yaml").unwrap();
    let loaded = load(dir.path()).unwrap();
    let problems = build(&loaded).unwrap_err();
    let text = problems[0].to_string();
    assert!(text.ends_with("30-more.yaml:2:11: nodes[1].name: expected a name of its own, found \"a\" again (first at nodes[0])"), "{text}");
    std::fs::remove_file(dir.path().join("30-more.yaml")).unwrap();
    let config = build(&load(dir.path()).unwrap()).unwrap();
    assert_eq!(
        config.checks["c"].nodes.len(),
        1,
        "without a selector every node"
    );
}

#[test]
fn objects_of_the_ui_join_those_of_the_file() {
    let file = load(&folder().join("example.yaml")).unwrap().spec;
    let node =
        |name: &str| parse_object("", json!({ "name": name, "address": "10.0.0.9" })).unwrap();
    let ui = UiObjects {
        nodes: vec![node("web-9")],
        ..UiObjects::default()
    };
    let merged = merge(file.clone(), ui).unwrap();
    assert_eq!(merged.origin("nodes", "web-9"), Some(Origin::Ui));
    assert_eq!(merged.origin("nodes", "web-1"), Some(Origin::File));
    assert_eq!(merged.origin("nodes", "web-2"), None);
    assert_eq!(
        merged.path_of("nodes", "web-9").as_deref(),
        Some("nodes[2]")
    );
    assert!(Config::build(&merged.spec, &Present).is_ok());

    let ui = UiObjects {
        nodes: vec![node("web-1")],
        ..UiObjects::default()
    };
    let problems = merge(file, ui).unwrap_err();
    assert_eq!(problems[0].path, "nodes[2].name");
    assert!(
        problems[0]
            .message
            .contains("configuration file has as well")
    );
}

#[test]
fn one_object_gives_field_errors() {
    let e = parse_object::<crate::config::spec::CheckSpec>(
        "",
        json!({ "name": "a", "plugin": "http", "every": "10", "config": {} }),
    )
    .unwrap_err();
    assert_eq!(e.path, "every");
    assert!(e.message.starts_with("expected a duration"));
    let nested = Problem::new("checks[3].limits.memory", "x");
    assert_eq!(nested.path_within("checks[3]"), Some("limits.memory"));
    assert_eq!(nested.path_within("checks[30]"), None);
    assert_eq!(
        Problem::new("checks[30].name", "x").path_within("checks[3]"),
        None
    );
}

#[test]
fn plugins_by_version_and_missing_versions() {
    let text = |plugin: &str| {
        format!(
            "nodes: [{{ name: a, address: a.b }}]\nchecks:\n- {{ name: c, plugin: \"{plugin}\", every: 1s, config: {{ url: \"http://x/\" }} }}\n"
        )
    };
    assert!(build_str(&text("http@0.1.0")).is_ok());
    let found = errors(&text("http@9.9.9"));
    assert!(found.contains("test.yaml:3:"), "{found}");
    assert!(
        found.contains("http is present in other versions"),
        "{found}"
    );
}

#[test]
fn smtp_forms() {
    for (url, expected) in [
        (
            "smtp://mx.example.org",
            Some(("mx.example.org", 25, SmtpTls::Offered)),
        ),
        (
            "smtp://mx.example.org:2525?tls=required",
            Some(("mx.example.org", 2525, SmtpTls::Required)),
        ),
        (
            "smtp://mx.example.org?tls=required",
            Some(("mx.example.org", 587, SmtpTls::Required)),
        ),
        (
            "smtps://mx.example.org",
            Some(("mx.example.org", 465, SmtpTls::Wrapped)),
        ),
        ("smtp://[::1]:25", Some(("::1", 25, SmtpTls::Offered))),
        ("smtp://mx.example.org?tls=none", None),
        ("smtp://mx.example.org/path", None),
        ("http://mx.example.org", None),
        ("mx.example.org", None),
    ] {
        let found = super::smtp_transport(url).ok();
        let expected = expected.map(|(host, port, tls)| SmtpTransport::Server {
            host: host.into(),
            port,
            tls,
        });
        assert_eq!(found, expected, "{url}");
    }
    assert_eq!(
        super::smtp_transport("file:///tmp/mail"),
        Ok(SmtpTransport::Folder("/tmp/mail".into()))
    );
}

#[test]
fn secrets_go_where_they_are_safe() {
    let smtp = |url: &str| {
        format!("smtp: {{ url: \"{url}\", from: a@b.c, user: u, password: {{ env: P }} }}")
    };
    for url in [
        "smtps://mx.example.org",
        "smtp://mx.example.org?tls=required",
        "smtp://127.0.0.1:25",
        "smtp://localhost",
    ] {
        assert!(build_str(&smtp(url)).is_ok(), "{url}");
    }
    assert!(errors(&smtp("smtp://mx.example.org")).contains("smtps:// or ?tls=required"));
    let half = "smtp: { url: \"smtps://mx.example.org\", from: a@b.c, user: u }";
    assert!(errors(half).contains("expected the key \"password\""));
    let named = "nodes: [{ name: a, address: a.b }]\nchecks:\n- { name: c, plugin: http, every: 1s, config: { url: \"http://x/\", token: nope } }\n";
    assert!(errors(named).contains("checks[0].config.token: expected the name of a secret"));
}

#[test]
fn what_looks_wrong_is_a_warning() {
    let config = build_str(
        "nodes: [{ name: a, address: a.b }]\nchecks:\n- { name: c, plugin: http, nodes: 'name == \"b\"', every: 1s, config: { url: \"http://x/\" } }\nrules:\n- { name: r, when: 'check == \"d\" && node == \"a\"' }\n",
    )
    .unwrap();
    let texts: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "checks[0].nodes: the check \"c\" selects no node and never runs",
            "rules[0].when: the rule mentions the check \"d\", which is none"
        ]
    );
}

#[test]
fn a_long_chain_of_parents_is_no_cycle() {
    let mut text = String::from("nodes:\n- { name: n0, address: a.b }\n");
    for i in 1..20_000 {
        text.push_str(&format!(
            "- {{ name: n{i}, address: a.b, parents: [n{}] }}\n",
            i - 1
        ));
    }
    assert!(build_str(&text).is_ok());
    text.push_str("- { name: x, address: a.b, parents: [y] }\n- { name: y, address: a.b, parents: [x] }\n- { name: z, address: a.b, parents: [x, y] }\n");
    let found = errors(&text);
    assert_eq!(
        found,
        "test.yaml:20002:37: nodes[20000].parents: expected parents without a cycle, found x → y → x\n"
    );
}

#[test]
fn a_password_in_clear_is_not_told_back() {
    let said = errors(
        "registries:\n  - { host: registry.example.org, username: robot, password: hunter2 }\n",
    );
    assert!(
        said.contains("registries[0].password: expected { env: NAME }"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn planned_load_and_metric_needs() {
    let config = build_str(
        "nodes: [{ name: a, address: a.b }, { name: b, address: a.c }]\nchecks:\n- { name: c, plugin: http, every: 10s, timeout: 5s, config: { url: \"http://x/\" } }\nrules:\n- { name: r, when: 'avg(\"m\", \"5m\") > 1 && max(\"m\", \"1h\") > 2' }\n",
    )
    .unwrap();
    // Two nodes, a deadline of 6 s, every 10 s.
    assert_eq!(config.planned_in_flight(), 1.2);
    let none = build_str("nodes: []\n").unwrap().planned_in_flight();
    assert!(none.is_sign_positive(), "{none}");
    assert_eq!(config.metric_needs(), [("m", Duration::from_secs(3600))]);
}
