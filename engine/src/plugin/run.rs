//! One run of a guest: what its store holds, when it ends, how its end reads.
//!
//! The fault line: a host call that waits on the target until the run's
//! deadline ends as `Stop::Target`, which is a report of critical; a guest that
//! computes until then ends as `Stop::Deadline`, which is a fault. No timer runs
//! beside a run: the epoch callback looks at the deadline while the guest
//! computes, and each host wait brings its own bound.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::component::ResourceTable;
use wasmtime::{
    Engine, PoolConcurrencyLimitError, ResourceLimiter, Store, Trap, UpdateDeadline, WasmBacktrace,
};

use super::bindings::bellwether::plugin::net::{Error as NetError, Phase};
use super::grants::NetGrants;
use super::host::Shared;
use super::log::RunLog;
use super::replay::Replay;
use super::secrets::Redactor;
use super::state::StateView;
use super::wasi::LazyWasi;
use super::wasi_http::LazyHttp;
use crate::check::outcome::{Fault, FaultKind, NodeInfo, PluginState};
use crate::config::spec::GrantsSpec;

/// Bytes that a guest may hand to the host in one call.
pub(super) const HOSTCALL_FUEL: usize = 1 << 20;
pub(super) const PARSER_HOSTCALL_FUEL: usize = 8 << 20;
/// Open connections and other handles of one run.
const MAX_HANDLES: usize = 256;

/// Why the host ended a run.
#[derive(Debug)]
pub(super) enum Stop {
    /// The deadline struck while the guest computed.
    Deadline(Duration),
    /// The deadline struck while the run waited on its target.
    Target(Phase),
    /// The deadline struck while the run waited on the engine's own machine.
    Waiting(&'static str, Duration),
    /// The deadline struck while a command ran.
    Command(Duration),
    /// The engine's own machine had no room: nothing is known of the target.
    Host(String),
    /// The deadline struck while the run waited in WASI: on its target if it
    /// has a socket, else on nothing.
    Wasi(Duration),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Deadline(after) => write!(
                f,
                "computed beyond its deadline of {} ms",
                after.as_millis()
            ),
            Stop::Target(phase) => write!(f, "timed out in {}", phase_name(*phase)),
            Stop::Host(what) => f.write_str(what),
            Stop::Wasi(after) => {
                write!(f, "waited beyond its deadline of {} ms", after.as_millis())
            }
            Stop::Waiting(what, after) => {
                write!(
                    f,
                    "waited for {what} beyond its deadline of {} ms",
                    after.as_millis()
                )
            }
            Stop::Command(after) => {
                write!(
                    f,
                    "waited for a command beyond its deadline of {} ms",
                    after.as_millis()
                )
            }
        }
    }
}

impl std::error::Error for Stop {}

/// The word of the contract for a phase.
pub(super) fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Resolve => "resolve",
        Phase::Connect => "connect",
        Phase::TlsHandshake => "tls-handshake",
        Phase::Send => "send",
        Phase::FirstByte => "first-byte",
        Phase::Receive => "receive",
    }
}

const PHASES: [Phase; 6] = [
    Phase::Resolve,
    Phase::Connect,
    Phase::TlsHandshake,
    Phase::Send,
    Phase::FirstByte,
    Phase::Receive,
];

/// Where a host call on the target is, readable after it was given up.
#[derive(Debug)]
pub(super) struct Progress {
    phase: AtomicU8,
    /// Why the engine itself could not go on.
    fault: OnceLock<String>,
}

impl Progress {
    pub fn new(phase: Phase) -> Self {
        Self {
            phase: AtomicU8::new(phase as u8),
            fault: OnceLock::new(),
        }
    }

    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub fn phase(&self) -> Phase {
        PHASES
            .get(usize::from(self.phase.load(Ordering::Relaxed)))
            .copied()
            .unwrap_or(Phase::Receive)
    }

