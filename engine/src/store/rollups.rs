//! Statistics of 5 minutes and of 1 hour, for long ranges.

use std::collections::BTreeMap;

use super::chunk::by_id;
use super::{Conn, Result, StoreError};
use crate::check::outcome::SeriesId;
use crate::clock::Timestamp;
use crate::pipeline::changes::ResultRow;

/// Widths of buckets in seconds.
pub const STEPS: [i64; 2] = [300, 3_600];
/// Buckets of a stored row.
pub const PACK: i64 = 24;
/// The run's duration in milliseconds, kept as if it were a metric.
pub const DURATION: u32 = u32::MAX;
const VERSION: u8 = 1;
/// Bound of an unpacked pack, kept when it is written so that it can be read.
const MAX_BYTES: usize = 64 << 20;
/// Bytes of a pack, of a bucket without its metrics, and of a metric.
const HEAD: usize = 1 + 4;
const BUCKET: usize = 8 + 5 * 4 + 4;
const STAT: usize = 4 + 4 + 4 * 8 + 8;

/// Statistics of a metric in a bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stat {
    pub min: f64,
    pub max: f64,
    pub sum: f64,
    pub count: u32,
    pub last: f64,
    pub last_ts: Timestamp,
}

impl Stat {
    pub(super) fn of(ts: Timestamp, value: f64) -> Self {
        Self {
            min: value,
            max: value,
            sum: value,
            count: 1,
            last: value,
            last_ts: ts,
        }
    }

    /// Takes the values of another one.
    pub fn merge(&mut self, other: &Stat) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.count = self.count.saturating_add(other.count);
        if other.last_ts >= self.last_ts {
            self.last = other.last;
            self.last_ts = other.last_ts;
        }
    }
}

/// Number of results by verdict: ok, warning, critical, unknown, fault.
pub type Counts = [u32; 5];

/// The place of a verdict in [`Counts`].
pub(super) fn place(row: &ResultRow) -> usize {
    row.verdict.as_ref().map_or(4, |state| *state as usize)
}

/// What happened in one bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bucket {
    pub counts: Counts,
    pub metrics: BTreeMap<u32, Stat>,
}

impl Bucket {
    fn add(&mut self, row: &ResultRow) {
        let count = &mut self.counts[place(row)];
        *count = count.saturating_add(1);
        for (id, value) in values(row) {
            let stat = Stat::of(row.ts, value);
            self.metrics
                .entry(id)
                .and_modify(|s| s.merge(&stat))
                .or_insert(stat);
        }
    }
}

impl Bucket {
    /// At most `most` metrics: the duration, which has the greatest number, and
    /// those that were named first.
    fn oldest(&self, most: usize) -> Vec<(&u32, &Stat)> {
        let duration = self.metrics.get_key_value(&DURATION);
        let others = self.metrics.range(..DURATION);
        let others = others.take(most.saturating_sub(usize::from(duration.is_some())));
        others.chain(duration).collect()
    }
}

/// The numbers of a result, its duration included. A fault says nothing about
/// the target, so its duration is left out.
pub(super) fn values(row: &ResultRow) -> impl Iterator<Item = (u32, f64)> {
    let duration = row
        .verdict
        .is_ok()
        .then(|| (DURATION, f64::from(row.duration_us) / 1_000.0));
    by_id(&row.metrics).chain(duration)
}

/// Neighbouring buckets of a series, by their start in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pack(pub BTreeMap<i64, Bucket>);

/// Start in seconds of the pack that a moment belongs to.
pub(super) fn pack_start(step: i64, ts: Timestamp) -> i64 {
    let width = step * PACK;
    ts.secs().div_euclid(width) * width
}

impl Pack {
    /// Adds a result to its bucket.
    pub(super) fn add(&mut self, step: i64, row: &ResultRow) {
        let start = row.ts.secs().div_euclid(step) * step;
        self.0.entry(start).or_default().add(row);
    }

