//! Turns core WebAssembly modules into components, and says what a component
//! is.
//!
//! ```text
//! pack component CORE.wasm OUT.wasm   a component from what cargo built
//! pack component CORE.wasm OUT.wasm WIT-DIR WORLD
//!                                     the same from a module that exports the
//!                                     world's functions and says no more
//! pack bindings WIT-DIR WORLD FOLDER  C header, source and object file of a world
//! pack world WIT-DIR WORLD OUT.wasm   a component of that world whose functions trap
//! pack check FILE.wasm…               prints size, imports and exports of each
//! ```
//!
//! A core module that imports `wasi_snapshot_preview1` (most C libraries do)
//! gets Wasmtime's adapter, and with it imports of WASI 0.2. `pack component
//! --stub-wasi …` answers those calls inside the component instead.

mod names;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_bindgen_core::Files;
use wit_component::{ComponentEncoder, DecodedWasm, StringEncoding, decode, dummy_module};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve, WorldId, WorldItem};

const USAGE: &str = "`component [--stub-wasi] CORE OUT [WIT-DIR WORLD]`, \
    `bindings WIT-DIR WORLD FOLDER`, `world WIT-DIR… WORLD OUT` or `check FILE…`";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pack: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    match words {
        ["component", "--stub-wasi", rest @ ..] => pack_component(rest, &Wasi::Stub),
        ["component", rest @ ..] => pack_component(rest, &Wasi::Adapter),
        ["bindings", wit, world, folder] => bindings(wit, world, Path::new(folder))
            .with_context(|| format!("cannot make bindings of world {world}")),
        ["world", folders @ .., world, out] if !folders.is_empty() => {
            let component = trapping(folders, world)
                .with_context(|| format!("cannot make a component of world {world}"))?;
            replace(Path::new(out), &component)
        }
        ["check", files @ ..] if !files.is_empty() => files.iter().try_for_each(|file| check(file)),
        _ => bail!("expected {USAGE}, found `{}`", words.join(" ")),
    }
}

/// `component`, from file to file.
fn pack_component(words: &[&str], wasi: &Wasi) -> Result<()> {
    let (core, out, described) = match words {
        [core, out] => (core, out, None),
        [core, out, folder, world] => (core, out, Some((folder, world))),
        _ => bail!("expected {USAGE}, found `component {}`", words.join(" ")),
    };
    let mut module = std::fs::read(core).with_context(|| format!("cannot read {core}"))?;
    if let Some((folder, world)) = described {
        describe(&mut module, folder, world)
            .with_context(|| format!("cannot describe {core} as world {world}"))?;
    }
    let component =
        component(&module, wasi).with_context(|| format!("cannot make a component of {core}"))?;
    replace(Path::new(out), &component)
}

/// Who answers a module's calls of `wasi_snapshot_preview1`.
enum Wasi {
    /// The engine, through WASI 0.2.
    Adapter,
    /// Nobody: see `stub_wasi.wat`.
    Stub,
}

/// A validated component from a core module that carries its world's
/// description in a custom section.
fn component(module: &[u8], wasi: &Wasi) -> Result<Vec<u8>> {
    let adapter = match wasi {
        Wasi::Adapter => WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER.to_vec(),
        Wasi::Stub => wat::parse_str(include_str!("stub_wasi.wat"))?,
    };
    ComponentEncoder::default()
        .module(module)?
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, &adapter)?
        .validate(true)
        .encode()
}

/// Adds the description of a world to a core module that has none, as those
/// have that were written against the canonical ABI by hand.
fn describe(module: &mut Vec<u8>, folder: &str, world: &str) -> Result<()> {
    let (resolve, world) = find(&[folder], world)?;
    *module = names::complete(module, &resolve, world)?;
    wit_component::embed_component_metadata(module, &resolve, world, StringEncoding::UTF8)
}

/// Writes a world's C bindings: `WORLD.h`, `WORLD.c` and
/// `WORLD_component_type.o`, with underscores in the name.
fn bindings(wit: &str, world: &str, folder: &Path) -> Result<()> {
    let (mut resolve, world) = find(&[wit], world)?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default()
        .build()
        .generate(&mut resolve, world, &mut files)?;
    files
        .iter()
        .try_for_each(|(name, bytes)| replace(&folder.join(name), bytes))
}

/// Reads WIT folders and selects a world of the last one.
fn find(folders: &[&str], world: &str) -> Result<(Resolve, WorldId)> {
    let mut resolve = Resolve::default();
    let mut package = None;
    for folder in folders {
        let (id, _) = resolve
            .push_path(folder)
            .with_context(|| format!("cannot read the WIT of {folder}"))?;
        package = Some(id);
    }
    let package = package.context("expected a WIT folder, found none")?;
    let world = resolve.select_world(&[package], Some(world))?;
    Ok((resolve, world))
}

/// A component of a world without code: every function traps.
fn trapping(folders: &[&str], world: &str) -> Result<Vec<u8>> {
    let (resolve, world) = find(folders, world)?;
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    component(&module, &Wasi::Adapter)
}

/// Writes a file only where it changes, and then at once: a reader never sees
/// half a component, and a build that changes nothing leaves the time alone.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    std::fs::write(&part, bytes).with_context(|| format!("cannot write {}", part.display()))?;
    std::fs::rename(&part, path).with_context(|| format!("cannot write {}", path.display()))
}