    /// Notes an I/O error that is the engine's own and not the target's. The
    /// wait then ends the run as a fault, whatever else it says.
    pub fn note(&self, error: &std::io::Error) {
        if let Some(what) = own_trouble(error) {
            // The first one is the cause of the others.
            let _ = self.fault.set(format!("{what} ({error})"));
        }
    }

    /// Why the engine itself could not go on, if so.
    pub fn fault(&self) -> Option<&str> {
        self.fault.get().map(String::as_str)
    }

    /// Notes that the engine's own machine cannot do what was asked; ends the
    /// wait as [`Progress::note`] does.
    pub fn own_fault(&self, what: String) {
        let _ = self.fault.set(what);
    }
}

/// What the engine's machine lacks, where an error says that. Errors of
/// connect(2) and socket(2) that a target cannot cause.
pub(super) fn own_trouble(error: &std::io::Error) -> Option<&'static str> {
    use rustix::io::Errno;
    let trouble = match Errno::from_raw_os_error(error.raw_os_error()?) {
        Errno::MFILE => {
            "the engine has too many open files: raise its limit (LimitNOFILE, ulimit -n) or lower engine.max_in_flight"
        }
        Errno::NFILE => "the engine's machine has too many open files: raise fs.file-max",
        Errno::NOBUFS | Errno::NOMEM => "the engine's machine has no memory for another socket",
        Errno::ADDRNOTAVAIL | Errno::AGAIN | Errno::ADDRINUSE => {
            "the engine's machine has no free local port left: widen net.ipv4.ip_local_port_range or check less often"
        }
        _ => return None,
    };
    Some(trouble)
}

/// The bounds of waiting in one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// Bound of each wait.
    pub timeout: Duration,
    /// End of the run, and how long that is after its start.
    pub deadline: Instant,
    pub length: Duration,
}

impl Waits {
    /// What a run has beyond a wait of full length.
    fn slack(&self) -> Duration {
        self.length.saturating_sub(self.timeout)
    }

    /// Bounds a wait on the target: by `timeout`, which the guest hears of, and
    /// by the run's deadline, which ends the run.
    pub async fn on_target<T>(
        &self,
        progress: &Progress,
        wait: impl Future<Output = Result<T, NetError>>,
    ) -> wasmtime::Result<Result<T, NetError>> {
        let own = Instant::now() + self.timeout;
        let result = tokio::time::timeout_at(own.min(self.deadline), wait).await;
        match (result, progress.fault()) {
            (Ok(Ok(found)), _) => Ok(Ok(found)),
            (_, Some(fault)) => Err(Stop::Host(fault.to_owned()).into()),
            (Ok(Err(error)), None) => Ok(Err(error)),
            (Err(_), None) if own < self.deadline => Ok(Err(NetError::Timeout(progress.phase()))),
            (Err(_), None) => Err(Stop::Target(progress.phase()).into()),
        }
    }
}

/// When the guest was last seen computing, and the time it was lent.
#[derive(Debug)]
pub(super) struct Pace {
    seen: Instant,
    /// The end of a run that its machine was late for.
    lent: Arc<OnceLock<Instant>>,
}

impl Pace {
    pub fn new() -> Self {
        Self {
            seen: Instant::now(),
            lent: Arc::default(),
        }
    }
}

/// The linear memory a run has taken, against its limit.
#[derive(Debug)]
pub(super) struct Limiter {
    memory: usize,
    used: usize,
    /// The first request that was refused.
    pub refused: Option<String>,
}

impl Limiter {
    fn new(memory: u64) -> Self {
        Self {
            memory: usize::try_from(memory).unwrap_or(usize::MAX),
            used: 0,
            refused: None,
        }
    }
}