    /// Most metrics of a bucket that are stored: as many as can be read back.
    fn most(&self) -> usize {
        let room = (MAX_BYTES - HEAD) / self.0.len().max(1);
        room.saturating_sub(BUCKET) / STAT
    }

    /// Number of statistics that [`encode`](Self::encode) leaves out, because a
    /// check names ever new metrics.
    pub(super) fn left_out(&self) -> usize {
        let most = self.most();
        let metrics = self.0.values().map(|bucket| bucket.metrics.len());
        metrics.map(|n| n.saturating_sub(most)).sum()
    }

    /// What [`decode`](Self::decode) reads; where there is too much, without the
    /// newest metrics.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let most = self.most();
        let mut plain = vec![VERSION];
        plain.extend_from_slice(&(self.0.len() as u32).to_le_bytes());
        for (start, bucket) in &self.0 {
            plain.extend_from_slice(&start.to_le_bytes());
            for count in bucket.counts {
                plain.extend_from_slice(&count.to_le_bytes());
            }
            let metrics = bucket.oldest(most);
            plain.extend_from_slice(&(metrics.len() as u32).to_le_bytes());
            for (id, stat) in metrics {
                plain.extend_from_slice(&id.to_le_bytes());
                plain.extend_from_slice(&stat.count.to_le_bytes());
                for value in [stat.min, stat.max, stat.sum, stat.last] {
                    plain.extend_from_slice(&value.to_le_bytes());
                }
                plain.extend_from_slice(&stat.last_ts.0.to_le_bytes());
            }
        }
        zstd::bulk::compress(&plain, 1).map_err(failed)
    }

    pub(super) fn decode(data: &[u8]) -> Result<Self> {
        let plain = zstd::bulk::decompress(data, MAX_BYTES).map_err(failed)?;
        let mut from = plain.as_slice();
        let [version] = take(&mut from)?;
        if version != VERSION {
            return Err(failed(format!(
                "expected version {VERSION}, found {version}"
            )));
        }
        let mut pack = Pack::default();
        for _ in 0..u32::from_le_bytes(take(&mut from)?) {
            let start = i64::from_le_bytes(take(&mut from)?);
            let mut bucket = Bucket::default();
            for count in &mut bucket.counts {
                *count = u32::from_le_bytes(take(&mut from)?);
            }
            for _ in 0..u32::from_le_bytes(take(&mut from)?) {
                let id = u32::from_le_bytes(take(&mut from)?);
                let stat = Stat {
                    count: u32::from_le_bytes(take(&mut from)?),
                    min: f64::from_le_bytes(take(&mut from)?),
                    max: f64::from_le_bytes(take(&mut from)?),
                    sum: f64::from_le_bytes(take(&mut from)?),
                    last: f64::from_le_bytes(take(&mut from)?),
                    last_ts: Timestamp(i64::from_le_bytes(take(&mut from)?)),
                };
                bucket.metrics.insert(id, stat);
            }
            pack.0.insert(start, bucket);
        }
        Ok(pack)
    }
}

fn take<const N: usize>(from: &mut &[u8]) -> Result<[u8; N]> {
    let (head, rest) = from
        .split_first_chunk()
        .ok_or_else(|| failed("it ends too early"))?;
    *from = rest;
    Ok(*head)
}

fn failed(why: impl std::fmt::Display) -> StoreError {
    StoreError::corrupt("rollup", why)
}

/// The stored pack that starts at `start` seconds.
pub(super) async fn pack(
    conn: &mut Conn,
    series: SeriesId,
    step: i64,
    start: i64,
) -> Result<Option<Pack>> {
    let data: Option<Vec<u8>> = sqlx::query_scalar(
        "SELECT data FROM rollups WHERE series_id = ? AND step_s = ? AND ts = ?",
    )
    .bind(series.0)
    .bind(step)
    .bind(start * 1_000_000)
    .fetch_optional(conn)
    .await?;
    data.map(|data| Pack::decode(&data)).transpose()
}

