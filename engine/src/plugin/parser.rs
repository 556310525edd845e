//! Log parsers: one instance per source, fed in batches.

use std::sync::Arc;

use tokio::time::Instant;
use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, ComponentType, Instance, Lower};

use super::bindings::bellwether::plugin::types::Level;
use super::bindings::exports::bellwether::plugin::log_parser::{ParseError, Records, Span};
use super::catalogue::{self, Loaded};
use super::cost::metered;
use super::guests::Guests;
use super::host::{Host, Inner};
use super::kind::Kind;
use super::log::clip;
use super::probe::{MAX_FAULT, config_fault};
use super::program_lines::ProgramLines;
use super::run::{
    End, PARSER_HOSTCALL_FUEL, Pace, RunData, RunSetup, bounded, classify, phase_name,
};
use super::secrets::Redactor;
use crate::check::outcome::{Digest, Fault, FaultKind, LogLevel, LogRecord, RunLimits};
use crate::clock::Timestamp;
use crate::config::spec::GrantsSpec;
use crate::log::{LineBatch, LineParser, Parsed, ParsedRecord};

/// Batches and bytes after which an instance is replaced: whatever a guest
/// leaks ends there.
const RECYCLE_BATCHES: u64 = 1_000;
const RECYCLE_BYTES: u64 = 64 << 20;
/// Records of one batch beyond its lines (a line may make several).
const MAX_RECORDS_PER_LINE: usize = 16;
pub(super) const MAX_FIELDS: usize = 256;
/// Longest name of a field, in bytes; longer ones are cut.
pub(super) const MAX_FIELD_NAME: usize = 256;
/// Bytes of messages and values of one answer. Spans may overlap, so what is
/// copied could be far more than what was handed over.
const MAX_COPIED: usize = 16 << 20;

/// `log-parser.batch`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct BatchArg<'a> {
    text: &'a str,
    ends: &'a [u32],
    gap: u32,
    received: i64,
}

type Answer = (Result<Records, ParseError>,);

/// A guest that parses.
enum Guest {
    Component(Box<Running>),
    Program(ProgramLines),
}

struct Running {
    store: Store<RunData>,
    instance: Instance,
    loaded: Arc<Loaded>,
    limits: RunLimits,
}

/// A configured parser of one source. After a fault it is of no more use: make
/// a new one and feed it again from the checkpoint.
pub struct ParserInstance {
    /// Behind a lock only so that the instance can be shared between threads: a
    /// guest is not.
    running: parking_lot::Mutex<Option<Guest>>,
    guests: Guests,
    batches: u64,
    bytes: u64,
}

impl Inner {
    /// An instance that is configured.
    pub async fn new_parser(
        &self,
        digest: &Digest,
        config: &str,
        limits: RunLimits,
    ) -> Result<ParserInstance, Fault> {
        let loaded = match self.entry(digest, Kind::LogParser)? {
            catalogue::Entry::Plugin(loaded) => loaded,
            catalogue::Entry::Program(loaded) => {
                // A wrong configuration is told now and not with the first line.
                super::program::given(&loaded, config, 0)?;
                return Ok(self.parser(Guest::Program(ProgramLines {
                    loaded,
                    engine: self.catalogue.wasm.engine.clone(),
                    shared: Arc::clone(&self.shared),
                    config: config.into(),
                    limits: RunLimits {
                        memory: limits.memory.min(self.catalogue.wasm.max_memory),
                        ..limits
                    },
                })));
            }
        };
        let mut store = self.store(RunSetup {
            timeout: limits.timeout,
            length: limits.deadline(),
            memory: limits.memory,
            grants: Arc::new(GrantsSpec::default()),
            node: None,
            state: None,
            dry_run: false,
            fuel: PARSER_HOSTCALL_FUEL,
        });
        let bound = store.data().bound();
        let configuring = async {
            let instance = loaded.pre.instantiate_async(&mut store).await?;
            let configure = instance.get_typed_func::<(&str,), (Result<(), ParseError>,)>(
                &mut store,
                loaded.exports.function(1)?,
            )?;
            let (result,) = configure.call_async(&mut store, (config,)).await?;
            Ok((instance, result))
        };
        let instance = match bounded(bound, configuring).await {
            Ok((instance, Ok(()))) => instance,
            Ok((_, Err(error))) => return Err(parse_fault(error)),
            Err(error) => return Err(fault(&error, store.data())),
        };
        let running = Running {
            store,
            instance,
            loaded,
            limits,
        };
        Ok(self.parser(Guest::Component(Box::new(running))))
    }

