//! Plugins by digest: compiled, linked, described.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::task::block_in_place;
use utoipa::ToSchema;
use wasmtime::Store;
use wasmtime::component::{
    Component, ComponentNamedList, HasSelf, InstancePre, Lift, Linker, Lower,
};

use super::bindings::bellwether::plugin as interfaces;
use super::cache::{Files, Load, deserialize, deserialize_module, short};
use super::compile::{Compiler, Form};
use super::cost::{Cost, Costs, metered};
use super::engine::WasmEngine;
use super::kind::{self, Exports, Kind};
use super::manifest::Manifest;
use super::program::{self, Program};
use super::run::{RunData, bounded};
use crate::check::outcome::Digest;

/// What an upload is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum InstallPhase {
    Received,
    Compiling,
    Describing,
}

/// A plugin that is ready to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Installed {
    pub digest: Digest,
    pub kind: Kind,
    pub manifest: Arc<Manifest>,
    /// Bytes of the component or module.
    pub size: u64,
    /// Milliseconds of compilation; 0 where the compiled code was cached.
    pub compile_ms: u64,
}

/// Why a plugin is not taken. The texts are for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstallError {
    /// The file is nothing that this engine could run.
    #[error("{0}")]
    Refused(String),
    /// It does not say what it is: `describe` failed or its manifest is wrong.
    #[error("describe: {0}")]
    Describe(String),
    /// The engine could not keep it.
    #[error("{0}")]
    Engine(String),
}

/// A compiled and linked plugin with an interface of the contract.
pub(super) struct Loaded {
    pub installed: Installed,
    pub pre: InstancePre<RunData>,
    pub exports: Exports,
    /// True where waits happen outside of our own host calls.
    pub uses_wasi: bool,
    pub cost: Arc<Cost>,
}

/// How a run of a plugin ended.
pub(super) struct Ran<R> {
    pub result: wasmtime::Result<R>,
    pub data: RunData,
    /// Time without waits.
    pub busy: Duration,
}

impl Loaded {
    /// Calls a function of the plugin's interface, by its place in
    /// [`Kind::functions`], on an instance of its own.
    pub async fn run<P, R>(&self, mut store: Store<RunData>, place: usize, params: P) -> Ran<R>
    where
        P: ComponentNamedList + Lower + Send,
        R: ComponentNamedList + Lift + Send + 'static,
    {
        let bound = store.data().bound();
        let running = async {
            let instance = self.pre.instantiate_async(&mut store).await?;
            let function =
                instance.get_typed_func::<P, R>(&mut store, self.exports.function(place)?)?;
            function.call_async(&mut store, params).await
        };
        let (result, busy) = metered(async {
            if self.uses_wasi {
                bounded(bound, running).await
            } else {
                running.await
            }
        })
        .await;
        let mut data = store.into_data();
        data.collect_output();
        Ran { result, data, busy }
    }
}

/// A compiled and linked command plugin.
pub(super) struct LoadedProgram {
    pub installed: Installed,
    pub program: Program,
    pub cost: Arc<Cost>,
}

/// Something in the catalogue.
#[derive(Clone)]
pub(super) enum Entry {
    Plugin(Arc<Loaded>),
    Program(Arc<LoadedProgram>),
}

impl Entry {
    pub fn installed(&self) -> &Installed {
        match self {
            Entry::Plugin(loaded) => &loaded.installed,
            Entry::Program(loaded) => &loaded.installed,
        }
    }
}

/// Compiled code with everything it imports.
pub(super) enum Linked {
    Plugin {
        pre: InstancePre<RunData>,
        exports: Exports,
        uses_wasi: bool,
    },
    Program(Program),
}

impl Linked {
    fn kind(&self) -> Kind {
        match self {
            Linked::Plugin { exports, .. } => exports.kind,
            Linked::Program(_) => Kind::Command,
        }
    }
}

/// Everything that is loaded, and the means to load more.
pub(super) struct Catalogue {
    pub wasm: WasmEngine,
    linker: Linker<RunData>,
    module_linker: wasmtime::Linker<RunData>,
    compiler: Compiler,
    files: Files,
    pub costs: Costs,
    loaded: RwLock<HashMap<Digest, Entry>>,
}

