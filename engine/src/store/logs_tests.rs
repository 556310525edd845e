use std::sync::Arc;

use super::*;
use crate::pipeline::changes::Changes;
use crate::store::testkit::{Fixture, fixture};

const FOREVER: Duration = Duration::from_secs(60);

fn record(ts: i64, level: LogLevel, message: &str, fields: &[(&str, &str)]) -> LogRecord {
    LogRecord {
        time: Timestamp(ts),
        received: Timestamp(ts),
        level,
        message: message.into(),
        fields: fields
            .iter()
            .map(|(k, v)| (Arc::from(*k), (*v).to_owned()))
            .collect(),
    }
}

async fn filled() -> Fixture {
    let mut f = fixture().await;
    let (app, db): (Arc<str>, Arc<str>) = ("app".into(), "db".into());
    let odd = [("a\"b", "x"), ("2", "two"), ("größe", "ÜBER")];
    let changes = Changes {
        logs: vec![
            (
                app.clone(),
                record(
                    10,
                    LogLevel::Error,
                    "Checkout failed 100%",
                    &[("user", "Alice")],
                ),
            ),
            (
                app.clone(),
                record(30, LogLevel::Info, "checkout done", &[("user", "bob")]),
            ),
            (db.clone(), record(20, LogLevel::Critical, "disk_full", &[])),
            (db, record(30, LogLevel::Warning, "Ärger mit ß", &odd)),
            (app, record(40, LogLevel::Debug, "1000 things", &[])),
        ],
        ..Changes::default()
    };
    f.writer.commit(&changes).await.expect("commit");
    f
}

async fn ids(f: &Fixture, filter: Filter) -> Vec<i64> {
    let mut r = f.store.reader().await.expect("reader");
    let page = search(&mut r, &filter, None, 100, FOREVER, |_| true)
        .await
        .expect("search");
    assert_eq!(page.next, None);
    page.rows.into_iter().map(|row| row.id).collect()
}

fn text(text: &str, negate: bool) -> Filter {
    Filter {
        texts: vec![TextTerm {
            text: text.into(),
            negate,
        }],
        ..Filter::default()
    }
}

fn field(key: &str, value: &str, negate: bool) -> Filter {
    Filter {
        fields: vec![FieldTerm {
            key: key.into(),
            value: value.into(),
            negate,
        }],
        ..Filter::default()
    }
}

#[tokio::test]
async fn every_term_filters() {
    let f = filled().await;
    assert_eq!(ids(&f, Filter::default()).await, [5, 4, 2, 3, 1]);
    let range = Filter {
        from: Some(Timestamp(20)),
        to: Some(Timestamp(40)),
        ..Filter::default()
    };
    assert_eq!(ids(&f, range).await, [4, 2, 3]);
    let db = Filter {
        sources: vec!["db".into()],
        min_level: Some(LogLevel::Error),
        ..Filter::default()
    };
    assert_eq!(ids(&f, db).await, [3]);
    let warnings = Filter {
        level: Some(LogLevel::Warning),
        ..Filter::default()
    };
    assert_eq!(ids(&f, warnings).await, [4]);
    assert_eq!(ids(&f, text("CHECKOUT", false)).await, [2, 1]);
    assert_eq!(ids(&f, text("checkout", true)).await, [5, 4, 3]);
    assert_eq!(ids(&f, text("100%", false)).await, [1], "no wildcard");
    assert_eq!(ids(&f, text("k_f", false)).await, [3], "no wildcard");
    assert_eq!(ids(&f, text("äRGER", false)).await, [4], "beyond ASCII");
    assert_eq!(ids(&f, field("user", "alice", false)).await, [1]);
    assert_eq!(ids(&f, field("user", "alice", true)).await, [5, 4, 2, 3]);
    assert_eq!(ids(&f, field("a\"b", "x", false)).await, [4]);
    assert_eq!(ids(&f, field("2", "two", false)).await, [4]);
    assert_eq!(ids(&f, field("größe", "über", false)).await, [4]);
    assert!(ids(&f, field("$.user", "alice", false)).await.is_empty());
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_overlap() {
    let f = filled().await;
    let mut r = f.store.reader().await.expect("reader");
    let (mut seen, mut next) = (Vec::new(), None);
    loop {
        let page = search(&mut r, &Filter::default(), next, 2, FOREVER, |row| {
            row.id != 3
        })
        .await
        .expect("search");
        seen.extend(page.rows.iter().map(|row| row.id));
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(seen, [5, 4, 2, 1]);
}

#[tokio::test]
async fn a_long_search_ends_with_its_budget_and_goes_on() {
    let mut f = fixture().await;
    let app: Arc<str> = "app".into();
    let total = BLOCK * 2 + 500;
    let changes = Changes {
        // Many share a time, so that blocks end amid equal times.
        logs: (0..total)
            .map(|n| (app.clone(), record(n / 7, LogLevel::Info, "x", &[])))
            .collect(),
        ..Changes::default()
    };
    f.writer.commit(&changes).await.expect("commit");
    let mut r = f.store.reader().await.expect("reader");
    let (mut looked, mut rounds, mut next) = (0, 0, None);
    loop {
        let page = search(&mut r, &Filter::default(), next, 10, Duration::ZERO, |_| {
            looked += 1;
            false
        })
        .await
        .expect("search");
        assert!(page.rows.is_empty());
        rounds += 1;
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!((looked, rounds), (total, 3));
    let mut tail = Vec::new();
    each_since(&mut r, Timestamp(0), 3, |row| tail.push(row.id))
        .await
        .expect("since");
    assert_eq!(tail, [total, total - 1, total - 2]);
}
