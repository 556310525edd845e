//! Changes of the configuration: from the file, from the UI. Merge, validate
//! everything, commit, use.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::plugins::file_plugins;
use super::registry::Registry;
use super::{Core, resolve};
use crate::check::outcome::SeriesId;
use crate::config::spec::{SecretSource, Spec};
use crate::config::{self, Config, Merged, Origin as Owner, Problem, UiObjects};
use crate::http::commands::{ObjectKind, Reloaded, relative};
use crate::http::state::{ConfigView, Origin, SeriesRef};
use crate::notify::{Mailer, Outbound};
use crate::pipeline::Input;
use crate::pipeline::changes::ActiveSeries;
use crate::plugin::Settings;

/// What the configuration in force was made from.
#[derive(Clone)]
pub struct Generation {
    pub number: u64,
    /// The file's part, and where each value stands in it.
    pub file: Arc<config::Loaded>,
    /// The UI's part with versions.
    pub ui: Arc<BTreeMap<(ObjectKind, String), (serde_json::Value, i64)>>,
}

/// A configuration that is valid and not in force yet: everything that could
/// go wrong has been tried.
pub struct Candidate {
    pub generation: Generation,
    pub config: Arc<Config>,
    settings: Settings,
    outbound: Arc<Outbound>,
    /// Rules whose windows have to be filled.
    filling: Vec<Arc<str>>,
}

/// What [`Core::adopt`] took over.
pub struct Adopted {
    pub config: Arc<Config>,
    pub view: Arc<ConfigView>,
    /// Rules whose windows have to be filled.
    pub filling: Vec<Arc<str>>,
}

impl Core {
    /// Merges and validates.
    ///
    /// # Errors
    /// Every problem: those of the file with its line, those of the UI's objects
    /// with the object's name.
    pub fn candidate(
        &self,
        generation: Generation,
        registry: &Registry,
    ) -> Result<Candidate, Vec<Problem>> {
        self.candidate_with(generation, registry, None)
    }

    /// As [`candidate`](Self::candidate), for a change of one object: the paths
    /// of its own problems are relative to it.
    ///
    /// # Errors
    /// Every problem.
    pub fn candidate_with(
        &self,
        generation: Generation,
        registry: &Registry,
        sent: Option<(ObjectKind, &str)>,
    ) -> Result<Candidate, Vec<Problem>> {
        let mut ui = UiObjects::default();
        for ((kind, name), (spec, _)) in generation.ui.iter() {
            add_object(&mut ui, *kind, spec).map_err(|problem| {
                let text = format!("{} {name}, made in the UI: {problem}", kind.as_str());
                vec![Problem::new(kind.plural(), text)]
            })?;
        }
        let origins = &generation.file.origins;
        let merged = config::merge(generation.file.spec.clone(), ui)?;
        let config = Config::build(&merged.spec, registry).map_err(|problems| {
            let sent = sent.and_then(|(kind, name)| merged.path_of(kind.plural(), name));
            place(&merged, origins, problems, sent.as_deref())
        })?;
        let settings = Settings::from_spec(&config.spec)
            .map_err(|text| origins.locate(vec![Problem::new("", text)]))?;
        let outbound =
            outbound(&config, self.listen).map_err(|problem| origins.locate(vec![problem]))?;
        for warning in place(&merged, origins, config.warnings.clone(), None) {
            tracing::warn!("{warning}");
        }
        Ok(Candidate {
            generation,
            config: Arc::new(config),
            settings,
            outbound: Arc::new(outbound),
            filling: Vec::new(),
        })
    }

    /// The input that puts a candidate in force. The parts beside the pipeline
    /// take it over when its commit is through: see
    /// [`adopt`](Self::adopt).
    pub fn propose(&self, mut candidate: Candidate) -> Input {
        let blocked = self.blocked(&candidate.config.spec.signing);
        let mut policy = resolve::policy(&candidate.config, blocked);
        policy.filling = self.snapshot.lock().rules_to_fill(&policy);
        candidate.filling.clone_from(&policy.filling);
        let input = Input::Configured {
            policy: Arc::new(policy),
            mail_domain: resolve::mail_domain(&candidate.config),
            generation: candidate.generation.number,
        };
        self.proposed
            .lock()
            .insert(candidate.generation.number, candidate);
        input
    }

    /// A proposal that was committed is taken over by everything else. `None`
    /// where it was not proposed.
    pub fn adopt(&self, number: u64, series: &[ActiveSeries]) -> Option<Adopted> {
        let candidate = {
            let mut proposed = self.proposed.lock();
            let candidate = proposed.remove(&number)?;
            proposed.retain(|older, _| *older > number);
            candidate
        };
        self.host.reconfigure(candidate.settings.clone());
        self.outbound.send_replace(candidate.outbound.clone());
        *self.config.write() = candidate.config.clone();
        let active: HashSet<SeriesId> = series.iter().map(|one| one.id).collect();
        self.live.retain(|id| active.contains(&id));
        let view = Arc::new(self.make_view(&candidate, series));
        Some(Adopted {
            config: candidate.config,
            view,
            filling: candidate.filling,
        })
    }