/// A plugin on its way into the catalogue.
pub(super) struct Candidate {
    pub digest: Digest,
    pub linked: Linked,
    size: u64,
    compile: Option<Duration>,
    code: Option<Vec<u8>>,
}

impl Catalogue {
    pub fn new(wasm: WasmEngine, compiler: Compiler, files: Files) -> Result<Self, String> {
        let unlinked = |error| format!("the host interfaces do not link: {error:#}");
        let module_linker = program::linker(&wasm.engine).map_err(unlinked)?;
        let linker = linker(&wasm).map_err(unlinked)?;
        Ok(Self {
            wasm,
            linker,
            module_linker,
            compiler,
            files,
            costs: Costs::default(),
            loaded: RwLock::default(),
        })
    }

    /// A loaded plugin.
    pub fn get(&self, digest: &Digest) -> Option<Entry> {
        self.loaded.read().get(digest).cloned()
    }

    /// Names a program, which cannot say its name itself; what it is then.
    pub fn name_program(&self, digest: &Digest, name: &str) -> Option<Installed> {
        let mut loaded = self.loaded.write();
        let Some(Entry::Program(known)) = loaded.get(digest) else {
            return None;
        };
        let installed = Installed {
            manifest: Arc::new(Manifest {
                name: name.to_owned(),
                ..(*known.installed.manifest).clone()
            }),
            ..known.installed.clone()
        };
        let named = LoadedProgram {
            installed: installed.clone(),
            program: known.program.clone(),
            cost: Arc::clone(&known.cost),
        };
        loaded.insert(digest.clone(), Entry::Program(Arc::new(named)));
        Some(installed)
    }

    /// Every loaded plugin.
    pub fn all(&self) -> Vec<Installed> {
        let mut all: Vec<Installed> = self
            .loaded
            .read()
            .values()
            .map(|entry| entry.installed().clone())
            .collect();
        all.sort_by(|a, b| (&a.manifest.name, &a.digest).cmp(&(&b.manifest.name, &b.digest)));
        all
    }

    /// Bytes of a stored plugin. Blocks on the disk.
    pub fn stored(&self, digest: &Digest) -> Result<Vec<u8>, InstallError> {
        self.files.plugin(digest).map_err(InstallError::Engine)
    }

    /// Compiles, checks and links. Nothing of the guest runs yet. To be called on
    /// the guests' runtime, whose other tasks move on while this one blocks.
    pub async fn prepare(
        &self,
        digest: Digest,
        bytes: &[u8],
        phase: &(dyn Fn(InstallPhase) + Send + Sync),
    ) -> Result<Candidate, InstallError> {
        let form = super::compile::check_header(bytes, self.compiler.max_size())
            .map_err(InstallError::Refused)?;
        phase(InstallPhase::Received);
        let started = Instant::now();
        let (linked, code) = match form {
            Form::Component => {
                let (component, code) = self.native(bytes, &digest, deserialize, phase).await?;
                (block_in_place(|| self.link_component(&component)), code)
            }
            Form::Module => {
                let (module, code) = self
                    .native(bytes, &digest, deserialize_module, phase)
                    .await?;
                let linked = block_in_place(|| Program::module(&self.module_linker, &module));
                (linked.map(Linked::Program), code)
            }
        };
        Ok(Candidate {
            digest,
            linked: linked.map_err(InstallError::Refused)?,
            size: bytes.len() as u64,
            compile: code.is_some().then(|| started.elapsed()),
            code,
        })
    }

    /// Native code from the cache, or from the compiler and with the bytes to be
    /// cached.
    async fn native<T>(
        &self,
        bytes: &[u8],
        digest: &Digest,
        load: Load<T>,
        phase: &(dyn Fn(InstallPhase) + Send + Sync),
    ) -> Result<(T, Option<Vec<u8>>), InstallError> {
        let engine = &self.wasm.engine;
        if let Some(cached) = block_in_place(|| self.files.cached(engine, digest, load)) {
            return Ok((cached, None));
        }
        phase(InstallPhase::Compiling);
        let code = self
            .compiler
            .compile(engine, bytes)
            .await
            .map_err(InstallError::Refused)?;
        let loaded = block_in_place(|| load(engine, &code))
            .map_err(|error| InstallError::Refused(pool_error(&error)))?;
        Ok((loaded, Some(code)))
    }

