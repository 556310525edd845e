//! Turns core WebAssembly modules into components, and says what a component
//! is.
//!
//! ```text
//! pack component CORE.wasm OUT.wasm   a component from what cargo built
//! pack world WIT-DIR WORLD OUT.wasm   a component of that world whose functions trap
//! pack check FILE.wasm…               prints size, imports and exports of each
//! ```

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use wit_component::{ComponentEncoder, DecodedWasm, StringEncoding, decode, dummy_module};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve, WorldItem};

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
        ["component", core, out] => {
            let module = std::fs::read(core).with_context(|| format!("cannot read {core}"))?;
            let component =
                component(&module).with_context(|| format!("cannot make a component of {core}"))?;
            replace(Path::new(out), &component)
        }
        ["world", folders @ .., world, out] if !folders.is_empty() => {
            let component = trapping(folders, world)
                .with_context(|| format!("cannot make a component of world {world}"))?;
            replace(Path::new(out), &component)
        }
        ["check", files @ ..] if !files.is_empty() => files.iter().try_for_each(|file| check(file)),
        _ => bail!(
            "expected `component CORE OUT`, `world WIT-DIR… WORLD OUT` or `check FILE…`, found `{}`",
            words.join(" ")
        ),
    }
}

/// A validated component from a core module that carries its world's
/// description in a custom section.
fn component(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default().module(module)?.validate(true).encode()
}

/// A component of a world without code: every function traps.
fn trapping(folders: &[&str], world: &str) -> Result<Vec<u8>> {
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
    let mut module =
        dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    component(&module)
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
    ensure!(!world.exports.is_empty() || file.contains("/nothing."), "{file} exports nothing");
    let names = |items: &mut dyn Iterator<Item = (String, &WorldItem)>| {
        let mut names: Vec<String> = items.map(|(name, _)| name).collect();
        names.sort();
        if names.is_empty() { "-".to_owned() } else { names.join(" ") }
    };
    let imports = names(&mut world.imports.iter().map(|(key, item)| (resolve.name_world_key(key), item)));
    let exports = names(&mut world.exports.iter().map(|(key, item)| (resolve.name_world_key(key), item)));
    println!("{:>8.1} KiB  {file}\n              exports {exports}\n              imports {imports}", bytes.len() as f64 / 1024.0);
    Ok(())
}