    fn parser(&self, guest: Guest) -> ParserInstance {
        ParserInstance {
            running: parking_lot::Mutex::new(Some(guest)),
            guests: self.shared.guests.clone(),
            batches: 0,
            bytes: 0,
        }
    }
}

impl ParserInstance {
    /// Parses a batch.
    ///
    /// # Errors
    /// A fault; the instance is of no more use then.
    pub async fn parse(&mut self, batch: LineBatch) -> Result<Parsed, Fault> {
        self.batches += 1;
        self.bytes += batch.text.len() as u64;
        self.step(Call::Parse(batch)).await
    }

    /// Whatever is held back, now. `received` dates records without a time.
    ///
    /// # Errors
    /// A fault; the instance is of no more use then.
    pub async fn flush(&mut self, received: Timestamp) -> Result<Parsed, Fault> {
        self.step(Call::Flush(received)).await
    }

    /// True when the caller should flush it and make a new one.
    pub fn should_recycle(&self) -> bool {
        self.running.lock().is_none()
            || self.batches >= RECYCLE_BATCHES
            || self.bytes >= RECYCLE_BYTES
    }

    /// Runs one call on the guests' threads. The guest is used again unless it
    /// trapped or broke the contract; what it says itself leaves it whole.
    async fn step(&mut self, call: Call) -> Result<Parsed, Fault> {
        let mut running = self.running.get_mut().take().ok_or_else(dead)?;
        let work = async move {
            let result = running.call(call).await;
            (running, result)
        };
        let (running, result) = self.guests.run(work).await.ok_or_else(dead)?;
        if !matches!(&result, Err(fault) if !matches!(fault.kind, FaultKind::Failed | FaultKind::Config))
        {
            *self.running.get_mut() = Some(running);
        }
        result
    }
}

/// The parser of one source: makes its instance when it is first needed and
/// again whenever it is recycled, so that a plugin may be replaced meanwhile.
pub struct SourceParser {
    host: Arc<Host>,
    plugin: Digest,
    config: Arc<str>,
    limits: RunLimits,
    instance: Option<ParserInstance>,
}

impl SourceParser {
    /// Nothing of the guest runs yet. `config` is the source's configuration as
    /// JSON text.
    pub fn new(host: Arc<Host>, plugin: Digest, config: Arc<str>, limits: RunLimits) -> Self {
        Self {
            host,
            plugin,
            config,
            limits,
            instance: None,
        }
    }
}

impl LineParser for SourceParser {
    async fn parse(&mut self, batch: &LineBatch) -> Result<Parsed, Fault> {
        if let Some(fault) = self.host.held(&self.plugin) {
            return Err(fault);
        }
        if self.instance.is_none() {
            self.recycle().await?;
        }
        match &mut self.instance {
            Some(instance) => instance.parse(batch.clone()).await,
            None => Err(dead()),
        }
    }

    async fn flush(&mut self, now: Timestamp) -> Result<Parsed, Fault> {
        match &mut self.instance {
            Some(instance) => instance.flush(now).await,
            None => Ok(Parsed::default()),
        }
    }

    fn should_recycle(&self) -> bool {
        self.instance
            .as_ref()
            .is_some_and(ParserInstance::should_recycle)
    }

    async fn recycle(&mut self) -> Result<(), Fault> {
        // The old one first: its memory is free for the new one.
        self.instance = None;
        let parser = self
            .host
            .new_parser(&self.plugin, Arc::clone(&self.config), self.limits.clone())
            .await?;
        self.instance = Some(parser);
        Ok(())
    }
}

/// What a parser is asked to do.
enum Call {
    Parse(LineBatch),
    Flush(Timestamp),
}

fn dead() -> Fault {
    Fault::new(
        FaultKind::Engine,
        "the parser instance has ended; make a new one",
    )
}

impl Guest {
    async fn call(&mut self, call: Call) -> Result<Parsed, Fault> {
        match (self, call) {
            (Guest::Component(running), call) => running.call(call).await,
            (Guest::Program(program), Call::Parse(batch)) => program.parse(&batch).await,
            // A program holds nothing back.
            (Guest::Program(_), Call::Flush(_)) => Ok(Parsed::default()),
        }
    }
}

