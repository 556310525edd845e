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
use wasmtime::{Engine, PoolConcurrencyLimitError, Store, Trap, UpdateDeadline, WasmBacktrace};

use super::backtrace::{backtrace, frames};
use super::bindings::bellwether::plugin::net::{Error as NetError, Phase};
use super::grants::NetGrants;
use super::host::Shared;
use super::limiter::{Limiter, no_room};
use super::log::RunLog;
use super::replay::Replay;
use super::secrets::Redactor;
use super::state::StateView;
use super::waited::Waited;
use super::wasi::LazyWasi;
use super::wasi_http::LazyHttp;
use super::watch::Watch;
use crate::check::outcome::{Fault, FaultKind, NodeInfo, PluginState};
use crate::config::spec::GrantsSpec;
use crate::pipeline::quarantine::is_crash;

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

/// When the guest was last seen computing, and what is told of it outside.
#[derive(Debug)]
pub(super) struct Pace {
    seen: Instant,
    outside: Arc<Outside>,
}

/// What a run and the bound around it know of each other.
#[derive(Debug, Default)]
struct Outside {
    /// The end of a run that its machine was late for.
    lent: OnceLock<Instant>,
    /// How long the guest had nothing to compute.
    waited: Waited,
}

impl Pace {
    pub fn new() -> Self {
        Self {
            seen: Instant::now(),
            outside: Arc::default(),
        }
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
    /// Somebody looks on.
    pub watch: Option<Watch>,
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
            watch: None,
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
        if let Some(lent) = self.pace.outside.lent.get() {
            waits.deadline = *lent;
        }
        if now < waits.deadline {
            return Ok(());
        }
        let lent = now + waits.slack();
        if away < UNSEEN || self.pace.outside.lent.set(lent).is_err() {
            return Err(Stop::Deadline(waits.length));
        }
        waits.deadline = lent;
        Ok(())
    }

    /// The end of the run for what waits outside of our own host calls.
    pub fn bound(&self) -> Bound {
        Bound {
            waits: self.waits,
            outside: Arc::clone(&self.pace.outside),
        }
    }

    /// True where the guest waited for half of its time or longer and had a
    /// target to wait on: it looked at its socket again and again, in waits of
    /// its own that were too short to be ended.
    fn waited_on_target(&self) -> bool {
        self.pace.outside.waited.total() >= self.waits.length / 2 && self.had_target()
    }

    /// A run's result, unless the engine's own machine failed it: nothing is
    /// known of the target then. What `succeeded` all the same is believed.
    pub fn unless_own_fault<T>(
        &self,
        result: wasmtime::Result<T>,
        succeeded: impl FnOnce(&T) -> bool,
    ) -> wasmtime::Result<T> {
        match result {
            Ok(answer) if succeeded(&answer) => Ok(answer),
            result => match self.http.own_fault().or_else(|| self.socket_trouble()) {
                Some(fault) => Err(Stop::Host(fault).into()),
                None => result,
            },
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
    outside: Arc<Outside>,
}

/// Bounds a run whose guest may wait in WASI, which knows no deadline of ours.
pub(super) async fn bounded<T>(
    bound: Bound,
    running: impl Future<Output = wasmtime::Result<T>>,
) -> wasmtime::Result<T> {
    let Bound { waits, outside } = bound;
    let lent = &outside.lent;
    let mut running = pin!(outside.waited.during(running));
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
            Stop::Deadline(_) if data.waited_on_target() => End::Target(Phase::Receive),
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
    if let Some(trouble) = no_room(error) {
        return End::Fault(Fault::new(FaultKind::Engine, trouble));
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
            .last_error(&data.redactor)
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

/// The same, with the guest's stack in the run's log where the guest is to blame.
pub(super) fn ended(error: &wasmtime::Error, data: &mut RunData) -> End {
    let end = classify(error, data);
    if let End::Fault(fault) = &end
        && is_crash(fault.kind)
        && let Some(trace) = error.downcast_ref::<WasmBacktrace>()
        && !trace.frames().is_empty()
    {
        data.log.push("error", &backtrace(trace));
    }
    end
}

#[cfg(test)]
mod tests;
