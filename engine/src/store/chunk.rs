//! Many results of one series in one value.
//!
//! Numeric columns are packed with `pco`, everything else goes through `zstd`;
//! repeated summaries are stored once. Lossless but for the order of metrics
//! within a result: they come back by id.
//!
//! Layout, little endian: version `1`; number of results `u32`; the text section
//! (length before and after compression, bytes); then the columns time,
//! duration, lateness and one per metric, each with a kind byte (0 plain,
//! 1 pco), a length and its bytes.

use std::collections::{BTreeMap, HashMap};

use pco::ChunkConfig;
use pco::data_types::Number;
use pco::standalone::{simple_compress, simple_decompress};

use super::results::verdict_of;
use super::write::verdict_code;
use super::{Result, StoreError};
use crate::check::outcome::SeriesId;
use crate::clock::Timestamp;
use crate::pipeline::changes::ResultRow;

const VERSION: u8 = 1;
/// Shorter columns are not worth a pco header.
const PLAIN_BELOW: usize = 24;
const ZSTD_LEVEL: i32 = 3;
/// Bound of an unpacked text section; the writer stays far below it.
const MAX_TEXT: usize = 512 << 20;

/// Packs results of one series.
pub(super) fn encode(rows: &[ResultRow]) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    text.extend(rows.iter().map(|r| verdict_code(&r.verdict) as u8));
    let mut words = Dictionary::default();
    let summaries: Vec<u32> = rows.iter().map(|r| words.index(&r.summary)).collect();
    let details: Vec<u32> = rows
        .iter()
        .map(|r| r.details.as_deref().map_or(0, |d| words.index(d) + 1))
        .collect();
    put_u32(&mut text, words.list.len());
    for word in &words.list {
        put_u32(&mut text, word.len());
        text.extend_from_slice(word.as_bytes());
    }
    for index in summaries.iter().chain(&details) {
        text.extend_from_slice(&index.to_le_bytes());
    }
    // Each metric: which results have it, and its values.
    let mut metrics: BTreeMap<u32, (Vec<u8>, Vec<f64>)> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        for (id, value) in by_id(&row.metrics) {
            let (present, values) = metrics
                .entry(id)
                .or_insert_with(|| (vec![0; rows.len().div_ceil(8)], Vec::new()));
            present[at / 8] |= 1 << (at % 8);
            values.push(value);
        }
    }
    put_u32(&mut text, metrics.len());
    for (id, (present, _)) in &metrics {
        text.extend_from_slice(&id.to_le_bytes());
        text.extend_from_slice(present);
    }
    let packed = zstd::bulk::compress(&text, ZSTD_LEVEL).map_err(failed)?;
    let mut out = Vec::with_capacity(packed.len() + rows.len() * 8);
    out.push(VERSION);
    put_u32(&mut out, rows.len());
    put_u32(&mut out, text.len());
    put_u32(&mut out, packed.len());
    out.extend_from_slice(&packed);
    put_column(&mut out, rows.iter().map(|r| r.ts.0))?;
    put_column(&mut out, rows.iter().map(|r| r.duration_us))?;
    put_column(&mut out, rows.iter().map(|r| r.lateness_us))?;
    for (_, values) in metrics.values() {
        put_column(&mut out, values.iter().copied())?;
    }
    Ok(out)
}

/// Unpacks what [`encode`] made.
pub(super) fn decode(series: SeriesId, data: &[u8]) -> Result<Vec<ResultRow>> {
    let mut from = Source(data);
    let version = from.take(1)?[0];
    if version != VERSION {
        return Err(failed(format!(
            "expected version {VERSION}, found {version}: written by another release"
        )));
    }
    let count = from.u32()? as usize;
    let length = from.u32()? as usize;
    let packed = from.u32()? as usize;
    if length > MAX_TEXT || count > length {
        return Err(failed("lengths do not fit"));
    }
    let text = zstd::bulk::decompress(from.take(packed)?, length).map_err(failed)?;
    let mut text = Source(&text);
    let states = text.take(count)?;
    let words: Vec<&str> = (0..text.u32()?)
        .map(|_| {
            let length = text.u32()? as usize;
            std::str::from_utf8(text.take(length)?).map_err(failed)
        })
        .collect::<Result<_>>()?;
    let word = |index: u32| {
        words
            .get(index as usize)
            .map(|w| (*w).to_owned())
            .ok_or_else(|| failed("a text is missing"))
    };
    let summaries = text.take(count * 4)?;
    let details = text.take(count * 4)?;
    let metrics: Vec<(u32, &[u8])> = (0..text.u32()?)
        .map(|_| Ok((text.u32()?, text.take(count.div_ceil(8))?)))
        .collect::<Result<_>>()?;
    let times: Vec<i64> = from.column(count)?;
    let durations: Vec<u32> = from.column(count)?;
    let latenesses: Vec<u32> = from.column(count)?;
    let mut rows = Vec::with_capacity(count);
    for at in 0..count {
        let summary = word(u32_at(summaries, at))?;
        rows.push(ResultRow {
            ts: Timestamp(times[at]),
            series,
            verdict: verdict_of(i64::from(states[at]), &summary)?,
            duration_us: durations[at],
            lateness_us: latenesses[at],
            summary,
            details: match u32_at(details, at) {
                0 => None,
                index => Some(word(index - 1)?),
            },
            metrics: Vec::new(),
        });
    }
    for (id, present) in metrics {
        let here = |at: &usize| present[at / 8] & (1 << (at % 8)) != 0;
        let places: Vec<usize> = (0..count).filter(here).collect();
        let values: Vec<f64> = from.column(places.len())?;
        for (at, value) in places.into_iter().zip(values) {
            rows[at].metrics.push((id, value));
        }
    }
    Ok(rows)
}

