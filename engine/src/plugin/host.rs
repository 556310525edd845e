//! The plugin host: loads plugins and runs them under their grants and limits,
//! on a runtime of their own.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use ipnet::IpNet;
use parking_lot::{Mutex, RwLock};
use rustls_pki_types::CertificateDer;
use tokio::runtime::{Handle, Runtime};
use tokio::task::block_in_place;
use wasmtime::Store;

use super::blocking::Blocking;
use super::cache::{Files, short};
use super::catalogue::{
    Candidate, Catalogue, Entry, InstallError, InstallPhase, Installed, Linked,
};
use super::compile::{Compiler, CompilerConfig};
use super::crash::Crashes;
use super::egress::Egress;
use super::engine::WasmEngine;
use super::guests::Guests;
use super::kind::Kind;
use super::manifest::Manifest;
use super::program::{Program, manifest};
use super::quarantine::Gate;
use super::resolve::{self, Resolve};
use super::run::{End, HOSTCALL_FUEL, RunData, RunSetup, bounded, classify, new_store};
use super::tls::Tls;
use super::watch::Beside;
use crate::check::outcome::{
    ActionJob, ActionOutcome, Digest, Fault, FaultKind, Job, Outcome, RunLimits,
};
use crate::clock::SharedClock;
use crate::config::spec::{GrantsSpec, SecretSource, Spec};

/// Threads that run guests. Two, so that one guest between two epochs does not
/// hold up all others.
const GUEST_THREADS: usize = 2;
/// Bounds of `describe`, which runs without grants.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(5);
const DESCRIBE_MEMORY: u64 = 64 << 20;

/// What can change while runs are in flight.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Networks that nothing may reach, whatever was granted.
    pub deny: Vec<IpNet>,
    /// Argv by name.
    pub commands: BTreeMap<String, Vec<String>>,
    pub secrets: BTreeMap<String, SecretSource>,
    /// Folders that plugins may be let into, by name.
    pub files: BTreeMap<String, PathBuf>,
}

impl Settings {
    /// From the configuration.
    ///
    /// # Errors
    /// Names the key and what was expected.
    pub fn from_spec(spec: &Spec) -> Result<Self, String> {
        let mut deny = Vec::with_capacity(spec.egress.deny.len());
        for (index, text) in spec.egress.deny.iter().enumerate() {
            let network = text
                .parse::<IpNet>()
                .or_else(|error| text.parse::<std::net::IpAddr>().map(IpNet::from).map_err(|_| error))
                .map_err(|_| format!("egress.deny[{index}]: expected a network such as 169.254.0.0/16, found {text:?}"))?;
            deny.push(network.trunc());
        }
        for (name, argv) in &spec.commands {
            super::command::validate_argv(argv)
                .map_err(|error| format!("commands.{name}: {error}"))?;
        }
        let mut files = BTreeMap::new();
        for (name, path) in &spec.files {
            super::files::validate_root(path).map_err(|error| format!("files.{name}: {error}"))?;
            files.insert(name.clone(), PathBuf::from(path));
        }
        Ok(Self {
            files,
            deny,
            commands: spec.commands.clone(),
            secrets: spec.secrets.clone(),
        })
    }
}

/// What a host is built from.
pub struct HostConfig {
    /// Plugins are kept in `plugins` below it.
    pub data_dir: PathBuf,
    /// Native code; made with mode 0700 and refused where others can write it.
    pub cache_dir: PathBuf,
    pub compiler: CompilerConfig,
    /// Runs that may be in flight; see [`Host::capacity`].
    pub max_in_flight: u32,
    /// Greatest memory limit of a run, in bytes.
    pub max_memory: u64,
    pub settings: Settings,
    /// The system's where absent.
    pub resolver: Option<Arc<dyn Resolve>>,
    /// Certificate authorities trusted beside the system's.
    pub extra_roots: Vec<CertificateDer<'static>>,
    pub clock: SharedClock,
}

/// What runs share.
pub(super) struct Shared {
    settings: RwLock<Arc<Settings>>,
    resolver: Arc<dyn Resolve>,
    pub tls: Arc<Tls>,
    pub guests: Guests,
    pub blocking: Blocking,
    pub clock: SharedClock,
    pub gate: Gate,
    pub crashes: Crashes,
}

impl Shared {
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read())
    }

    /// The egress rules as they are now.
    pub fn egress(&self) -> Egress {
        Egress {
            settings: self.settings(),
            resolver: Arc::clone(&self.resolver),
        }
    }
}

pub(super) struct Inner {
    pub catalogue: Catalogue,
    pub shared: Arc<Shared>,
}