impl Running {
    /// Each call has the whole time for itself.
    fn rearm(&mut self) {
        let length = self.limits.deadline();
        let data = self.store.data_mut();
        data.waits.deadline = Instant::now() + length;
        data.pace = Pace::new();
        // A parser's log is not shown; it must not fill up either.
        data.log = Default::default();
        self.store.set_epoch_deadline(1);
    }

    async fn call(&mut self, call: Call) -> Result<Parsed, Fault> {
        let (result, busy) = metered(async {
            match call {
                Call::Parse(batch) => self.parse(&batch).await,
                Call::Flush(received) => self.flush(received).await,
            }
        })
        .await;
        let fault = result.as_ref().err().map(|fault| fault.kind);
        self.loaded.cost.add(busy, self.store.data_mut(), fault);
        result
    }

    async fn parse(&mut self, batch: &LineBatch) -> Result<Parsed, Fault> {
        let argument = BatchArg {
            text: &batch.text,
            ends: &batch.ends,
            gap: LineBatch::GAP,
            received: batch.received.micros(),
        };
        let result = self.ask(2, (argument,)).await;
        self.take(result, &batch.text, batch.ends.len(), batch.received)
    }

    async fn flush(&mut self, received: Timestamp) -> Result<Parsed, Fault> {
        let result = self.ask(3, ()).await;
        self.take(result, "", 0, received)
    }

    /// Calls a function of the interface on the instance that is there.
    async fn ask<P>(&mut self, place: usize, params: P) -> wasmtime::Result<Answer>
    where
        P: ComponentNamedList + Lower + Send,
    {
        self.rearm();
        let bound = self.store.data().bound();
        let (store, instance, loaded) = (&mut self.store, &self.instance, &self.loaded);
        let running = async {
            let function = instance
                .get_typed_func::<P, Answer>(&mut *store, loaded.exports.function(place)?)?;
            function.call_async(&mut *store, params).await
        };
        bounded(bound, running).await
    }

    fn take(
        &self,
        result: wasmtime::Result<Answer>,
        text: &str,
        lines: usize,
        received: Timestamp,
    ) -> Result<Parsed, Fault> {
        match result {
            Ok((Ok(records),)) => convert(records, text, lines, received).map_err(|what| {
                Fault::new(
                    FaultKind::Trap,
                    format!("the parser broke the contract: {what}"),
                )
            }),
            Ok((Err(error),)) => Err(parse_fault(error)),
            Err(error) => Err(fault(&error, self.store.data())),
        }
    }
}

fn parse_fault(error: ParseError) -> Fault {
    match error {
        ParseError::Config(problem) => config_fault(&problem, &Redactor::default()),
        ParseError::Failed(text) => Fault::new(FaultKind::Failed, clip(&text, MAX_FAULT)),
    }
}

fn fault(error: &wasmtime::Error, data: &RunData) -> Fault {
    match classify(error, data) {
        End::Fault(fault) => fault,
        End::Target(phase) => Fault::new(
            FaultKind::Deadline,
            format!("timed out in {}", phase_name(phase)),
        ),
    }
}

/// Records of a guest's answer; every span and index is checked.
pub(super) fn convert(
    answer: Records,
    text: &str,
    lines: usize,
    received: Timestamp,
) -> Result<Parsed, String> {
    let most = lines.saturating_mul(MAX_RECORDS_PER_LINE).max(1_024);
    if answer.entries.len() > most {
        return Err(format!(
            "{} records from {lines} lines, at most {most} are taken",
            answer.entries.len()
        ));
    }
    if answer.held as usize > lines {
        return Err(format!("{} lines held back of {lines}", answer.held));
    }
    let flushing = lines == 0;
    if let Some(line) = answer.unparsed.iter().find(|line| **line as usize >= lines) {
        return Err(format!(
            "the unparsed line {line} is not in a batch of {lines} lines"
        ));
    }
    if answer.unparsed.len() > lines {
        return Err(format!(
            "{} unparsed lines of {lines}",
            answer.unparsed.len()
        ));
    }
    let names: Vec<Arc<str>> = answer
        .names
        .iter()
        .map(|name| Arc::from(clip(name, MAX_FIELD_NAME)))
        .collect();
    let mut room = MAX_COPIED;
    let mut span = |span: Span| {
        let found = resolve(span, text, &answer.extra)?;
        room = room.checked_sub(found.len()).ok_or_else(|| {
            format!("messages and values of more than {MAX_COPIED} bytes in one answer")
        })?;
        Ok::<_, String>(found.to_owned())
    };
    let mut records = Vec::with_capacity(answer.entries.len());
    for entry in answer.entries {
        if !flushing && entry.line as usize >= lines {
            return Err(format!(
                "a record of line {}, which is not in a batch of {lines} lines",
                entry.line
            ));
        }
        if entry.fields.len() > MAX_FIELDS {
            return Err(format!(
                "a record with {} fields, at most {MAX_FIELDS} are taken",
                entry.fields.len()
            ));
        }
        let mut fields = Vec::with_capacity(entry.fields.len());
        for field in entry.fields {
            let name = names.get(field.name as usize).ok_or_else(|| {
                format!(
                    "the field name {} is not among {} names",
                    field.name,
                    names.len()
                )
            })?;
            fields.push((Arc::clone(name), span(field.value)?));
        }
        records.push(ParsedRecord {
            line: entry.line,
            record: LogRecord {
                time: entry.time.map_or(received, Timestamp),
                received,
                level: level(entry.level),
                message: span(entry.message)?,
                fields,
            },
        });
    }
    Ok(Parsed {
        records,
        unparsed: answer.unparsed,
        held: answer.held,
    })
}

