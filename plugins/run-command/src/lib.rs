//! Runs a command that the operator configured by name.

use bellwether_plugin::command::{Commands, Error, Host, Output};
use bellwether_plugin::net::Millis;
use bellwether_plugin::{
    Action, ActionContext, ActionError, ActionReport, Manifest, export_action,
};
use serde::Deserialize;

/// Configuration of one remediation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the command in the operator's `commands`.
    pub command: String,
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = r##"{
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,"required":["command"],
"properties":{
"command":{"type":"string","minLength":1,"description":"name of a command from the configuration's `commands`","examples":["restart-web"]}
}}"##;

/// The action.
pub struct RunCommand;

impl Action for RunCommand {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "run-command",
            env!("CARGO_PKG_VERSION"),
            "runs a command that the operator configured by name",
            SCHEMA,
        )
        .wants("command")
    }

    fn run(context: &ActionContext, config: Config) -> Result<ActionReport, ActionError> {
        run(context.dry_run, &config.command, &Host)
    }
}

fn run(dry_run: bool, command: &str, host: &dyn Commands) -> Result<ActionReport, ActionError> {
    if dry_run {
        return Ok(ActionReport::new(format!("would run {command}")));
    }
    let output = host.run(command).map_err(|error| match error {
        Error::Denied(what) => ActionError::Denied(what),
        Error::Failed(text) => ActionError::Failed(format!("{command} did not start: {text}")),
        Error::Timeout => ActionError::Failed(format!(
            "{command} timed out and was killed with its process group"
        )),
    })?;
    let taken = Millis(output.duration_us as f64 / 1_000.0);
    let printed = printed(&output);
    match output.exit_code {
        Some(0) => {
            Ok(ActionReport::new(format!("{command} succeeded in {taken}")).details(printed))
        }
        Some(code) => Err(failed(
            format!("{command} exited with {code} after {taken}"),
            &printed,
        )),
        None => Err(failed(
            format!("{command} was ended by a signal after {taken}"),
            &printed,
        )),
    }
}

fn failed(summary: String, printed: &str) -> ActionError {
    match printed {
        "" => ActionError::Failed(summary),
        printed => ActionError::Failed(format!("{summary}\n{printed}")),
    }
}

/// What the command printed, standard error behind standard output.
fn printed(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    if !errors.trim().is_empty() {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str("stderr:\n");
        text.push_str(errors.trim_end());
    }
    if output.truncated {
        text.push_str("\n(more output was dropped)");
    }
    text
}

export_action!(RunCommand);

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_plugin::fake::schema_problems;

    struct Fake(Result<Output, Error>);

    impl Commands for Fake {
        fn run(&self, name: &str) -> Result<Output, Error> {
            assert_eq!(name, "restart-web");
            self.0.clone()
        }
    }

    fn ended(exit_code: Option<i32>, stdout: &str, stderr: &str) -> Fake {
        Fake(Ok(Output {
            exit_code,
            stdout: stdout.into(),
            stderr: stderr.into(),
            truncated: false,
            duration_us: 1_500_000,
        }))
    }

    #[test]
    fn the_schema_fits_the_configuration() {
        assert_eq!(schema_problems::<Config>(SCHEMA), Vec::<String>::new());
    }

    #[test]
    fn success_carries_the_output() {
        let report = run(
            false,
            "restart-web",
            &ended(Some(0), "done\n", "a warning\n"),
        )
        .unwrap();
        assert_eq!(report.summary, "restart-web succeeded in 1.50 s");
        assert_eq!(report.details, "done\nstderr:\na warning");
    }

    #[test]
    fn failures_say_how_it_ended() {
        let text = |fake: Fake| match run(false, "restart-web", &fake) {
            Err(ActionError::Failed(text)) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            text(ended(Some(3), "", "no such unit\n")),
            "restart-web exited with 3 after 1.50 s\nstderr:\nno such unit"
        );
        assert_eq!(
            text(ended(None, "", "")),
            "restart-web was ended by a signal after 1.50 s"
        );
        assert_eq!(
            text(Fake(Err(Error::Timeout))),
            "restart-web timed out and was killed with its process group"
        );
        assert_eq!(
            text(Fake(Err(Error::Failed("not found".into())))),
            "restart-web did not start: not found"
        );
        assert_eq!(
            run(
                false,
                "restart-web",
                &Fake(Err(Error::Denied("command restart-web".into())))
            ),
            Err(ActionError::Denied("command restart-web".into()))
        );
    }

    #[test]
    fn a_dry_run_runs_nothing() {
        struct Never;
        impl Commands for Never {
            fn run(&self, _: &str) -> Result<Output, Error> {
                panic!("a dry run must not run anything");
            }
        }
        assert_eq!(
            run(true, "restart-web", &Never).unwrap().summary,
            "would run restart-web"
        );
    }
}
