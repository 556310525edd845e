use bellwether_plugin::fake::{NOW, manifest_problems, request};
use bellwether_plugin::files::{Entry, Error, FileType, Files, Listing, Metadata};
use bellwether_plugin::{ProbeError, Report, State, config};

use crate::{Config, File, judge};

/// One file, or one folder of so many entries, changed an hour ago.
enum Fake {
    File(&'static str),
    Folder(u32),
    Fails(Error),
}

impl Files for Fake {
    fn stat(&self, _: &str, _: &str) -> Result<Metadata, Error> {
        let (file_type, size) = match self {
            Fake::File(text) => (FileType::Regular, text.len() as u64),
            Fake::Folder(_) => (FileType::Directory, 4_096),
            Fake::Fails(error) => return Err(error.clone()),
        };
        Ok(Metadata {
            file_type,
            size,
            modified: NOW - 3_600_000_000,
            mode: 0o644,
            uid: 0,
            gid: 0,
        })
    }

    fn list(&self, _: &str, _: &str, max: u32) -> Result<Listing, Error> {
        let Fake::Folder(count) = self else {
            return Err(Error::Invalid("no folder".to_owned()));
        };
        let entry = |number| Entry {
            name: format!("{number}"),
            file_type: FileType::Regular,
        };
        Ok(Listing {
            entries: (0..*count.min(&max)).map(entry).collect(),
            truncated: *count > max,
        })
    }

    fn read(&self, _: &str, _: &str, offset: u64, length: u32) -> Result<Vec<u8>, Error> {
        let Fake::File(text) = self else {
            return Err(Error::Invalid("no file".to_owned()));
        };
        let rest = &text.as_bytes()[offset as usize..];
        Ok(rest[..rest.len().min(length as usize)].to_vec())
    }
}

fn run(json: &str, fake: Fake) -> Result<Report, ProbeError> {
    judge::check(&request(json), &config::parse::<Config>(json)?, &fake)
}

#[test]
fn the_schema_fits_the_configuration() {
    for fake in [Fake::File("a"), Fake::Folder(1)] {
        let report = run(r#"{"folder":"f"}"#, fake).unwrap();
        assert_eq!(manifest_problems::<File>(&report), Vec::<String>::new());
    }
}

#[test]
fn a_file_is_judged() {
    let file = || Fake::File("error\nall done\n");
    for (more, state, text) in [
        ("", State::Ok, "f:a: 15 bytes, changed 60 min ago"),
        (r#","warn_age_s":60"#, State::Warning, "older than 60 s"),
        (
            r#","warn_age_s":60,"critical_age_s":300"#,
            State::Critical,
            "older than 5 min",
        ),
        (
            r#","min_bytes":16"#,
            State::Critical,
            "smaller than 16 bytes",
        ),
        (
            r#","max_bytes":14"#,
            State::Critical,
            "larger than 14 bytes",
        ),
        (r#","contains":"done""#, State::Ok, ""),
        (
            r#","contains":"failed""#,
            State::Critical,
            "expected \"failed\"",
        ),
        (r#","lacks":"error""#, State::Critical, "found \"error\""),
        (r#","lacks":"error","tail_bytes":9"#, State::Ok, ""),
        (r#","exists":false"#, State::Critical, "f:a is there"),
    ] {
        let report = run(&format!(r#"{{"folder":"f","path":"a"{more}}}"#), file()).unwrap();
        assert_eq!(report.state, state, "{more}: {}", report.summary);
        assert!(report.summary.contains(text), "{more}: {}", report.summary);
    }
}

#[test]
fn a_folder_is_counted() {
    let run = |more: &str, count| {
        run(&format!(r#"{{"folder":"f"{more}}}"#), Fake::Folder(count)).unwrap()
    };
    let report = run(r#","warn_entries":3"#, 3);
    assert_eq!(report.state, State::Ok);
    assert!(
        report.summary.starts_with("f: 3 entries"),
        "{}",
        report.summary
    );
    assert_eq!(run(r#","warn_entries":3"#, 4).state, State::Warning);
    assert_eq!(
        run(r#","critical_entries":1000"#, 5_000).state,
        State::Critical
    );
}

#[test]
fn what_is_not_there_is_critical_and_what_cannot_be_read_is_not() {
    let gone = || Fake::Fails(Error::NotFound("f:a".to_owned()));
    let json = r#"{"folder":"f","path":"a"}"#;
    assert_eq!(run(json, gone()).unwrap().state, State::Critical);
    let json = r#"{"folder":"f","path":"a","exists":false}"#;
    assert_eq!(run(json, gone()).unwrap().state, State::Ok);
    assert_eq!(
        run(json, Fake::Fails(Error::Denied("x".to_owned()))),
        Err(ProbeError::Denied("x".to_owned()))
    );
    assert!(matches!(
        run(json, Fake::Fails(Error::Failed("x".to_owned()))),
        Err(ProbeError::Failed(_))
    ));
}
