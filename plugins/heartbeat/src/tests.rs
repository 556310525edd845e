use bellwether_plugin::fake::{FakeStore, NOW, manifest_problems, metric, request};
use bellwether_plugin::state::{Entry, Store as _};
use bellwether_plugin::{ProbeError, Report, State, config};

use crate::{Config, Heartbeat, judge};

/// A store with reports of so many seconds ago.
fn store(told: &[(&str, i64, &str)]) -> FakeStore {
    let store = FakeStore::default();
    for (key, ago, rest) in told {
        let at = NOW - ago * 1_000_000;
        let value = format!(r#"{{"at":{at},{rest}}}"#).into_bytes();
        let entry = Entry { value, version: 1 };
        store.entries.borrow_mut().insert((*key).to_owned(), entry);
    }
    store
}

fn run(json: &str, store: &FakeStore) -> Result<Report, ProbeError> {
    let config = config::parse::<Config>(json)?;
    judge::check(&request(json), &config, store)
}

const OK: &str = r#""event":"ok","exit_status":0"#;
const START: &str = r#""event":"start""#;

#[test]
fn the_manifest_fits() {
    let told = store(&[("started", 40, START), ("report", 10, OK)]);
    let report = run(r#"{"within_s":60}"#, &told).unwrap();
    assert_eq!(
        manifest_problems::<Heartbeat>(&report),
        Vec::<String>::new()
    );
    assert_eq!(metric(&report, "age_s"), Some(10.0));
    assert_eq!(metric(&report, "duration_s"), Some(30.0));
    assert_eq!(metric(&report, "exit_status"), Some(0.0));
}

#[test]
fn reports_are_judged() {
    let limits = r#"{"within_s":60,"grace_s":30,"warn_duration_s":10,"critical_duration_s":100,"warn_exit":[1]}"#;
    let failed = r#""event":"fail","exit_status":2,"message":"disk full""#;
    let warned = r#""event":"fail","exit_status":1"#;
    let said = r#""event":"fail""#;
    for (told, state, text) in [
        (vec![("report", 60, OK)], State::Ok, "done 60 s ago"),
        (vec![("report", 61, OK)], State::Warning, "within 60 s"),
        (vec![("report", 90, OK)], State::Warning, "within 60 s"),
        (vec![("report", 91, OK)], State::Critical, "within 60 s"),
        (
            vec![("report", 5, failed)],
            State::Critical,
            "exit status 2",
        ),
        (vec![("report", 5, warned)], State::Warning, "exit status 1"),
        (
            vec![("report", 5, said)],
            State::Critical,
            "says that it failed",
        ),
        (
            vec![("started", 12, START), ("report", 2, OK)],
            State::Ok,
            "done 2 s ago after 10 s",
        ),
        (
            vec![("started", 50, START), ("report", 2, OK)],
            State::Warning,
            "took 48 s, longer than 10 s",
        ),
        // It was done, and runs again.
        (
            vec![("started", 5, START), ("report", 55, OK)],
            State::Ok,
            "done 55 s ago",
        ),
        (
            vec![("started", 40, START), ("report", 55, OK)],
            State::Warning,
            "runs for 40 s, longer than 10 s",
        ),
        (
            vec![("started", 130, START)],
            State::Critical,
            "runs for 2 min, longer than 100 s",
        ),
    ] {
        let report = run(limits, &store(&told)).unwrap();
        assert_eq!(report.state, state, "{told:?}: {}", report.summary);
        assert!(
            report.summary.contains(text),
            "{told:?}: {}",
            report.summary
        );
    }
    let report = run(limits, &store(&[("report", 5, failed)])).unwrap();
    assert!(report.details.contains("disk full"), "{}", report.details);
}

#[test]
fn a_job_that_never_reports_is_late_from_the_first_run_on() {
    let told = FakeStore::default();
    let report = run(r#"{"within_s":60}"#, &told).unwrap();
    assert_eq!(report.state, State::Ok);
    assert_eq!(report.summary, "waits for a first report, for 0 s now");
    let since = told.get("since").expect("it is kept").value;
    assert_eq!(since, NOW.to_le_bytes());
    let ago = (NOW - 61_000_000).to_le_bytes().to_vec();
    let entry = Entry {
        value: ago,
        version: 1,
    };
    told.entries.borrow_mut().insert("since".to_owned(), entry);
    let report = run(r#"{"within_s":60}"#, &told).unwrap();
    assert_eq!(report.state, State::Critical, "{}", report.summary);
}

#[test]
fn a_report_that_cannot_be_read_is_a_fault() {
    let told = store(&[("report", 1, r#""event":7"#)]);
    let Err(ProbeError::Failed(text)) = run(r#"{"within_s":60}"#, &told) else {
        panic!("expected a failure");
    };
    assert!(text.contains("expected a report"), "{text}");
}