/// The plugin host. Cheap to share behind an `Arc`; every call may be made from
/// any runtime.
pub struct Host {
    pub(super) inner: Arc<Inner>,
    guests: Guests,
    /// Runs for which there are file descriptors.
    descriptors: u32,
    runtime: Mutex<Option<Runtime>>,
}

impl Host {
    /// A host with its engine, its ticker and its runtime.
    ///
    /// # Errors
    /// What is missing or unsafe, in plain words: a folder, a thread, an engine.
    pub fn new(config: HostConfig) -> Result<Self, String> {
        let files = Files::open(&config.data_dir, &config.cache_dir)?;
        let descriptors = super::descriptors::raise();
        let wasm = WasmEngine::new(config.max_in_flight.min(descriptors), config.max_memory)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(GUEST_THREADS)
            .thread_name("guest")
            .enable_all()
            .build()
            .map_err(|error| format!("the runtime of the plugins does not start: {error}"))?;
        let guests = Guests::new(runtime.handle().clone());
        let shared = Shared {
            settings: RwLock::new(Arc::new(config.settings)),
            resolver: config.resolver.unwrap_or_else(resolve::system),
            tls: Arc::new(Tls::new(config.extra_roots)),
            guests: guests.clone(),
            blocking: Blocking::default(),
            clock: config.clock,
            gate: Gate::default(),
            crashes: Crashes::default(),
        };
        let catalogue = Catalogue::new(wasm, Compiler::new(config.compiler), files)?;
        Ok(Self {
            inner: Arc::new(Inner {
                catalogue,
                shared: Arc::new(shared),
            }),
            guests,
            descriptors,
            runtime: Mutex::new(Some(runtime)),
        })
    }

    /// Runs that fit at the same time, by memory mappings and file descriptors;
    /// beyond it a run ends as an engine fault.
    pub fn capacity(&self) -> u32 {
        self.inner.catalogue.wasm.capacity.min(self.descriptors)
    }

    /// The guests' runtime. A task spawned there calls [`Host::run_probe`]
    /// without crossing threads.
    pub fn handle(&self) -> &Handle {
        self.guests.handle()
    }

    /// Replaces deny list, commands, secrets and folders; runs that begin after this use
    /// them.
    pub fn reconfigure(&self, settings: Settings) {
        *self.inner.shared.settings.write() = Arc::new(settings);
    }

    /// Takes a plugin in: compiles, checks, describes and stores it. `phase`
    /// hears of the progress.
    ///
    /// # Errors
    /// Why it is not taken; nothing is kept then.
    pub async fn install(
        &self,
        bytes: Vec<u8>,
        phase: impl Fn(InstallPhase) + Send + Sync + 'static,
    ) -> Result<Installed, InstallError> {
        let inner = Arc::clone(&self.inner);
        self.guests
            .run(async move { inner.install(&bytes, &phase).await })
            .await
            .unwrap_or_else(|| Err(ended()))
    }

    /// Loads a stored plugin, compiling it again where the cache does not have
    /// it. Quick where it is loaded already.
    ///
    /// # Errors
    /// Why it is not there or does not load.
    pub async fn load(&self, digest: &Digest) -> Result<Installed, InstallError> {
        if let Some(known) = self.inner.catalogue.get(digest) {
            return Ok(known.installed().clone());
        }
        let (inner, digest) = (Arc::clone(&self.inner), digest.clone());
        let load = async move {
            let bytes = block_in_place(|| inner.catalogue.stored(&digest))?;
            inner.take_in(digest, &bytes, &|_| {}).await
        };
        self.guests.run(load).await.unwrap_or_else(|| Err(ended()))
    }

    /// Removes a plugin from memory and disk.
    ///
    /// # Errors
    /// Where a file cannot be removed.
    pub fn remove(&self, digest: &Digest) -> Result<(), InstallError> {
        self.inner.catalogue.remove(digest)
    }

    /// What a loaded plugin says of itself.
    pub fn describe(&self, digest: &Digest) -> Option<Installed> {
        self.inner
            .catalogue
            .get(digest)
            .map(|known| known.installed().clone())
    }

    /// Gives a command plugin, which has no manifest, the name it is kept under;
    /// its programs see it as their own. Other plugins have a name.
    pub fn named(&self, installed: Installed, name: &str) -> Installed {
        let named = self.inner.catalogue.name_program(&installed.digest, name);
        named.unwrap_or(installed)
    }

    /// What each loaded plugin cost.
    pub fn costs(&self) -> super::Costs {
        self.inner.catalogue.costs.clone()
    }