    fn link_component(&self, component: &Component) -> Result<Linked, String> {
        let engine = &self.wasm.engine;
        let exports = kind::exports(engine, component)?;
        kind::check_imports(engine, component)?;
        let pre = self.link(component).map_err(|error| {
            format!("imports something that this version of the engine does not have: {error:#}")
        })?;
        if exports.kind == Kind::Command {
            let program = Program::component(engine, component, pre, exports);
            return Ok(Linked::Program(program));
        }
        let uses_wasi = component
            .component_type()
            .imports(engine)
            .any(|(name, _)| name.starts_with("wasi:"));
        Ok(Linked::Plugin {
            pre,
            exports,
            uses_wasi,
        })
    }

    /// A component with everything it imports.
    pub fn link(&self, component: &Component) -> wasmtime::Result<InstancePre<RunData>> {
        self.linker.instantiate_pre(component)
    }

    /// Keeps a described plugin on disk and takes it into use. Blocks on the
    /// disk.
    pub fn finish(
        &self,
        candidate: Candidate,
        manifest: Manifest,
        bytes: &[u8],
    ) -> Result<Installed, InstallError> {
        let digest = candidate.digest;
        self.files.keep_plugin(&digest, bytes).map_err(|error| {
            InstallError::Engine(format!(
                "plugin {} cannot be stored as {}: {error}",
                short(&digest),
                self.files.plugin_path(&digest).display()
            ))
        })?;
        if let Some(code) = &candidate.code {
            self.files.keep_code(&self.wasm.engine, &digest, code);
        }
        let installed = Installed {
            digest: digest.clone(),
            kind: candidate.linked.kind(),
            manifest: Arc::new(manifest),
            size: candidate.size,
            compile_ms: candidate.compile.map_or(0, |time| time.as_millis() as u64),
        };
        let cost = self.costs.of(&digest);
        let entry = match candidate.linked {
            Linked::Plugin {
                pre,
                exports,
                uses_wasi,
            } => Entry::Plugin(Arc::new(Loaded {
                installed: installed.clone(),
                pre,
                exports,
                uses_wasi,
                cost,
            })),
            Linked::Program(program) => Entry::Program(Arc::new(LoadedProgram {
                installed: installed.clone(),
                program,
                cost,
            })),
        };
        self.loaded.write().insert(digest, entry);
        Ok(installed)
    }

    /// Forgets a plugin; runs in flight end as they would have.
    pub fn remove(&self, digest: &Digest) -> Result<(), InstallError> {
        self.loaded.write().remove(digest);
        self.costs.forget(digest);
        self.files.remove(digest).map_err(|error| {
            InstallError::Engine(format!(
                "plugin {} cannot be removed: {error}",
                short(digest)
            ))
        })
    }
}

/// Each call of an interface passes here once.
fn counted(data: &mut RunData) -> &mut RunData {
    data.host_calls += 1;
    data
}

/// All released interfaces and WASI: each call checks its grants.
fn linker(wasm: &WasmEngine) -> wasmtime::Result<Linker<RunData>> {
    let mut linker = Linker::new(&wasm.engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    interfaces::types::add_to_linker::<RunData, HasSelf<RunData>>(&mut linker, counted)?;
    interfaces::log::add_to_linker::<RunData, HasSelf<RunData>>(&mut linker, counted)?;
    interfaces::net::add_to_linker::<RunData, HasSelf<RunData>>(&mut linker, counted)?;
    interfaces::state::add_to_linker::<RunData, HasSelf<RunData>>(&mut linker, counted)?;
    interfaces::command::add_to_linker::<RunData, HasSelf<RunData>>(&mut linker, counted)?;
    interfaces::secrets::add_to_linker::<RunData, HasSelf<RunData>>(&mut linker, counted)?;
    interfaces::system::add_to_linker::<RunData, HasSelf<RunData>>(&mut linker, counted)?;
    interfaces::files::add_to_linker::<RunData, HasSelf<RunData>>(&mut linker, counted)?;
    Ok(linker)
}

/// The pool's refusal carries the number that was exceeded.
fn pool_error(error: &str) -> String {
    if error.contains("exceeds") || error.contains("limit") {
        format!("the plugin is too big for the engine's pool: {error}")
    } else {
        format!("the compiled plugin does not load: {error}")
    }
}
