//! Export names of core modules.
//!
//! The canonical ABI wants `package:name/interface@version#function`. Some
//! compilers cannot write that: AssemblyScript, for one, exports identifiers
//! only. So a module may export `check` for the function of that name.

use std::collections::BTreeMap;
use std::convert::Infallible;

use anyhow::{Context as _, Result};
use wasm_encoder::reencode::{Error, Reencode};
use wasm_encoder::{ExportSection, Module};
use wasmparser::{Export, Parser};
use wit_parser::{Resolve, WorldId, WorldItem};

/// The module with full names in place of the plain ones of functions that the
/// world exports. Hyphens are underscores in plain names. Names that several
/// exported interfaces have are left alone.
pub fn complete(module: &[u8], resolve: &Resolve, world: WorldId) -> Result<Vec<u8>> {
    let mut names = BTreeMap::new();
    for (key, item) in &resolve.worlds[world].exports {
        let WorldItem::Interface { id, .. } = item else {
            continue;
        };
        let interface = resolve.name_world_key(key);
        for function in resolve.interfaces[*id].functions.keys() {
            names
                .entry(function.replace('-', "_"))
                .and_modify(|full| *full = None)
                .or_insert_with(|| Some(format!("{interface}#{function}")));
        }
    }
    let mut encoded = Module::new();
    Names(names)
        .parse_core_module(&mut encoded, Parser::new(0), module)
        .context("expected a core module")?;
    Ok(encoded.finish())
}

/// Full names by plain ones; none where a plain name is ambiguous.
struct Names(BTreeMap<String, Option<String>>);

impl Reencode for Names {
    type Error = Infallible;

    fn parse_export(
        &mut self,
        exports: &mut ExportSection,
        export: Export<'_>,
    ) -> Result<(), Error<Infallible>> {
        let kind = self.export_kind(export.kind)?;
        let index = self.external_index(export.kind, export.index)?;
        let full = self.0.get(export.name).and_then(Option::as_deref);
        exports.export(full.unwrap_or(export.name), kind, index);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Wasi, component, describe, find};
    use wit_parser::{LiftLowerAbi, ManglingAndAbi};

    /// Cuts exports down to the functions' names.
    struct Plain;

    impl Reencode for Plain {
        type Error = Infallible;

        fn parse_export(
            &mut self,
            exports: &mut ExportSection,
            export: Export<'_>,
        ) -> Result<(), Error<Infallible>> {
            let name = match export.name.strip_prefix("bellwether:") {
                Some(name) => name.rsplit('#').next().unwrap_or(name),
                None => export.name,
            };
            let kind = self.export_kind(export.kind)?;
            exports.export(name, kind, export.index);
            Ok(())
        }
    }

    #[test]
    fn functions_may_be_exported_by_their_own_names() {
        let (resolve, world) = find(&["../wit"], "log-parser-plugin").unwrap();
        let mangling = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
        let full = wit_component::dummy_module(&resolve, world, mangling);
        let mut plain = Module::new();
        Plain
            .parse_core_module(&mut plain, Parser::new(0), &full)
            .unwrap();
        let mut plain = plain.finish();
        assert!(plain.len() < full.len());
        describe(&mut plain, "../wit", "log-parser-plugin").unwrap();
        component(&plain, &Wasi::Adapter).unwrap();
    }

    #[test]
    fn what_is_no_module_is_refused() {
        let (resolve, world) = find(&["../wit"], "probe-plugin").unwrap();
        assert!(complete(b"no module", &resolve, world).is_err());
    }
}