    /// Requests of runs that crashed.
    pub fn crashes(&self) -> Crashes {
        self.inner.shared.crashes.clone()
    }

    /// Every loaded plugin, by name.
    pub fn loaded(&self) -> Vec<Installed> {
        self.inner.catalogue.all()
    }

    /// Runs a check with a recording in the place of the network or beside it,
    /// or with somebody who looks on. Never fails, as [`Host::run_probe`].
    pub async fn rehearse(&self, job: Job, beside: Beside) -> Outcome {
        let (inner, spare) = (Arc::clone(&self.inner), job.clone());
        let run = async move { inner.run_probe(job, beside).await };
        match self.guests.run(run).await {
            Some(outcome) => outcome,
            None => self.inner.lost_probe(spare),
        }
    }

    /// Runs a check. Never fails: whatever goes wrong is in the outcome.
    pub async fn run_probe(&self, job: Job) -> Outcome {
        let spare = job.clone();
        if self.guests.is_here() {
            // A panic of the host must not take the run's end with it: the
            // series would wait for it for ever.
            let run = AssertUnwindSafe(self.inner.run_probe(job, Beside::default())).catch_unwind();
            return match run.await {
                Ok(outcome) => outcome,
                Err(_) => self.inner.lost_probe(spare),
            };
        }
        let inner = Arc::clone(&self.inner);
        let run = async move { inner.run_probe(job, Beside::default()).await };
        match self.guests.run(run).await {
            Some(outcome) => outcome,
            None => self.inner.lost_probe(spare),
        }
    }

    /// Runs an action.
    pub async fn run_action(&self, job: ActionJob) -> ActionOutcome {
        let (id, started) = (job.id, self.inner.shared.clock.now());
        let inner = Arc::clone(&self.inner);
        match self
            .guests
            .run(async move { inner.run_action(job).await })
            .await
        {
            Some(outcome) => outcome,
            None => super::action::lost(id, started, self.inner.shared.clock.now()),
        }
    }

    /// A parser for one log source.
    ///
    /// # Errors
    /// A fault of kind plugin, config or whatever the guest did.
    pub async fn new_parser(
        &self,
        digest: &Digest,
        config: Arc<str>,
        limits: RunLimits,
    ) -> Result<super::parser::ParserInstance, Fault> {
        let (inner, digest) = (Arc::clone(&self.inner), digest.clone());
        self.guests
            .run(async move { inner.new_parser(&digest, &config, limits).await })
            .await
            .unwrap_or_else(|| Err(Fault::new(FaultKind::Engine, "the plugin host has ended")))
    }

    /// Sends a notification.
    pub async fn notify(&self, job: super::notifier::NotifyJob) -> super::notifier::NotifyOutcome {
        let inner = Arc::clone(&self.inner);
        match self
            .guests
            .run(async move { inner.notify(job).await })
            .await
        {
            Some(outcome) => outcome,
            None => Err(super::notifier::NotifyFailure::Fault(Fault::new(
                FaultKind::Engine,
                "the plugin host has ended",
            ))),
        }
    }

    /// Times of that many bare runs of a probe, one after the other: a store
    /// without limits, instantiate, call. The yardstick for `run_probe`.
    #[doc(hidden)]
    pub async fn bare_runs(&self, digest: &Digest, runs: usize) -> Vec<Duration> {
        self.inner.bare_runs(digest, runs).await.unwrap_or_default()
    }

    /// Ends the host: runs in flight are dropped, later ones are engine faults.
    /// Does not block and may be called anywhere.
    pub fn shutdown(&self) {
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.shutdown();
    }
}

fn ended() -> InstallError {
    InstallError::Engine("the plugin host has ended".into())
}

impl Inner {
    async fn install(
        &self,
        bytes: &[u8],
        phase: &(dyn Fn(InstallPhase) + Send + Sync),
    ) -> Result<Installed, InstallError> {
        let digest = block_in_place(|| super::digest::of(bytes));
        self.take_in(digest, bytes, phase).await
    }

    /// Takes in bytes of which the digest is known.
    async fn take_in(
        &self,
        digest: Digest,
        bytes: &[u8],
        phase: &(dyn Fn(InstallPhase) + Send + Sync),
    ) -> Result<Installed, InstallError> {
        if let Some(known) = self.catalogue.get(&digest) {
            return Ok(known.installed().clone());
        }
        let candidate = self.catalogue.prepare(digest, bytes, phase).await?;
        phase(InstallPhase::Describing);
        let manifest = self
            .describe(&candidate)
            .await
            .map_err(InstallError::Describe)?;
        block_in_place(|| self.catalogue.finish(candidate, manifest, bytes))
    }