impl Limiter {
    /// Bytes of linear memory taken; a guest cannot give any back.
    pub fn used(&self) -> u64 {
        self.used as u64
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = self.used.saturating_add(desired.saturating_sub(current));
        if wanted > self.memory {
            self.refused.get_or_insert_with(|| {
                format!(
                    "memory: wanted {wanted} bytes, the limit is {} (limits.memory)",
                    self.memory
                )
            });
            return Ok(false);
        }
        self.used = wanted;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > super::engine::MAX_TABLE_ELEMENTS {
            self.refused.get_or_insert_with(|| {
                format!(
                    "table: wanted {desired} elements, the limit is {}",
                    super::engine::MAX_TABLE_ELEMENTS
                )
            });
            return Ok(false);
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        super::engine::MAX_CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        super::engine::MAX_TABLES as usize
    }

    fn memories(&self) -> usize {
        super::engine::MAX_MEMORIES as usize
    }
}

/// What a run may do and knows; the data of its store.
pub(super) struct RunData {
    pub shared: Arc<Shared>,
    pub waits: Waits,
    pub pace: Pace,
    pub limiter: Limiter,
    pub log: RunLog,
    pub table: ResourceTable,
    pub grants: Arc<GrantsSpec>,
    /// Parsed from `grants` when first needed.
    pub net: Option<Arc<NetGrants>>,
    pub datagrams: super::net_udp::Budget,
    pub node: Option<Arc<NodeInfo>>,
    pub state: StateView,
    pub redactor: Redactor,
    pub wasi: LazyWasi,
    /// Calls of our own interfaces since they were last counted.
    pub host_calls: u64,
    pub http: LazyHttp,
    /// Holds back whatever changes something.
    pub dry_run: bool,
    /// Answers in the place of the network, or keeps what it answers.
    pub replay: Option<Replay>,
}

/// What a run is made of.
pub(super) struct RunSetup {
    pub timeout: Duration,
    pub length: Duration,
    pub memory: u64,
    pub grants: Arc<GrantsSpec>,
    pub node: Option<Arc<NodeInfo>>,
    pub state: Option<Arc<PluginState>>,
    pub dry_run: bool,
    pub fuel: usize,
}

/// A store for one run whose deadline begins now.
pub(super) fn new_store(engine: &Engine, shared: &Arc<Shared>, setup: RunSetup) -> Store<RunData> {
    let mut table = ResourceTable::new();
    table.set_max_capacity(MAX_HANDLES);
    let mut store = Store::new(
        engine,
        RunData {
            shared: Arc::clone(shared),
            waits: Waits {
                timeout: setup.timeout,
                deadline: Instant::now() + setup.length,
                length: setup.length,
            },
            pace: Pace::new(),
            limiter: Limiter::new(setup.memory),
            log: RunLog::default(),
            table,
            state: StateView::new(setup.state, setup.grants.state),
            grants: setup.grants,
            net: None,
            datagrams: super::net_udp::Budget::default(),
            node: setup.node,
            redactor: Redactor::default(),
            wasi: LazyWasi::default(),
            host_calls: 0,
            http: LazyHttp::default(),
            dry_run: setup.dry_run,
            replay: None,
        },
    );
    store.limiter(|data| &mut data.limiter);
    store.set_hostcall_fuel(setup.fuel);
    store.epoch_deadline_callback(|mut context| {
        context.data_mut().ticked(Instant::now())?;
        Ok(UpdateDeadline::Yield(1))
    });
    store.set_epoch_deadline(1);
    store
}

impl RunData {
    /// Looks at the deadline while the guest computes.
    fn ticked(&mut self, now: Instant) -> Result<(), Stop> {
        let away = now - std::mem::replace(&mut self.pace.seen, now);
        let waits = &mut self.waits;
        if let Some(lent) = self.pace.lent.get() {
            waits.deadline = *lent;
        }
        if now < waits.deadline {
            return Ok(());
        }
        let lent = now + waits.slack();
        if away < UNSEEN || self.pace.lent.set(lent).is_err() {
            return Err(Stop::Deadline(waits.length));
        }
        waits.deadline = lent;
        Ok(())
    }

    /// The end of the run for what waits outside of our own host calls.
    pub fn bound(&self) -> Bound {
        Bound {
            waits: self.waits,
            lent: Arc::clone(&self.pace.lent),
        }
    }

