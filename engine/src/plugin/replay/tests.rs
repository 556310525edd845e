//! Recordings against the contract's values.

use super::super::bindings::bellwether::plugin::net::{Error, Header, HttpRequest, Phase};
use super::*;

fn request(method: &str, url: &str) -> HttpRequest {
    HttpRequest {
        method: method.into(),
        url: url.into(),
        headers: vec![Header {
            name: "Accept".into(),
            value: "text/html".into(),
        }],
        secret_headers: Vec::new(),
        body: Some(b"hello".to_vec()),
        max_redirects: 0,
        max_body: 3,
        tls: None,
    }
}

fn http(text: &str) -> HttpExchange {
    match serde_json::from_str(text) {
        Ok(Exchange::Http(exchange)) => exchange,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_is_compared_with_what_is_written() {
    let asked = request("POST", "http://a/");
    let fits = [
        r#"{"http": {"url": "http://a/"}}"#,
        r#"{"http": {"url": "http://a/", "method": "POST", "headers": {"accept": "text/html"}, "body": "hello"}}"#,
        r#"{"http": {"url": "http://a/", "body": {"base64": "aGVsbG8="}}}"#,
    ];
    for text in fits {
        assert_eq!(http(text).differs(&asked), None, "{text}");
    }
    let wrong = [
        (r#"{"http": {"url": "http://b/"}}"#, "http POST http://b/"),
        (
            r#"{"http": {"url": "http://a/", "method": "GET"}}"#,
            "http GET http://a/",
        ),
        (
            r#"{"http": {"url": "http://a/", "headers": {"x": "1"}}}"#,
            "found none",
        ),
        (
            r#"{"http": {"url": "http://a/", "body": "bye"}}"#,
            "found \"hello\"",
        ),
        (
            r#"{"http": {"url": "http://a/", "secret_headers": {"authorization": "t"}}}"#,
            "the secret t",
        ),
    ];
    for (text, says) in wrong {
        let how = http(text).differs(&asked).unwrap();
        assert!(how.contains(says), "{text}: {how}");
    }
}

#[test]
fn an_answer_survives_being_recorded_and_is_cut_as_asked() {
    let text = r#"{"http": {"url": "http://a/", "answer": {
        "status": 201, "headers": {"Set-Cookie": ["a=1", "b=2"], "x": "y"},
        "body": "four", "timings": {"total_ms": 1.5}}}}"#;
    let asked = request("POST", "http://a/");
    let answer = http(text).response(&asked).unwrap();
    assert_eq!(
        (answer.body.as_slice(), answer.truncated),
        (&b"fou"[..], true)
    );
    assert_eq!((answer.status, answer.timings.total), (201, 1_500));
    assert_eq!(answer.headers.len(), 3);
    let kept = HttpExchange::of(&asked, &Ok(answer.clone()));
    let again = kept.response(&asked).unwrap();
    assert_eq!(again.headers.len(), 3);
    assert_eq!((again.body, again.truncated), (answer.body, true));
    let failed = HttpExchange::of(&asked, &Err(Error::Timeout(Phase::Connect)));
    assert!(matches!(
        failed.response(&asked),
        Err(Error::Timeout(Phase::Connect))
    ));
}

#[test]
fn data_in_one_direction_is_one_step() {
    let mut exchange = TcpExchange::default();
    for step in [
        Step::Receive(Bytes::of(&[0xc3])),
        Step::Receive(Bytes::of(&[0xa9])),
        Step::Send(Bytes::of(b"a")),
        Step::Send(Bytes::of(b"b")),
        Step::Receive(Bytes::of(&[0xff])),
    ] {
        exchange.add(step);
    }
    let expected = [
        Step::Receive(Bytes::Text("é".into())),
        Step::Send(Bytes::Text("ab".into())),
        Step::Receive(Bytes::Raw {
            base64: "/w==".into(),
        }),
    ];
    assert_eq!(exchange.steps, expected);
}
