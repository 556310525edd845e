//! What a component is: the kind it exports, and whether it imports only what
//! the engine has.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wasmtime::Engine;
use wasmtime::component::{Component, ComponentExportIndex};

/// The kinds of plugin.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Probe,
    LogParser,
    Action,
    Notifier,
    /// A plain WASI program; its role comes from where it is referenced.
    Command,
}

impl Kind {
    /// The kinds with an interface of the contract.
    const CONTRACT: [Kind; 4] = [Kind::Probe, Kind::LogParser, Kind::Action, Kind::Notifier];

    /// The word used in API and texts.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Probe => "probe",
            Kind::LogParser => "log-parser",
            Kind::Action => "action",
            Kind::Notifier => "notifier",
            Kind::Command => "command",
        }
    }

    /// Functions of the exported interface, `describe` first where there is one.
    pub(super) fn functions(self) -> &'static [&'static str] {
        match self {
            Kind::Probe => &["describe", "check"],
            Kind::LogParser => &["describe", "configure", "parse", "flush"],
            Kind::Action => &["describe", "run"],
            Kind::Notifier => &["describe", "notify"],
            Kind::Command => &["run"],
        }
    }
}

/// Where the functions of a component's interface are.
#[derive(Clone, Debug)]
pub(super) struct Exports {
    pub kind: Kind,
    /// In the order of [`Kind::functions`].
    pub functions: Vec<ComponentExportIndex>,
}

impl Exports {
    /// A function by its place in [`Kind::functions`].
    pub fn function(&self, place: usize) -> wasmtime::Result<&ComponentExportIndex> {
        self.functions
            .get(place)
            .ok_or_else(|| wasmtime::format_err!("the component lacks a function of its interface"))
    }
}

/// Finds the one kind that a component is.
pub(super) fn exports(engine: &Engine, component: &Component) -> Result<Exports, String> {
    let ty = component.component_type();
    let names: Vec<String> = ty
        .exports(engine)
        .map(|(name, _)| name.to_owned())
        .collect();
    let (kind, interface) = detect(names.iter().map(String::as_str))?;
    let instance = component
        .get_export_index(None, &interface)
        .ok_or_else(|| format!("the export {interface} is not an instance"))?;
    let functions = kind
        .functions()
        .iter()
        .map(|function| {
            component
                .get_export_index(Some(&instance), *function)
                .ok_or_else(|| {
                    format!("expected {interface} to export the function {function}, found none")
                })
        })
        .collect::<Result<_, _>>()?;
    Ok(Exports { kind, functions })
}

/// The kind and the full name of its interface, from the names of the exports.
fn detect<'a>(names: impl Iterator<Item = &'a str>) -> Result<(Kind, String), String> {
    let mut found = Vec::new();
    let mut others = Vec::new();
    let mut program = None;
    for name in names {
        if is_run(name) {
            program = Some(name);
            continue;
        }
        match interface(name, "bellwether:plugin/") {
            Some((interface, version)) => {
                let kind = Kind::CONTRACT
                    .into_iter()
                    .find(|kind| kind.as_str() == interface);
                match kind {
                    Some(kind) if is_patch_of(version, "0.1.") => {
                        found.push((kind, name.to_owned()))
                    }
                    _ => others.push(name),
                }
            }
            None => others.push(name),
        }
    }
    let expected = "expected exactly one export of bellwether:plugin/probe@0.1, log-parser@0.1, action@0.1 or notifier@0.1, or of wasi:cli/run@0.2";
    match (found.as_slice(), program) {
        ([_], _) => Ok(found.remove(0)),
        ([], Some(name)) => Ok((Kind::Command, name.to_owned())),
        ([], None) if others.is_empty() => Err(format!("{expected}, found no exports")),
        ([], None) => Err(format!("{expected}, found {}", others.join(", "))),
        (several, _) => Err(format!(
            "{expected}, found {}",
            several
                .iter()
                .map(|(_, name)| name.as_str())
                .collect::<Vec<_>>()
                .join(" and ")
        )),
    }
}

/// True for the export of a WASI 0.2 program.
fn is_run(name: &str) -> bool {
    name.strip_prefix("wasi:cli/run@")
        .is_some_and(|version| is_patch_of(version, "0.2."))
}

/// Refuses what the engine does not have, by name.
pub(super) fn check_imports(engine: &Engine, component: &Component) -> Result<(), String> {
    let ty = component.component_type();
    let strangers: Vec<String> = ty
        .imports(engine)
        .map(|(name, _)| name)
        .filter(|name| !is_known_import(name))
        .map(str::to_owned)
        .collect();
    match strangers.as_slice() {
        [] => Ok(()),
        names => Err(format!(
            "imports {}, which the engine does not have; expected only bellwether:plugin/*@0.1 and wasi:*@0.2",
            names.join(", ")
        )),
    }
}

fn is_known_import(name: &str) -> bool {
    if let Some((_, version)) = interface(name, "bellwether:plugin/") {
        return is_patch_of(version, "0.1.");
    }
    name.strip_prefix("wasi:")
        .and_then(|rest| rest.split_once('@'))
        .is_some_and(|(_, version)| is_patch_of(version, "0.2."))
}

fn interface<'a>(name: &'a str, package: &str) -> Option<(&'a str, &'a str)> {
    name.strip_prefix(package)?.split_once('@')
}

fn is_patch_of(version: &str, minor: &str) -> bool {
    version
        .strip_prefix(minor)
        .is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_exports() {
        let detect = |names: &[&str]| detect(names.iter().copied());
        assert_eq!(
            detect(&["bellwether:plugin/probe@0.1.7", "other:thing/x@1.0.0"]).unwrap(),
            (Kind::Probe, "bellwether:plugin/probe@0.1.7".into())
        );
        assert_eq!(
            detect(&["wasi:cli/run@0.2.3"]).unwrap(),
            (Kind::Command, "wasi:cli/run@0.2.3".into())
        );
        assert_eq!(
            detect(&["wasi:cli/run@0.2.3", "bellwether:plugin/action@0.1.0"])
                .unwrap()
                .0,
            Kind::Action
        );
        detect(&["wasi:cli/run@0.3.0"]).unwrap_err();
        let error = detect(&[]).unwrap_err();
        assert!(error.ends_with("found no exports"), "{error}");
        let error = detect(&["bellwether:plugin/probe@0.2.0"]).unwrap_err();
        assert!(
            error.ends_with("found bellwether:plugin/probe@0.2.0"),
            "{error}"
        );
        let error = detect(&[
            "bellwether:plugin/probe@0.1.0",
            "bellwether:plugin/action@0.1.0",
        ])
        .unwrap_err();
        assert!(
            error.contains("probe@0.1.0 and bellwether:plugin/action@0.1.0"),
            "{error}"
        );
    }

    #[test]
    fn imports_by_name() {
        for good in ["bellwether:plugin/net@0.1.3", "wasi:cli/environment@0.2.6"] {
            assert!(is_known_import(good), "{good}");
        }
        for bad in [
            "evil:host/backdoor@1.0.0",
            "bellwether:plugin/net@0.2.0",
            "bellwether:plugin/net",
            "wasi:cli/environment@0.3.0",
            "wasi:cli/environment",
            "wasix:cli/environment@0.2.0",
            "env",
        ] {
            assert!(!is_known_import(bad), "{bad}");
        }
    }
}