    /// A run's result, unless the engine's own machine failed it: nothing is
    /// known of the target then. What `succeeded` all the same is believed.
    pub fn unless_own_fault<T>(
        &self,
        result: wasmtime::Result<T>,
        succeeded: impl FnOnce(&T) -> bool,
    ) -> wasmtime::Result<T> {
        match (result, self.http.own_fault()) {
            (Ok(answer), Some(_)) if succeeded(&answer) => Ok(answer),
            (_, Some(fault)) => Err(Stop::Host(fault).into()),
            (result, None) => result,
        }
    }
}

/// A guest that computes is looked at every tick. One that was not seen for this
/// long waited until then, on its target or for a processor: if its deadline
/// passed meanwhile, the engine is what is late. It gets the time for computing
/// that its deadline has beyond the wait, once, to say what it found.
const UNSEEN: Duration = Duration::from_millis(20);

/// Time between the deadline and the end of waits that are not ours: the epoch
/// callback ends a computing guest before that, so what is left then waits.
const GRACE: Duration = Duration::from_millis(20);

/// The end of a run, as it was and as it is where the guest was lent time.
pub(super) struct Bound {
    waits: Waits,
    lent: Arc<OnceLock<Instant>>,
}

/// Bounds a run whose guest may wait in WASI, which knows no deadline of ours.
pub(super) async fn bounded<T>(
    bound: Bound,
    running: impl Future<Output = wasmtime::Result<T>>,
) -> wasmtime::Result<T> {
    let mut running = pin!(running);
    let Bound { waits, lent } = bound;
    let mut until = waits.deadline;
    loop {
        let end = until + GRACE;
        if let Ok(result) = tokio::time::timeout_at(end, &mut running).await {
            return result;
        }
        let now = Instant::now();
        if now >= end + UNSEEN {
            // This timer is late, and so was the guest.
            lent.get_or_init(|| now + waits.slack());
        }
        match lent.get() {
            Some(lent) if *lent > until => until = *lent,
            _ => return Err(Stop::Wasi(waits.length).into()),
        }
    }
}

/// How a run ended that gave no answer.
#[derive(Debug)]
pub(super) enum End {
    /// The target did not answer until the deadline.
    Target(Phase),
    Fault(Fault),
}

/// Reads the end of a run out of wasmtime's error.
pub(super) fn classify(error: &wasmtime::Error, data: &RunData) -> End {
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return match stop {
            Stop::Target(phase) => End::Target(*phase),
            Stop::Host(what) => End::Fault(Fault::new(FaultKind::Engine, what.clone())),
            Stop::Wasi(_) if data.has_socket() => End::Target(Phase::Receive),
            // A disk that hangs, or a command, is no crash of the plugin.
            Stop::Waiting(..) => {
                End::Fault(Fault::new(FaultKind::Engine, format!("the run {stop}")))
            }
            Stop::Command(_) => {
                End::Fault(Fault::new(FaultKind::Failed, format!("the plugin {stop}")))
            }
            Stop::Deadline(_) | Stop::Wasi(_) => End::Fault(Fault::new(
                FaultKind::Deadline,
                format!("the plugin {stop}{}", frames(error)),
            )),
        };
    }
    if let Some(refused) = &data.limiter.refused {
        return End::Fault(Fault::new(FaultKind::Limit, refused.clone()));
    }
    if let Some(full) = error.downcast_ref::<PoolConcurrencyLimitError>() {
        return End::Fault(Fault::new(
            FaultKind::Engine,
            format!(
                "too many runs in flight: {full}; lower engine.max_in_flight or raise vm.max_map_count"
            ),
        ));
    }
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return End::Fault(Fault::new(
            FaultKind::Trap,
            format!(
                "the plugin ended its program with exit code {} instead of answering",
                exit.0
            ),
        ));
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        let what = match trap {
            Trap::StackOverflow => "stack overflow".to_owned(),
            Trap::UnreachableCodeReached => "the plugin gave up (unreachable)".to_owned(),
            trap => trap.to_string(),
        };
        let said = data
            .log
            .last_error()
            .map(|text| format!(": {text}"))
            .unwrap_or_default();
        return End::Fault(Fault::new(
            FaultKind::Trap,
            format!("{what}{said}{}", frames(error)),
        ));
    }
    let root = error.root_cause().to_string();
    if root.contains("fuel allocated for hostcalls") {
        return End::Fault(Fault::new(
            FaultKind::Limit,
            "output: the plugin handed over more in one call than the limit of 1 MiB (8 MiB for log parsers)",
        ));
    }
    End::Fault(Fault::new(
        FaultKind::Trap,
        format!("the plugin broke the contract: {root}{}", frames(error)),
    ))
}