    /// Reads the file again.
    ///
    /// # Errors
    /// Every problem; the old configuration stays in force.
    pub async fn reload(&self) -> Result<Reloaded, Vec<Problem>> {
        let mut current = self.changing.lock().await;
        let Some(path) = &self.config_path else {
            return Ok(Reloaded {
                generation: current.number,
                restart: Vec::new(),
            });
        };
        let loaded = config::load(path)?;
        // Tried on a copy: where anything is wrong the old plugins stay, too.
        let tried = self.registry.fork();
        tried.forget_file();
        file_plugins(&self.host, &tried, &loaded, self.clock.now()).await?;
        let next = Generation {
            number: current.number + 1,
            file: Arc::new(loaded),
            ui: current.ui.clone(),
        };
        let candidate = self.candidate(next.clone(), &tried)?;
        self.load_referenced(&candidate.config).await?;
        self.registry.take_file(&tried);
        if let Err(error) = self.list_own_plugins().await {
            return Err(vec![Problem::new("", error.to_string())]);
        }
        let input = self.propose(candidate);
        if let Err(error) = self.recorder.submit(input).await {
            return Err(vec![Problem::new("", error.to_string())]);
        }
        let restart = need_restart(&self.started, &next.file.spec);
        for key in &restart {
            tracing::warn!(%key, "the configuration was read again, but this key holds only after a restart");
        }
        *current = next;
        // Before another change may be proposed: they take other lanes into the
        // recorder, and must not overtake this one.
        self.in_force(current.number).await;
        Ok(Reloaded {
            generation: current.number,
            restart,
        })
    }

    /// Decides again about everything that is not in the configuration itself,
    /// such as signatures.
    ///
    /// # Errors
    /// The configuration does not fit what is present any more.
    pub async fn refresh(&self) -> Result<(), Vec<Problem>> {
        let mut current = self.changing.lock().await;
        let next = Generation {
            number: current.number + 1,
            ..current.clone()
        };
        let candidate = self.candidate(next.clone(), &self.registry)?;
        let input = self.propose(candidate);
        if let Err(error) = self.recorder.submit(input).await {
            return Err(vec![Problem::new("", error.to_string())]);
        }
        *current = next;
        self.in_force(current.number).await;
        Ok(())
    }

    /// Waits until handlers see generation `number`, so that who changed
    /// something reads what it wrote.
    pub async fn in_force(&self, number: u64) {
        let mut view = self.view.subscribe();
        // The sender is in `self`.
        let _ = view.wait_for(|view| view.generation >= number).await;
    }

    fn make_view(&self, candidate: &Candidate, series: &[ActiveSeries]) -> ConfigView {
        let mut origins = HashMap::new();
        let file: Arc<str> = self
            .config_path
            .as_ref()
            .map_or_else(String::new, |path| path.display().to_string())
            .into();
        for (kind, name) in objects(&candidate.generation.file.spec) {
            origins.insert((kind, name), Origin::File { file: file.clone() });
        }
        for ((kind, name), (_, version)) in candidate.generation.ui.iter() {
            origins.insert((*kind, name.clone()), Origin::Ui { version: *version });
        }
        let config = &candidate.config;
        let refs = series
            .iter()
            .map(|one| SeriesRef {
                id: one.id,
                check: one.check.clone(),
                node: one.node.clone(),
                paused: config
                    .checks
                    .get(&*one.check)
                    .is_some_and(|check| check.spec.paused),
            })
            .collect();
        ConfigView::new(
            candidate.generation.number,
            (*config.spec).clone(),
            origins,
            refs,
        )
    }
}

/// Says where each problem is: of the file its line, of the object that was
/// sent the path in it, of another one made in the UI its name.
fn place(
    merged: &Merged,
    origins: &config::Origins,
    problems: Vec<Problem>,
    sent: Option<&str>,
) -> Vec<Problem> {
    let is_sent = |problem: &Problem| sent.is_some_and(|at| problem.path_within(at).is_some());
    let (own, others): (Vec<_>, Vec<_>) = problems.into_iter().partition(is_sent);
    let (made, filed): (Vec<_>, Vec<_>) = others
        .into_iter()
        .map(|problem| (made_in_ui(merged, &problem.path), problem))
        .partition(|(object, _)| object.is_some());
    let made = made.into_iter().map(|(object, mut problem)| {
        let object = object.unwrap_or_default();
        problem.message = format!("{} ({object}, made in the UI)", problem.message);
        problem
    });
    let filed = filed.into_iter().map(|(_, problem)| problem).collect();
    let mut placed = relative(own, sent.unwrap_or_default());
    placed.extend(origins.locate(filed));
    placed.extend(made);
    placed
}

/// The object that a path such as `checks[3].every` leads into, where it was
/// made in the UI: `check homepage`.
fn made_in_ui(merged: &Merged, path: &str) -> Option<String> {
    let (section, rest) = path.split_once('[')?;
    let index: usize = rest.split_once(']')?.0.parse().ok()?;
    if merged.origin_at(section, index) != Owner::Ui {
        return None;
    }
    let all = objects(&merged.spec).into_iter();
    let (kind, name) = all
        .filter(|(kind, _)| kind.plural() == section)
        .nth(index)?;
    Some(format!("{} {name}", kind.as_str()))
}

