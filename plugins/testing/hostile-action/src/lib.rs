//! An action that misbehaves as its configuration says.

use std::hint::black_box;

use bellwether_plugin::command::{self, Commands};
use bellwether_plugin::net::{Error, Host, HttpRequest, Net, explain};
use bellwether_plugin::{
    Action, ActionContext, ActionError, ActionReport, Manifest, export_action, state,
};
use serde::Deserialize;

/// What to do.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// One of the modes in the schema; `ok` where absent.
    pub mode: String,
    /// URL or command that a mode reaches for.
    pub target: String,
    /// Turns of `busy`, bytes of `huge-output`.
    pub amount: Option<u64>,
}

/// The action.
pub struct HostileAction;

impl Action for HostileAction {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "hostile-action",
            env!("CARGO_PKG_VERSION"),
            "an action that misbehaves as told",
            SCHEMA,
        )
        .wants("net")
        .wants("command")
        .wants("state")
    }

    fn run(context: &ActionContext, config: Config) -> Result<ActionReport, ActionError> {
        match config.mode.as_str() {
            "loop" => {
                let mut turns = 0_u64;
                loop {
                    turns = black_box(turns.wrapping_add(1));
                }
            }
            "busy" => {
                for turn in 0..config.amount.unwrap_or(100_000_000) {
                    black_box(turn);
                }
                Ok(ActionReport::new("was busy"))
            }
            "fail" => Err(ActionError::Failed("told to fail".to_owned())),
            "config" => Err(ActionError::config("/mode", "told to")),
            "trap" => trap(),
            "huge-output" => Ok(ActionReport::new("much output")
                .details("x".repeat(config.amount.unwrap_or(100 << 20) as usize))),
            // Dry runs included: the host is to hold these back by itself.
            "http" => post(&config.target, context),
            "command" => match command::Host.run(&config.target) {
                Ok(output) => Ok(ActionReport::new(format!("exit {:?}", output.exit_code))
                    .details(String::from_utf8_lossy(&output.stdout))),
                Err(command::Error::Denied(what)) => Err(ActionError::Denied(what)),
                Err(error) => Err(ActionError::Failed(format!("{error:?}"))),
            },
            "state" => match state::set("runs", context.idempotency_key.as_bytes(), None) {
                Ok(version) => Ok(ActionReport::new(format!("stored version {version}"))),
                Err(error) => Err(ActionError::Failed(format!("{error:?}"))),
            },
            "context" => Ok(ActionReport::new("the context").details(format!("{context:#?}"))),
            _ => Ok(ActionReport::new(format!("attempt {}", context.attempt))),
        }
    }
}

fn post(url: &str, context: &ActionContext) -> Result<ActionReport, ActionError> {
    let request = HttpRequest::new("POST", url).header("Idempotency-Key", &context.idempotency_key);
    match Host.http(&request) {
        Ok(response) => Ok(ActionReport::new(format!("HTTP {}", response.status))),
        Err(Error::Denied(what)) => Err(ActionError::Denied(what)),
        Err(error) => Err(ActionError::Failed(explain(&error))),
    }
}

#[expect(clippy::panic, reason = "that is what is asked for")]
fn trap() -> ! {
    panic!("told to panic")
}

const SCHEMA: &str = r##"{
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,
"properties":{
"mode":{"enum":["ok","loop","busy","fail","config","trap","huge-output","http","command","state","context"],"default":"ok","description":"what to do"},
"target":{"type":"string","default":"","description":"URL or command to reach for"},
"amount":{"type":"integer","minimum":0,"description":"turns of busy, bytes of huge-output","examples":[1]}
}}"##;

export_action!(HostileAction);

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_plugin::fake::schema_problems;

    #[test]
    fn the_schema_fits_the_configuration() {
        assert_eq!(schema_problems::<Config>(SCHEMA), Vec::<String>::new());
    }
}