/// The text of a span: in the batch's text, or behind it in `extra`.
fn resolve<'a>(span: Span, text: &'a str, extra: &'a str) -> Result<&'a str, String> {
    let (start, end) = (span.start as usize, span.end as usize);
    let found = match start.checked_sub(text.len()) {
        None => text.get(start..end),
        // An empty span at the seam lies in both.
        Some(from) => end
            .checked_sub(text.len())
            .and_then(|to| extra.get(from..to)),
    };
    found.ok_or_else(|| {
        format!(
            "the span {start}..{end} does not lie within {} + {} bytes on character boundaries",
            text.len(),
            extra.len()
        )
    })
}

fn level(level: Level) -> LogLevel {
    match level {
        Level::Unset => LogLevel::Unset,
        Level::Trace => LogLevel::Trace,
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Notice => LogLevel::Notice,
        Level::Warning => LogLevel::Warning,
        Level::Error => LogLevel::Error,
        Level::Critical => LogLevel::Critical,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::bindings::exports::bellwether::plugin::log_parser::{Entry, Field};
    use super::*;

    /// A record whose message and fields are this span of the text.
    fn entry(span: Span, fields: usize) -> Entry {
        let field = Field {
            name: 0,
            value: span,
        };
        Entry {
            line: 0,
            time: None,
            level: Level::Info,
            message: span,
            fields: vec![field; fields],
        }
    }

    #[test]
    fn spans_that_overlap_copy_no_more_than_a_bound() {
        let text = "x".repeat(256 << 10);
        let whole = Span {
            start: 0,
            end: text.len() as u32,
        };
        let answer = |fields| Records {
            entries: vec![entry(whole, fields)],
            names: vec!["ä".repeat(MAX_FIELD_NAME)],
            extra: String::new(),
            unparsed: Vec::new(),
            held: 0,
        };
        let most = MAX_COPIED / text.len();
        let parsed = convert(answer(most - 1), &text, 1, Timestamp(1)).unwrap();
        let fields = &parsed.records[0].record.fields;
        assert_eq!(fields.len(), most - 1);
        assert_eq!(&*fields[0].0, "ä".repeat(MAX_FIELD_NAME / 2));
        let error = convert(answer(most), &text, 1, Timestamp(1)).unwrap_err();
        assert!(error.contains("more than 16777216 bytes"), "{error}");
    }

    #[test]
    fn spans_lie_in_one_text() {
        let at = |start, end| resolve(Span { start, end }, "abä", "xyz");
        assert_eq!(at(0, 2), Ok("ab"));
        assert_eq!(at(2, 4), Ok("ä"));
        assert_eq!(at(4, 7), Ok("xyz"));
        assert_eq!(at(4, 4), Ok(""));
        for (start, end) in [
            (2, 3),
            (3, 4),
            (2, 5),
            (3, 2),
            (6, 5),
            (4, 8),
            (8, 8),
            (u32::MAX, u32::MAX),
        ] {
            assert!(at(start, end).is_err(), "{start}..{end}");
        }
    }

    proptest! {
        #[test]
        fn no_span_panics(text in "\\PC{0,20}", extra in "\\PC{0,20}", start in 0u32..80, end in 0u32..80) {
            if let Ok(found) = resolve(Span { start, end }, &text, &extra) {
                prop_assert_eq!(found.len() as u32, end - start);
            }
        }
    }
}