/// Buckets of a series that start in `[from, to)`, by their start in seconds.
/// They hold only results that were compacted.
pub async fn range(
    conn: &mut Conn,
    series: SeriesId,
    step: i64,
    from: Timestamp,
    to: Timestamp,
) -> Result<BTreeMap<i64, Bucket>> {
    let first = from.secs().div_euclid(step) * step;
    let packs: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT data FROM rollups WHERE series_id = ? AND step_s = ? AND ts >= ? AND ts < ? \
         ORDER BY ts",
    )
    .bind(series.0)
    .bind(step)
    .bind(pack_start(step, from).saturating_mul(1_000_000))
    .bind(to.0)
    .fetch_all(conn)
    .await?;
    let mut buckets = BTreeMap::new();
    for data in packs {
        buckets.extend(Pack::decode(&data)?.0);
    }
    buckets.retain(|start, _| *start >= first && start.saturating_mul(1_000_000) < to.0);
    Ok(buckets)
}

/// Start of the oldest stored pack of a series.
pub(super) async fn oldest(
    conn: &mut Conn,
    series: SeriesId,
    step: i64,
) -> Result<Option<Timestamp>> {
    let ts: Option<i64> =
        sqlx::query_scalar("SELECT min(ts) FROM rollups WHERE series_id = ? AND step_s = ?")
            .bind(series.0)
            .bind(step)
            .fetch_one(conn)
            .await?;
    Ok(ts.map(Timestamp))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testkit::result;

    #[test]
    fn packs_are_read_back_and_count_every_result() {
        let mut pack = Pack::default();
        for n in 0..720 {
            pack.add(300, &result(n * 10_000_000, 1));
        }
        let again = Pack::decode(&pack.encode().expect("encode")).expect("decode");
        assert_eq!(again, pack);
        assert_eq!(pack.0.len(), 24);
        let total: u32 = pack.0.values().flat_map(|b| b.counts).sum();
        assert_eq!(total, 720);
        assert!(Pack::decode(b"nonsense").is_err());
    }

    #[test]
    fn what_was_written_can_be_read_however_many_metrics_there_are() {
        let mut pack = Pack::default();
        pack.add(300, &result(0, 1));
        let stat = Stat::of(Timestamp(1), 1.0);
        let bucket = pack.0.get_mut(&0).expect("bucket");
        let many = 1_400_000;
        bucket.metrics.extend((0..many).map(|id| (id, stat)));
        let data = pack.encode().expect("encode");
        let again = Pack::decode(&data).expect("decode");
        let (before, after) = (&pack.0[&0].metrics, &again.0[&0].metrics);
        assert!(after.len() > 1_000_000 && after.len() < before.len());
        assert_eq!(pack.left_out(), before.len() - after.len());
        assert_eq!(again.left_out(), 0);
        assert!(after.iter().all(|(id, stat)| before[id] == *stat));
        assert!(after.contains_key(&0) && after.contains_key(&DURATION));
    }

    #[test]
    fn buckets_hold_the_statistics_of_their_results() {
        let mut pack = Pack::default();
        let rows: Vec<_> = (0..30).map(|n| result(n * 10_000_000, 1)).collect();
        rows.iter().for_each(|row| pack.add(300, row));
        let values: Vec<f64> = rows
            .iter()
            .flat_map(|r| &r.metrics)
            .filter(|m| m.0 == 1)
            .map(|m| m.1)
            .collect();
        let stat = pack.0[&0].metrics[&1];
        assert_eq!(stat.count as usize, values.len());
        assert_eq!(stat.sum, values.iter().sum::<f64>());
        assert_eq!(stat.max, values.iter().copied().fold(f64::MIN, f64::max));
        assert_eq!(Some(&stat.last), values.last());
    }

    #[test]
    fn moments_before_the_epoch_have_a_pack_too() {
        assert_eq!(pack_start(300, Timestamp(-1)), -7_200);
        assert_eq!(pack_start(300, Timestamp(0)), 0);
    }
}