    async fn describe(&self, candidate: &Candidate) -> Result<Manifest, String> {
        use super::bindings::bellwether::plugin::types::Manifest as Raw;
        let (pre, exports) = match &candidate.linked {
            Linked::Plugin { pre, exports, .. }
            | Linked::Program(Program::Component { pre, exports, .. }) => (pre, exports),
            Linked::Program(Program::Module(_)) => return Ok(manifest(&candidate.digest)),
        };
        let setup = RunSetup {
            timeout: DESCRIBE_TIMEOUT,
            length: DESCRIBE_TIMEOUT,
            memory: DESCRIBE_MEMORY.min(self.catalogue.wasm.max_memory),
            grants: Arc::new(GrantsSpec::default()),
            node: None,
            state: None,
            dry_run: true,
            fuel: HOSTCALL_FUEL,
        };
        let mut store = new_store(&self.catalogue.wasm.engine, &self.shared, setup);
        let bound = store.data().bound();
        let describing = async {
            let instance = pre.instantiate_async(&mut store).await?;
            super::types::check(exports, &instance, &mut store)?;
            if exports.kind == Kind::Command {
                return Ok(None);
            }
            let describe =
                instance.get_typed_func::<(), (Raw,)>(&mut store, exports.function(0)?)?;
            describe.call_async(&mut store, ()).await.map(Some)
        };
        // WASI's waits know no deadline of ours.
        match bounded(bound, describing).await {
            Ok(Some((raw,))) => Manifest::check(raw),
            Ok(None) => Ok(manifest(&candidate.digest)),
            Err(error) => Err(match classify(&error, store.data()) {
                End::Fault(fault) => fault.text,
                End::Target(phase) => format!("timed out in {}", super::run::phase_name(phase)),
            }),
        }
    }

    /// What is loaded and may run in a role: a plugin of that kind, or a program
    /// in any role but that of a notifier.
    ///
    /// # Errors
    /// The fault that says what is wrong, or that the plugin is held.
    pub fn entry(&self, digest: &Digest, role: Kind) -> Result<Entry, Fault> {
        self.shared.gate.admit(digest, role, &*self.shared.clock)?;
        self.known(digest, role)
    }

    /// A loaded plugin for a run that somebody looks at: to find out why it
    /// crashes it must run, though it is held back for that.
    pub fn entry_watched(&self, digest: &Digest, role: Kind) -> Result<Entry, Fault> {
        self.shared.gate.admit_watched(digest)?;
        self.known(digest, role)
    }

    fn known(&self, digest: &Digest, role: Kind) -> Result<Entry, Fault> {
        let found = match self.catalogue.get(digest) {
            None => format!("the plugin {} is not loaded", short(digest)),
            Some(Entry::Plugin(loaded)) if loaded.exports.kind == role => {
                return Ok(Entry::Plugin(loaded));
            }
            Some(Entry::Program(loaded)) if role != Kind::Notifier => {
                return Ok(Entry::Program(loaded));
            }
            Some(entry) => format!(
                "expected a {}, found that {} is a {}",
                role.as_str(),
                entry.installed().manifest.name,
                entry.installed().kind.as_str()
            ),
        };
        Err(Fault::new(FaultKind::Plugin, found))
    }

    /// A store under a run's limits.
    pub fn store(&self, setup: RunSetup) -> Store<RunData> {
        let memory = setup.memory.min(self.catalogue.wasm.max_memory);
        new_store(
            &self.catalogue.wasm.engine,
            &self.shared,
            RunSetup { memory, ..setup },
        )
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::clock::SystemClock;

    /// A host's inside, and what keeps it alive.
    pub struct TestInner {
        pub inner: Arc<Inner>,
        host: Host,
        _dir: tempfile::TempDir,
    }

    impl std::ops::Deref for TestInner {
        type Target = Host;
        fn deref(&self) -> &Host {
            &self.host
        }
    }

    /// A small host on temporary folders, without a compiler.
    pub fn inner() -> TestInner {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::new(HostConfig {
            data_dir: dir.path().to_owned(),
            cache_dir: dir.path().join("code"),
            compiler: CompilerConfig {
                exe: "/nonexistent".into(),
                timeout: Duration::from_secs(1),
                max_size: 1 << 20,
            },
            max_in_flight: 64,
            max_memory: 64 << 20,
            settings: Settings::default(),
            resolver: None,
            extra_roots: Vec::new(),
            clock: Arc::new(SystemClock),
        })
        .unwrap();
        TestInner {
            inner: Arc::clone(&host.inner),
            host,
            _dir: dir,
        }
    }
}
