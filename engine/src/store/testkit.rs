//! Values for tests of the store.

use std::sync::Arc;

use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;

use super::{Store, Writer};
use crate::check::outcome::{Fault, FaultKind, SeriesId, State};
use crate::clock::Timestamp;
use crate::pipeline::changes::{Changes, ResultRow, SeriesRow};

/// A migrated database in a folder of its own.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) writer: Writer,
    pub(crate) folder: TempDir,
}

/// Opens an empty one.
pub(crate) async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (store, writer) = Store::open(folder.path()).await.expect("open");
    Fixture {
        store,
        writer,
        folder,
    }
}

/// Series `1..=n` named `c<id>` on `n<id>`, and metrics 1 `latency_ms`, 2 `size`.
pub(crate) fn with_series(n: i64) -> Changes {
    Changes {
        new_series: (1..=n)
            .map(|id| SeriesRow {
                id: SeriesId(id),
                check: Arc::from(format!("c{id}")),
                node: Arc::from(format!("n{id}")),
                created_at: Timestamp(id),
            })
            .collect(),
        new_metrics: vec![(1, Arc::from("latency_ms")), (2, Arc::from("size"))],
        ..Changes::default()
    }
}

/// A result; every tenth second of `ts` is critical, every 17th a fault.
pub(crate) fn result(ts: i64, series: i64) -> ResultRow {
    let second = ts / 1_000_000;
    let verdict = if second % 17 == 16 {
        Err(Fault::new(FaultKind::Trap, "trapped: unreachable"))
    } else if second % 10 == 9 {
        Ok(State::Critical)
    } else {
        Ok(State::Ok)
    };
    let summary = match &verdict {
        Ok(State::Ok) => "200 OK".to_owned(),
        Ok(_) => format!("timed out after {second} s"),
        Err(fault) => fault.text.clone(),
    };
    ResultRow {
        ts: Timestamp(ts),
        series: SeriesId(series),
        metrics: match &verdict {
            Ok(State::Ok) => vec![(1, 10.0 + (second % 7) as f64), (2, 512.0)],
            Ok(_) => vec![(1, 5000.0)],
            Err(_) => Vec::new(),
        },
        details: verdict.is_err().then(|| "backtrace".to_owned()),
        verdict,
        duration_us: 1_000 + (second % 100) as u32,
        lateness_us: (second % 5) as u32,
        summary,
    }
}

/// A batch of results only.
pub(crate) fn results(rows: Vec<ResultRow>) -> Changes {
    Changes {
        results: rows,
        ..Changes::default()
    }
}

/// Number of rows of a table.
pub(crate) async fn count(store: &Store, table: &str) -> i64 {
    let mut conn = store.reader().await.expect("reader");
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
        .fetch_one(&mut *conn)
        .await
        .expect("count")
}

/// Holds the write lock of the database from outside, so that commits fail.
pub(crate) struct WriteLock(sqlx::SqliteConnection);

impl WriteLock {
    /// Takes it.
    pub(crate) async fn take(store: &Store) -> Self {
        let mut conn = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(store.folder().join(super::open::DATABASE))
            .connect()
            .await
            .expect("connect");
        sqlx::query("BEGIN IMMEDIATE")
            .execute(&mut conn)
            .await
            .expect("lock");
        Self(conn)
    }

    /// Lets go of it.
    pub(crate) async fn release(self) {
        self.0.close().await.expect("close");
    }
}

/// A running recorder whose pipeline does nothing.
pub(crate) struct Lane {
    pub(crate) handle: crate::recorder::Handle<()>,
    pub(crate) stop: tokio_util::sync::CancellationToken,
    pub(crate) task: tokio::task::JoinHandle<()>,
}

impl Lane {
    /// Hands the writer to a recorder.
    pub(crate) fn start(writer: Writer) -> Self {
        let (recorder, handle) = crate::recorder::Recorder::new(
            writer,
            Box::new(|_, _| Changes::default()),
            Box::new(|_| {}),
            crate::clock::TestClock::new(Timestamp(0)),
            crate::live::LiveView::new(),
            tokio::sync::broadcast::channel(1).0,
            crate::recorder::Limits::default(),
        );
        let stop = tokio_util::sync::CancellationToken::new();
        let task = tokio_util::task::TaskTracker::new().spawn(recorder.run(stop.clone()));
        Self { handle, stop, task }
    }

    /// Commits rows through the recorder's connection.
    pub(crate) async fn commit(&self, changes: Changes) {
        self.handle
            .write(move |conn| {
                let changes = changes.clone();
                Box::pin(async move { super::write::write(conn, &changes).await })
            })
            .await
            .expect("commit");
    }

    /// Ends it.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("recorder");
    }
}

/// Leaves the database next to no room to grow, until the connection is opened
/// anew.
pub(crate) async fn fill(conn: &mut super::Conn) {
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count")
        .fetch_one(&mut *conn)
        .await
        .expect("pages");
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "PRAGMA max_page_count = {}",
        pages + 4
    )))
    .execute(conn)
    .await
    .expect("limit");
}
