use bellwether_plugin::fake::{self, FakeConnection, manifest_problems, metric, mutations};
use bellwether_plugin::net::Error;
use bellwether_plugin::{ProbeError, Report, State};

use crate::packet::{identification, offer};
use crate::{Ssh, judge};

/// A packet without encryption: length, padding, payload.
fn packet(payload: &[u8]) -> Vec<u8> {
    let padding = 6;
    let mut bytes = ((payload.len() + 1 + padding) as u32)
        .to_be_bytes()
        .to_vec();
    bytes.push(padding as u8);
    bytes.extend(payload);
    bytes.extend(vec![0; padding]);
    bytes
}

fn list(names: &str) -> Vec<u8> {
    [&(names.len() as u32).to_be_bytes(), names.as_bytes()].concat()
}

fn kexinit(kex: &str, host_keys: &str) -> Vec<u8> {
    let mut payload = vec![20];
    payload.extend([7; 16]);
    payload.extend(list(kex));
    payload.extend(list(host_keys));
    for _ in 0..8 {
        payload.extend(list("aes256-ctr"));
    }
    payload.extend([0; 5]);
    packet(&payload)
}

fn server(identification: &str) -> Vec<u8> {
    [
        identification.as_bytes(),
        &kexinit(
            "curve25519-sha256,diffie-hellman-group1-sha1",
            "ssh-ed25519",
        ),
    ]
    .concat()
}

fn run(json: &str, bytes: &[u8]) -> Result<Report, ProbeError> {
    fake::run(judge::check, json, Ok(FakeConnection::sending(bytes)))
}

const DEBIAN: &str = "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n";

#[test]
fn the_schema_fits_the_configuration() {
    let report = run("{}", &server(DEBIAN)).unwrap();
    assert_eq!(manifest_problems::<Ssh>(&report), Vec::<String>::new());
}

#[test]
fn a_good_server_is_ok() {
    let greeting = format!("Authorised use only\r\n{DEBIAN}");
    let report = run("{}", &server(&greeting)).unwrap();
    assert_eq!(
        (report.state, report.summary.as_str()),
        (State::Ok, "SSH 2.0 OpenSSH_9.2p1 Debian-2+deb12u3")
    );
    assert_eq!(metric(&report, "algorithms"), Some(4.0));
    assert!(
        report.details.contains("curve25519-sha256, diffie"),
        "{}",
        report.details
    );
    let short = run(r#"{"algorithms":false}"#, DEBIAN.as_bytes()).unwrap();
    assert_eq!(short.state, State::Ok);
}

#[test]
fn software_and_algorithms_are_judged() {
    for (json, state, text) in [
        (r#"{"software_regex":"^OpenSSH_9"}"#, State::Ok, "OpenSSH"),
        (
            r#"{"software_regex":"^dropbear"}"#,
            State::Critical,
            "expected software that matches ^dropbear, found \"OpenSSH_9.2p1",
        ),
        (
            r#"{"software_not_regex":"Debian"}"#,
            State::Warning,
            "matches Debian",
        ),
        (
            r#"{"forbid_algorithms":["diffie-hellman-group1-*","none"]}"#,
            State::Warning,
            ", offers diffie-hellman-group1-sha1",
        ),
        (
            r#"{"require_algorithms":["ssh-ed25519","aes*","ssh-rsa"]}"#,
            State::Critical,
            ", does not offer ssh-rsa",
        ),
    ] {
        let report = run(json, &server(DEBIAN)).unwrap();
        assert_eq!(report.state, state, "{}", report.summary);
        assert!(report.summary.contains(text), "{}", report.summary);
    }
    let wrong = run(r#"{"software_regex":"("}"#, b"");
    assert!(
        matches!(wrong, Err(ProbeError::Config(problem)) if problem.pointer == "/software_regex")
    );
}

#[test]
fn what_is_wrong_is_named() {
    let disconnect = packet(
        &[
            &[1, 0, 0, 0, 2][..],
            &list("Too many authentication failures"),
        ]
        .concat(),
    );
    for (bytes, text) in [
        (
            b"220 mail.example.org ESMTP\r\n".to_vec(),
            "expected an SSH identification (SSH-2.0-…), found \"220 mail.example.org ESMTP\"",
        ),
        (
            b"Exceeded MaxStartups\r\n".to_vec(),
            "found \"Exceeded MaxStartups\"",
        ),
        (Vec::new(), "connection closed"),
        (b"SSH-1.5-old\r\n".to_vec(), "expected protocol 2.0"),
        (b"SSH-x\r\n".to_vec(), "found \"SSH-x\""),
        (
            [DEBIAN.as_bytes(), b"HTTP/1.1 400 no"].concat(),
            "expected an SSH key exchange offer",
        ),
        (
            [DEBIAN.as_bytes(), &disconnect].concat(),
            "the server says: Too many authentication failures",
        ),
    ] {
        let report = run("{}", &bytes).unwrap();
        assert_eq!(report.state, State::Critical);
        assert!(report.summary.contains(text), "{}", report.summary);
    }
    let refused = fake::run(judge::check, "{}", Err(Error::Refused));
    assert_eq!(refused, Ok(Report::critical("connection refused")));
}

#[test]
fn no_bytes_make_it_panic() {
    for bytes in mutations(&server(DEBIAN)) {
        let report = run("{}", &bytes).unwrap();
        assert!(report.summary.len() < 1_000);
        let _ = identification(&bytes);
    }
    let names: Vec<String> = (0..1_001).map(|number| number.to_string()).collect();
    assert!(offer(&kexinit(&names[..999].join(","), "c")[4..]).is_none());
    assert!(offer(&kexinit(&names[..998].join(","), "c")[4..]).is_some());
    for bytes in mutations(&kexinit("a,b", "c")[4..]) {
        let _ = offer(&bytes);
    }
}