/// The first named frames of the guest's stack.
fn frames(error: &wasmtime::Error) -> String {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else {
        return String::new();
    };
    let mut text = String::new();
    for frame in trace.frames() {
        let symbol = frame.symbols().first();
        let Some(name) = symbol.and_then(|s| s.name()).or_else(|| frame.func_name()) else {
            continue;
        };
        // Machinery of panics says nothing about the plugin.
        let name = rustc_demangle_short(name);
        if text.matches(" < ").count() >= 3 {
            break;
        }
        text.push_str(if text.is_empty() { " at " } else { " < " });
        text.extend(name.chars().take(100));
        if let Some((file, line)) = symbol.and_then(|s| Some((s.file()?, s.line()?))) {
            text.push_str(&format!(
                " ({}:{line})",
                file.rsplit('/').next().unwrap_or(file)
            ));
        }
    }
    text
}

/// A demangled Rust name without its hash.
fn rustc_demangle_short(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((short, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            short
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::super::host::tests::{TestInner, inner};
    use super::*;

    fn data(test: &TestInner, timeout_ms: u64, length_ms: u64) -> RunData {
        let setup = RunSetup {
            timeout: Duration::from_millis(timeout_ms),
            length: Duration::from_millis(length_ms),
            memory: 1 << 20,
            grants: Arc::default(),
            node: None,
            state: None,
            dry_run: false,
            fuel: HOSTCALL_FUEL,
        };
        test.inner.store(setup).into_data()
    }

    #[tokio::test]
    async fn a_noted_fault_of_the_engine_ends_every_wait_but_a_success() {
        let test = inner();
        let noted = Progress::new(Phase::Connect);
        noted.note(&rustix::io::Errno::MFILE.into());
        let waits = data(&test, 20, 60_000).waits;
        let over = Waits {
            deadline: Instant::now(),
            ..waits
        };
        let found = waits.on_target(&noted, async { Ok(1) }).await.unwrap();
        assert!(matches!(found, Ok(1)));
        let wait = || std::future::pending::<Result<(), NetError>>();
        let refused = async { Err(NetError::Refused) };
        for result in [
            waits.on_target(&noted, refused).await,
            waits.on_target(&noted, wait()).await,
            over.on_target(&noted, wait()).await,
        ] {
            let error = result.unwrap_err();
            let stop = error.downcast_ref::<Stop>();
            assert!(matches!(stop, Some(Stop::Host(what)) if what.contains("open files")));
        }
        // Without a note the target is what did not answer.
        let quiet = Progress::new(Phase::Connect);
        let found = waits.on_target(&quiet, wait()).await.unwrap();
        assert!(matches!(found, Err(NetError::Timeout(Phase::Connect))));
        let error = over.on_target(&quiet, wait()).await.unwrap_err();
        let stop = error.downcast_ref::<Stop>();
        assert!(matches!(stop, Some(Stop::Target(Phase::Connect))));
    }

    #[tokio::test]
    async fn a_guest_that_was_not_seen_is_lent_time_once_and_in_every_call() {
        let test = inner();
        let mut data = data(&test, 400, 900);
        let begun = Instant::now();
        let at = |ms: u64| begun + Duration::from_millis(ms);
        data.waits.deadline = at(900);
        data.pace.seen = begun;
        let bound = data.bound();
        // Seen at every tick and late: its own fault.
        data.ticked(at(899)).unwrap();
        assert!(matches!(data.ticked(at(901)), Err(Stop::Deadline(_))));
        // Not seen for long: as much time as it has beyond its wait.
        data.pace.seen = at(500);
        data.ticked(at(1_000)).unwrap();
        assert_eq!(data.waits.deadline, at(1_500));
        assert_eq!(bound.lent.get(), Some(&at(1_500)));
        data.pace.seen = at(1_400);
        assert!(matches!(data.ticked(at(1_500)), Err(Stop::Deadline(_))));
        // The next call of a guest that lives on begins anew.
        data.waits.deadline = at(2_000);
        data.pace = Pace::new();
        data.pace.seen = at(1_900);
        data.ticked(at(2_000)).unwrap();
    }

    #[tokio::test]
    async fn what_waits_elsewhere_is_lent_the_same_time() {
        let test = inner();
        let bound = |data: &RunData| data.bound();
        let mut lent = data(&test, 0, 200);
        lent.waits.deadline = Instant::now();
        let wait = bound(&lent);
        // Ticked late, as above: the bound beside it must not end the run.
        lent.pace.seen = Instant::now() - Duration::from_secs(1);
        let slow = async {
            lent.ticked(Instant::now())?;
            tokio::time::sleep(GRACE + Duration::from_millis(60)).await;
            Ok(7)
        };
        assert_eq!(bounded(wait, slow).await.unwrap(), 7);
        // A timer that is late itself.
        let mut late = data(&test, 0, 200);
        late.waits.deadline = Instant::now();
        let wait = bound(&late);
        let starved = async {
            std::thread::sleep(GRACE + UNSEEN + Duration::from_millis(20));
            tokio::task::yield_now().await;
            Ok(8)
        };
        assert_eq!(bounded(wait, starved).await.unwrap(), 8);
        late.waits.deadline = Instant::now();
        let wait = bound(&late);
        let error = bounded(wait, std::future::pending::<wasmtime::Result<()>>()).await;
        let error = error.unwrap_err();
        assert!(matches!(error.downcast_ref::<Stop>(), Some(Stop::Wasi(_))));
    }

    #[test]
    fn only_a_success_is_believed_beside_a_fault_of_the_engine() {
        let test = inner();
        let mut data = data(&test, 100, 200);
        let fine = |answer: &u8| *answer == 0;
        assert_eq!(data.unless_own_fault(Ok(3), fine).unwrap(), 3);
        super::super::wasi_http::tests::own_fault(&mut data, "no files left");
        assert_eq!(data.unless_own_fault(Ok(0), fine).unwrap(), 0);
        for result in [Ok(3), Err(Trap::UnreachableCodeReached.into())] {
            let error = data.unless_own_fault(result, fine).unwrap_err();
            let End::Fault(fault) = classify(&error, &data) else {
                panic!("{error:?}")
            };
            assert_eq!(
                (fault.kind, &*fault.text),
                (FaultKind::Engine, "no files left")
            );
        }
    }

    #[tokio::test]
    async fn a_command_that_takes_long_is_no_crash() {
        let test = inner();
        let data = data(&test, 100, 200);
        let ended = |stop: Stop| match classify(&stop.into(), &data) {
            End::Fault(fault) => fault.kind,
            End::Target(phase) => panic!("{phase:?}"),
        };
        let second = Duration::from_secs(1);
        assert_eq!(ended(Stop::Command(second)), FaultKind::Failed);
        assert_eq!(ended(Stop::Waiting("a file", second)), FaultKind::Engine);
        assert_eq!(ended(Stop::Deadline(second)), FaultKind::Deadline);
        assert_eq!(ended(Stop::Wasi(second)), FaultKind::Deadline);
    }
}
