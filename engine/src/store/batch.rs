//! Multi-row statements.
//!
//! Each execute crosses to the connection's own thread, so the number of
//! statements decides the speed of the writer. A [`Batched`] splits any number
//! of rows into a few fixed sizes, whose texts are built once and whose prepared
//! statements stay cached.

use std::sync::{Arc, OnceLock};

use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, Encode, Sqlite, Type};

use super::{Conn, Result};

/// Rows per statement, largest first. The product with the number of columns
/// stays below SQLite's 32,766 bind parameters.
const SIZES: [usize; 6] = [1024, 256, 64, 16, 4, 1];

/// An `INSERT … VALUES (…), (…) …` for any number of rows.
pub(super) struct Batched {
    /// Up to and with `VALUES`.
    head: &'static str,
    columns: usize,
    /// Conflict clause; may be empty.
    tail: &'static str,
    texts: OnceLock<[Arc<str>; SIZES.len()]>,
}

impl Batched {
    /// A statement of that many columns.
    pub(super) const fn new(head: &'static str, columns: usize, tail: &'static str) -> Self {
        assert!(columns > 0 && columns * SIZES[0] <= 32_766);
        Self {
            head,
            columns,
            tail,
            texts: OnceLock::new(),
        }
    }

    fn texts(&self) -> &[Arc<str>; SIZES.len()] {
        self.texts.get_or_init(|| {
            SIZES.map(|rows| {
                let row = format!("({})", vec!["?"; self.columns].join(","));
                let values = vec![row.as_str(); rows].join(",");
                Arc::from(format!("{} {values} {}", self.head, self.tail))
            })
        })
    }

    /// Writes the rows; `bind` adds exactly one value per column.
    pub(super) async fn run<T>(
        &self,
        conn: &mut Conn,
        rows: &[T],
        bind: impl Fn(&T, &mut Binder) -> Result<()>,
    ) -> Result<()> {
        let mut rest = rows;
        while !rest.is_empty() {
            let slot = SIZES
                .iter()
                .position(|size| *size <= rest.len())
                .unwrap_or(SIZES.len() - 1);
            let (now, later) = rest.split_at(SIZES[slot]);
            rest = later;
            let mut binder = Binder::default();
            binder.0.reserve(now.len() * self.columns, 0);
            for row in now {
                bind(row, &mut binder)?;
            }
            let text = Arc::clone(&self.texts()[slot]);
            sqlx::query_with(AssertSqlSafe(text), binder.0)
                .execute(&mut *conn)
                .await?;
        }
        Ok(())
    }
}

/// Collects bind values.
#[derive(Default)]
pub(super) struct Binder(SqliteArguments);

impl Binder {
    /// Adds the next value.
    pub(super) fn add<'q, T>(&mut self, value: T) -> Result<()>
    where
        T: Encode<'q, Sqlite> + Type<Sqlite>,
    {
        self.0
            .add(value)
            .map_err(|e| super::StoreError::Database(sqlx::Error::Encode(e)))
    }
}
