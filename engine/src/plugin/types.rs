//! Types of the functions that a kind exports, checked once at upload.

use wasmtime::Store;
use wasmtime::component::Instance;

use super::action::{ContextArg, RunResult};
use super::bindings::bellwether::plugin::types::Manifest;
use super::bindings::exports::bellwether::plugin::log_parser::{ParseError, Records};
use super::kind::{Exports, Kind};
use super::notifier::{NotificationArg, NotifyResult};
use super::parser::BatchArg;
use super::probe::{CheckResult, RequestArg};
use super::run::RunData;

/// Fails where a function has another type than the contract says.
pub(super) fn check(
    exports: &Exports,
    instance: &Instance,
    store: &mut Store<RunData>,
) -> wasmtime::Result<()> {
    if exports.kind != Kind::Command {
        instance.get_typed_func::<(), (Manifest,)>(&mut *store, exports.function(0)?)?;
    }
    match exports.kind {
        Kind::Command => {
            instance.get_typed_func::<(), (Result<(), ()>,)>(&mut *store, exports.function(0)?)?;
        }
        Kind::Probe => {
            instance.get_typed_func::<(RequestArg<'_>,), CheckResult>(
                &mut *store,
                exports.function(1)?,
            )?;
        }
        Kind::LogParser => {
            instance.get_typed_func::<(&str,), (Result<(), ParseError>,)>(
                &mut *store,
                exports.function(1)?,
            )?;
            instance.get_typed_func::<(BatchArg<'_>,), (Result<Records, ParseError>,)>(
                &mut *store,
                exports.function(2)?,
            )?;
            instance.get_typed_func::<(), (Result<Records, ParseError>,)>(
                &mut *store,
                exports.function(3)?,
            )?;
        }
        Kind::Action => {
            instance.get_typed_func::<(ContextArg<'_>,), RunResult>(
                &mut *store,
                exports.function(1)?,
            )?;
        }
        Kind::Notifier => {
            instance.get_typed_func::<(NotificationArg<'_>,), NotifyResult>(
                &mut *store,
                exports.function(1)?,
            )?;
        }
    }
    Ok(())
}