/// Keys that are taken at the start only, and differ from what it had.
fn need_restart(started: &Spec, now: &Spec) -> Vec<String> {
    let (a, b) = (started, now);
    let keys = [
        ("public_url", a.public_url != b.public_url),
        (
            "web.allow_plain_http",
            a.web.allow_plain_http != b.web.allow_plain_http,
        ),
        (
            "web.trusted_proxies",
            a.web.trusted_proxies != b.web.trusted_proxies,
        ),
        ("web.open_metrics", a.web.open_metrics != b.web.open_metrics),
        // Less is taken at once: more needs room that is laid out at the start.
        (
            "engine.max_in_flight",
            a.engine.max_in_flight < b.engine.max_in_flight,
        ),
        (
            "engine.max_memory",
            a.engine.max_memory != b.engine.max_memory,
        ),
        (
            "engine.max_plugin_size",
            a.engine.max_plugin_size != b.engine.max_plugin_size,
        ),
        (
            "engine.compile_timeout",
            a.engine.compile_timeout != b.engine.compile_timeout,
        ),
    ];
    let changed = keys.into_iter().filter(|(_, changed)| *changed);
    changed.map(|(key, _)| key.to_owned()).collect()
}

/// Whether everything that mail needs is there, such as the password.
///
/// # Errors
/// What is missing, with its key.
pub fn check_mail(config: &Config) -> Result<(), Problem> {
    let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    outbound(config, listen).map(|_| ())
}

/// Kind and name of every object of a file.
fn objects(spec: &Spec) -> Vec<(ObjectKind, String)> {
    let mut all = Vec::new();
    all.extend(
        spec.plugins
            .iter()
            .map(|one| (ObjectKind::Plugin, one.name.clone())),
    );
    all.extend(
        spec.nodes
            .iter()
            .map(|one| (ObjectKind::Node, one.name.clone())),
    );
    all.extend(
        spec.checks
            .iter()
            .map(|one| (ObjectKind::Check, one.name.clone())),
    );
    all.extend(
        spec.rules
            .iter()
            .map(|one| (ObjectKind::Rule, one.name.clone())),
    );
    all.extend(
        spec.contacts
            .iter()
            .map(|one| (ObjectKind::Contact, one.name.clone())),
    );
    all.extend(
        spec.remediations
            .iter()
            .map(|one| (ObjectKind::Remediation, one.name.clone())),
    );
    all.extend(
        spec.log_sources
            .iter()
            .map(|one| (ObjectKind::LogSource, one.name.clone())),
    );
    all
}

/// Adds a stored object of the UI to its list.
///
/// # Errors
/// A stored object that no longer fits its type.
pub(super) fn add_object(
    ui: &mut UiObjects,
    kind: ObjectKind,
    spec: &serde_json::Value,
) -> Result<(), Problem> {
    let value = spec.clone();
    match kind {
        ObjectKind::Plugin => ui.plugins.push(config::parse_object("", value)?),
        ObjectKind::Node => ui.nodes.push(config::parse_object("", value)?),
        ObjectKind::Check => ui.checks.push(config::parse_object("", value)?),
        ObjectKind::Rule => ui.rules.push(config::parse_object("", value)?),
        ObjectKind::Contact => ui.contacts.push(config::parse_object("", value)?),
        ObjectKind::Remediation => ui.remediations.push(config::parse_object("", value)?),
        ObjectKind::LogSource => ui.log_sources.push(config::parse_object("", value)?),
    }
    Ok(())
}

/// How mail leaves under this configuration.
fn outbound(config: &Config, listen: std::net::SocketAddr) -> Result<Outbound, Problem> {
    let mailer = match &config.spec.smtp {
        None => None,
        Some(smtp) => {
            let password = smtp.password.as_ref().map(read_secret).transpose();
            let password = password.map_err(|text| Problem::new("smtp.password", text))?;
            let mailer = Mailer::new(smtp, password.as_deref())
                .map_err(|error| Problem::new("smtp", error.to_string()))?;
            Some(Arc::new(mailer))
        }
    };
    let public_url = config
        .public_url
        .as_ref()
        .map_or_else(|| format!("http://{listen}"), ToString::to_string);
    Ok(Outbound {
        mailer,
        notifiers: resolve::notifiers(config),
        public_url: public_url.trim_end_matches('/').to_owned(),
    })
}

pub(super) fn read_secret(source: &SecretSource) -> Result<String, String> {
    match source {
        SecretSource::Env(name) => std::env::var(name)
            .map_err(|_| format!("expected the environment variable {name}, found none")),
        SecretSource::File(path) => std::fs::read_to_string(path)
            .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
            .map_err(|error| format!("cannot read {path}: {error}")),
    }
}

/// Whether the file has an object of this kind and name.
pub fn in_file(spec: &Spec, kind: ObjectKind, name: &str) -> bool {
    objects(spec)
        .iter()
        .any(|(of, known)| *of == kind && known == name)
}