/// Prints what a component imports and exports.
fn check(file: &str) -> Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {file}"))?;
    let decoded = decode(&bytes).with_context(|| format!("{file} is no component"))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        bail!("expected a component, found a WIT package: {file}");
    };
    let world = &resolve.worlds[world];
    ensure!(
        !world.exports.is_empty() || file.contains("/nothing."),
        "{file} exports nothing"
    );
    let names = |items: &mut dyn Iterator<Item = (String, &WorldItem)>| {
        let mut names: Vec<String> = items.map(|(name, _)| name).collect();
        names.sort();
        if names.is_empty() {
            "-".to_owned()
        } else {
            names.join(" ")
        }
    };
    let imports = names(
        &mut world
            .imports
            .iter()
            .map(|(key, item)| (resolve.name_world_key(key), item)),
    );
    let exports = names(
        &mut world
            .exports
            .iter()
            .map(|(key, item)| (resolve.name_world_key(key), item)),
    );
    println!(
        "{:>8.1} KiB  {file}\n              exports {exports}\n              imports {imports}",
        bytes.len() as f64 / 1024.0
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of a component's exports and imports.
    fn surface(component: &[u8]) -> (Vec<String>, Vec<String>) {
        let DecodedWasm::Component(resolve, world) = decode(component).unwrap() else {
            panic!("expected a component");
        };
        let names = |items: Vec<&wit_parser::WorldKey>| {
            items
                .into_iter()
                .map(|key| resolve.name_world_key(key))
                .collect()
        };
        let world = &resolve.worlds[world];
        (
            names(world.exports.keys().collect()),
            names(world.imports.keys().collect()),
        )
    }

    #[test]
    fn every_world_of_the_contract_makes_a_component() {
        for kind in ["probe", "log-parser", "action", "notifier"] {
            let component = trapping(&["../wit"], &format!("{kind}-plugin")).unwrap();
            let (exports, imports) = surface(&component);
            assert_eq!(exports, [format!("bellwether:plugin/{kind}@0.1.0")]);
            assert!(
                imports
                    .iter()
                    .all(|name| name.starts_with("bellwether:plugin/")),
                "{imports:?}"
            );
        }
    }

    #[test]
    fn the_backdoor_imports_what_no_engine_offers() {
        let component = trapping(&["../wit", "../testing/worlds"], "backdoor").unwrap();
        let (_, imports) = surface(&component);
        assert!(
            imports.contains(&"evil:host/backdoor@1.0.0".to_owned()),
            "{imports:?}"
        );
    }

    #[test]
    fn a_plain_module_is_described_and_adapted() {
        let (resolve, world) = find(&["../wit"], "probe-plugin").unwrap();
        let mangling = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
        let mut module = dummy_module(&resolve, world, mangling);
        assert!(
            component(&module, &Wasi::Adapter).is_err(),
            "it says nothing of its world"
        );
        describe(&mut module, "../wit", "probe-plugin").unwrap();
        let (exports, imports) = surface(&component(&module, &Wasi::Adapter).unwrap());
        assert_eq!(exports, ["bellwether:plugin/probe@0.1.0"]);
        // The adapter goes where nothing needs it.
        assert!(!imports.iter().any(|name| name.starts_with("wasi:")));
        assert!(describe(&mut module, "../wit", "no-such-world").is_err());
    }

    #[test]
    fn wasi_is_answered_by_the_engine_or_inside() {
        let text = r#"(module
            (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "_initialize") (drop (call $random (i32.const 8) (i32.const 8)))))"#;
        let (resolve, world) = find(&["../wit", "../testing/worlds"], "nothing").unwrap();
        let mut module = wat::parse_str(text).unwrap();
        let encoding = StringEncoding::UTF8;
        wit_component::embed_component_metadata(&mut module, &resolve, world, encoding).unwrap();
        let (_, imports) = surface(&component(&module, &Wasi::Adapter).unwrap());
        assert!(
            imports.iter().any(|name| name.starts_with("wasi:random/")),
            "{imports:?}"
        );
        let (_, imports) = surface(&component(&module, &Wasi::Stub).unwrap());
        assert!(imports.is_empty(), "{imports:?}");
    }

    #[test]
    fn bindings_are_a_header_a_source_and_an_object() {
        let folder = std::env::temp_dir().join(format!("pack-bindings-{}", std::process::id()));
        bindings("../wit", "log-parser-plugin", &folder).unwrap();
        let header = std::fs::read_to_string(folder.join("log_parser_plugin.h")).unwrap();
        let others = ["log_parser_plugin.c", "log_parser_plugin_component_type.o"]
            .map(|name| folder.join(name).exists());
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(header.contains("exports_bellwether_plugin_log_parser_parse"));
        assert_eq!(others, [true, true]);
    }

    #[test]
    fn what_is_no_component_is_refused() {
        let folder = std::env::temp_dir().join(format!("pack-{}", std::process::id()));
        let file = folder.join("core.wasm");
        replace(&file, b"\0asm\x01\0\0\0").unwrap();
        let checked = check(&file.to_string_lossy());
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(checked.is_err());
        assert!(run(&["component"]).is_err());
        assert!(run(&[]).is_err());
    }
}
