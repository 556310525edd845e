//! The lines of "why was I (not) alerted?".

use super::{Conn, Result, from_json, page};
use crate::check::outcome::SeriesId;
use crate::pipeline::changes::TimelineEntry;

/// A stored line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Rises with the order of decision.
    pub id: i64,
    pub entry: TimelineEntry,
}

fn lines(rows: Vec<(i64, String)>) -> Result<Vec<Line>> {
    rows.into_iter()
        .map(|(id, data)| {
            Ok(Line {
                id,
                entry: from_json("timeline", &data)?,
            })
        })
        .collect()
}

/// Lines of an alert, oldest first, those with an id above `after`.
pub async fn of_alert(conn: &mut Conn, alert: i64, after: i64, limit: u32) -> Result<Vec<Line>> {
    let rows = sqlx::query_as(
        "SELECT id, data FROM timeline WHERE alert_id = ? AND id > ? ORDER BY id LIMIT ?",
    )
    .bind(alert)
    .bind(after)
    .bind(page(limit))
    .fetch_all(conn)
    .await?;
    lines(rows)
}

/// Lines of a series (its alerts included), newest first, those with an id below
/// `before`.
pub async fn of_series(
    conn: &mut Conn,
    series: SeriesId,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Line>> {
    let rows = sqlx::query_as(
        "SELECT id, data FROM timeline WHERE series_id = ? AND id < ? ORDER BY id DESC LIMIT ?",
    )
    .bind(series.0)
    .bind(before.unwrap_or(i64::MAX))
    .bind(page(limit))
    .fetch_all(conn)
    .await?;
    lines(rows)
}

/// All lines, newest first, those with an id below `before`.
pub async fn recent(conn: &mut Conn, before: Option<i64>, limit: u32) -> Result<Vec<Line>> {
    let rows =
        sqlx::query_as("SELECT id, data FROM timeline WHERE id < ? ORDER BY id DESC LIMIT ?")
            .bind(before.unwrap_or(i64::MAX))
            .bind(page(limit))
            .fetch_all(conn)
            .await?;
    lines(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::pipeline::changes::{Changes, TimelineEvent};
    use crate::store::testkit::fixture;

    #[tokio::test]
    async fn by_alert_by_series_and_all() {
        let mut f = fixture().await;
        let changes = Changes {
            timeline: (1..=6)
                .map(|n| TimelineEntry {
                    ts: Timestamp(n),
                    series: (n % 2 == 0).then_some(SeriesId(4)),
                    alert: (n % 3 == 0).then_some(7),
                    event: TimelineEvent::AlertResolved {
                        summary: format!("{n}"),
                    },
                })
                .collect(),
            ..Changes::default()
        };
        f.writer.commit(&changes).await.expect("commit");
        let mut r = f.store.reader().await.expect("reader");
        let ids = |lines: &[Line]| lines.iter().map(|l| l.id).collect::<Vec<_>>();
        let of = of_alert(&mut r, 7, 0, 10).await.expect("alert");
        assert_eq!(ids(&of), [3, 6]);
        assert_eq!(of[0].entry, changes.timeline[2]);
        assert_eq!(ids(&of_alert(&mut r, 7, 3, 10).await.expect("alert")), [6]);
        let of = of_series(&mut r, SeriesId(4), None, 2)
            .await
            .expect("series");
        assert_eq!(ids(&of), [6, 4]);
        let of = of_series(&mut r, SeriesId(4), Some(4), 2)
            .await
            .expect("series");
        assert_eq!(ids(&of), [2]);
        assert_eq!(ids(&recent(&mut r, Some(3), 9).await.expect("all")), [2, 1]);
    }
}