/// Metrics by id; of a repeated id the last value.
pub(super) fn by_id(metrics: &[(u32, f64)]) -> impl Iterator<Item = (u32, f64)> {
    metrics
        .iter()
        .copied()
        .collect::<BTreeMap<_, _>>()
        .into_iter()
}

#[derive(Default)]
struct Dictionary<'a> {
    list: Vec<&'a str>,
    index: HashMap<&'a str, u32>,
}

impl<'a> Dictionary<'a> {
    fn index(&mut self, word: &'a str) -> u32 {
        *self.index.entry(word).or_insert_with(|| {
            self.list.push(word);
            (self.list.len() - 1) as u32
        })
    }
}

/// A column's number and its plain form.
trait Plain: Number {
    const SIZE: usize;
    fn put(self, to: &mut Vec<u8>);
    fn get(from: &[u8]) -> Self;
}

macro_rules! plain {
    ($($type:ty),*) => {$(
        impl Plain for $type {
            const SIZE: usize = size_of::<$type>();
            fn put(self, to: &mut Vec<u8>) {
                to.extend_from_slice(&self.to_le_bytes());
            }
            fn get(from: &[u8]) -> Self {
                let mut bytes = [0; size_of::<$type>()];
                bytes.copy_from_slice(from);
                <$type>::from_le_bytes(bytes)
            }
        }
    )*};
}
plain!(i64, u32, f64);

fn put_column<T: Plain>(to: &mut Vec<u8>, values: impl Iterator<Item = T>) -> Result<()> {
    let values: Vec<T> = values.collect();
    let (kind, bytes) = if values.len() < PLAIN_BELOW {
        let mut bytes = Vec::with_capacity(values.len() * T::SIZE);
        values.iter().for_each(|value| value.put(&mut bytes));
        (0, bytes)
    } else {
        let config = ChunkConfig::default().with_compression_level(6);
        (1, simple_compress(&values, &config).map_err(failed)?)
    };
    to.push(kind);
    put_u32(to, bytes.len());
    to.extend_from_slice(&bytes);
    Ok(())
}

fn put_u32(to: &mut Vec<u8>, value: usize) {
    to.extend_from_slice(&(value as u32).to_le_bytes());
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::get(&bytes[at * 4..at * 4 + 4])
}

/// Bytes that are read from the front.
struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, rest) = self
            .0
            .split_at_checked(n)
            .ok_or_else(|| failed("it ends too early"))?;
        self.0 = rest;
        Ok(head)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32_at(self.take(4)?, 0))
    }

    fn column<T: Plain>(&mut self, count: usize) -> Result<Vec<T>> {
        let kind = self.take(1)?[0];
        let length = self.u32()? as usize;
        let bytes = self.take(length)?;
        let values: Vec<T> = match kind {
            0 => bytes.chunks_exact(T::SIZE).map(T::get).collect(),
            1 => simple_decompress(bytes).map_err(failed)?,
            other => return Err(failed(format!("unknown kind of column {other}"))),
        };
        if values.len() != count {
            return Err(failed(format!(
                "expected a column of {count}, found {}",
                values.len()
            )));
        }
        Ok(values)
    }
}

fn failed(why: impl std::fmt::Display) -> StoreError {
    StoreError::corrupt("result chunk", why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::check::outcome::{Fault, FaultKind, State};
    use crate::store::testkit::result;

    fn any_row() -> impl Strategy<Value = ResultRow> {
        let verdict = prop_oneof![
            (0..4_i64).prop_map(|c| Ok(State::from_code(c).unwrap_or(State::Ok))),
            (1..9_i64).prop_map(|c| Err(FaultKind::from_code(c).unwrap_or(FaultKind::Engine))),
        ];
        let metrics = proptest::collection::btree_map(0..4_u32, any::<f64>(), 0..4);
        (
            any::<i64>(),
            verdict,
            any::<u32>(),
            any::<u32>(),
            "(ok|down|[a-zß€\"]{0,12})",
            proptest::option::of("[ -~]{0,20}"),
            metrics,
        )
            .prop_map(
                |(ts, verdict, duration_us, lateness_us, summary, details, m)| ResultRow {
                    ts: Timestamp(ts),
                    series: SeriesId(3),
                    verdict: verdict.map_err(|kind| Fault::new(kind, summary.clone())),
                    duration_us,
                    lateness_us,
                    summary,
                    details,
                    metrics: m.into_iter().filter(|(_, v)| !v.is_nan()).collect(),
                },
            )
    }

    proptest! {
        #[test]
        fn nothing_is_lost(rows in proptest::collection::vec(any_row(), 0..120)) {
            let data = encode(&rows).expect("encode");
            prop_assert_eq!(decode(SeriesId(3), &data).expect("decode"), rows);
        }

        #[test]
        fn damaged_data_is_an_error_not_a_panic(
            rows in proptest::collection::vec(any_row(), 1..60),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut data = encode(&rows).expect("encode");
            let short = &data[..cut.index(data.len())];
            prop_assert!(decode(SeriesId(3), short).is_err());
            let at = at.index(data.len());
            data[at] = byte;
            // Some damage cannot be seen; none may bring the engine down.
            let _ = decode(SeriesId(3), &data);
        }
    }

    #[test]
    fn regular_results_take_a_few_bytes_each() {
        let rows: Vec<_> = (0..1_000).map(|n| result(n * 10_000_000, 1)).collect();
        let data = encode(&rows).expect("encode");
        assert!(data.len() < 8_000, "{} bytes", data.len());
    }
}
