//! `command`: what the operator configured by name, without a shell.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;

use super::bindings::bellwether::plugin::command::{Error, Host, Output};
use super::net_http::micros;
use super::run::{RunData, Stop};
use super::watch::Answer;
use crate::check::outcome::NodeInfo;

/// Most bytes kept of each output.
const MAX_OUTPUT: usize = 64 << 10;
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Checks the argv of a command as the configuration has it: not empty, no
/// template but `{{ node.name }}` and `{{ node.address }}`.
///
/// # Errors
/// What was expected and found.
pub fn validate_argv(argv: &[String]) -> Result<(), String> {
    let (program, arguments) = argv
        .split_first()
        .ok_or("expected a program and its arguments, found an empty list")?;
    if program.is_empty() || program.contains("{{") {
        return Err(format!(
            "expected a program without templates, found {program:?}"
        ));
    }
    for argument in arguments {
        if argument.contains('\0') {
            return Err("an argument holds a zero byte".into());
        }
        parts(argument)?;
    }
    Ok(())
}

/// Pieces of an argument.
#[derive(Debug, PartialEq)]
enum Part<'a> {
    Text(&'a str),
    NodeName,
    NodeAddress,
}

fn parts(argument: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    let mut rest = argument;
    while let Some((before, behind)) = rest.split_once("{{") {
        let (expression, after) = behind
            .split_once("}}")
            .ok_or_else(|| format!("expected }}}} behind {{{{, found none in {argument:?}"))?;
        if !before.is_empty() {
            parts.push(Part::Text(before));
        }
        parts.push(match expression.trim() {
            "node.name" => Part::NodeName,
            "node.address" => Part::NodeAddress,
            other => {
                return Err(format!(
                    "expected {{{{ node.name }}}} or {{{{ node.address }}}}, found {:?}",
                    other
                ));
            }
        });
        rest = after;
    }
    if !rest.is_empty() || parts.is_empty() {
        parts.push(Part::Text(rest));
    }
    Ok(parts)
}

/// One argument with the node's values filled in.
fn fill(argument: &str, node: Option<&NodeInfo>) -> Result<String, String> {
    let mut filled = String::with_capacity(argument.len());
    for part in parts(argument)? {
        match part {
            Part::Text(text) => filled.push_str(text),
            Part::NodeName | Part::NodeAddress => {
                let node = node
                    .ok_or_else(|| format!("{argument:?} needs a node, and the alert has none"))?;
                let value = if part == Part::NodeName {
                    &node.name
                } else {
                    &node.address
                };
                if !is_safe(value) {
                    return Err(format!(
                        "the node's value {value:?} is not passed to a command: expected letters, digits and . _ : - without a leading -"
                    ));
                }
                filled.push_str(value);
            }
        }
    }
    Ok(filled)
}

fn is_safe(value: &str) -> bool {
    (1..=253).contains(&value.len())
        && !value.starts_with('-')
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b))
}

/// Kills a process group unless it was told not to.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0.take() {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Keeps the first bytes of a stream and drains the rest.
async fn collect(mut stream: impl AsyncRead + Unpin, kept: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 4 << 10];
    let mut truncated = false;
    while let Ok(count @ 1..) = stream.read(&mut chunk).await {
        let room = MAX_OUTPUT - kept.len();
        kept.extend_from_slice(&chunk[..count.min(room)]);
        truncated |= count > room;
    }
    truncated
}

async fn execute(argv: &[String]) -> Result<Output, Error> {
    let (program, arguments) = argv
        .split_first()
        .ok_or_else(|| Error::Failed("the command is empty".into()))?;
    let started = Instant::now();
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env_clear()
        .env(
            "PATH",
            std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into()),
        )
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Error::Failed(format!("{program}: {error}")))?;
    // Dropped at the time-out with everything the command started.
    let mut group = Group(
        child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)),
    );
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(Error::Failed(format!("{program}: no pipes")));
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let reading = async { tokio::join!(collect(stdout, &mut out), collect(stderr, &mut err)) };
    let waiting = child.wait();
    // Both: a command may close its outputs and go on. What it leaves behind in
    // the background keeps the outputs open and is killed at the time-out.
    let ((out_cut, err_cut), status) = tokio::join!(reading, waiting);
    let status = status.map_err(|error| Error::Failed(format!("{program}: {error}")))?;
    group.0 = None;
    Ok(Output {
        exit_code: if status.signal().is_some() {
            None
        } else {
            status.code()
        },
        stdout: out,
        stderr: err,
        truncated: out_cut || err_cut,
        duration_us: micros(started.elapsed()),
    })
}

impl RunData {
    fn argv(&self, name: &str) -> Result<Vec<String>, Error> {
        if !self.grants.commands.iter().any(|granted| granted == name) {
            return Err(Error::Denied(format!(
                "command {name} is not granted; a grant would be commands: [{name}]"
            )));
        }
        let settings = self.shared.settings();
        let argv = settings.commands.get(name).ok_or_else(|| {
            Error::Denied(format!("command {name} is not configured under commands"))
        })?;
        if self.dry_run {
            return Err(Error::Denied(format!(
                "dry run: the command {name} was held back"
            )));
        }
        validate_argv(argv).map_err(Error::Failed)?;
        argv.iter()
            .map(|argument| fill(argument, self.node.as_deref()))
            .collect::<Result<_, _>>()
            .map_err(Error::Failed)
    }
}

impl Host for RunData {
    async fn run(&mut self, name: String) -> wasmtime::Result<Result<Output, Error>> {
        let watching = self.watch("command.run", || name.clone());
        let argv = match self.argv(&name) {
            Ok(argv) => argv,
            Err(error) => {
                if let Error::Denied(what) = &error {
                    self.log.push("warning", &format!("denied: {what}"));
                }
                let result = Err(error);
                watching.answered(|| Answer::of(&result, |_: &Output| String::new()));
                return Ok(result);
            }
        };
        let own = Instant::now() + self.waits.timeout;
        let until = own.min(self.waits.deadline);
        let result = match tokio::time::timeout_at(until, execute(&argv)).await {
            Ok(result) => result,
            Err(_) if own < self.waits.deadline => Err(Error::Timeout),
            Err(_) => return Err(Stop::Command(self.waits.length).into()),
        };
        watching.answered(|| {
            Answer::of(&result, |output: &Output| match output.exit_code {
                Some(code) => format!("exit code {code}"),
                None => "ended by a signal".into(),
            })
        });
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(argv: &[&str]) -> Vec<String> {
        argv.iter().map(|a| (*a).to_owned()).collect()
    }

    #[test]
    fn argv_is_checked() {
        for good in [
            &["true"][..],
            &["systemctl", "restart", "web"],
            &["ssh", "root@{{ node.address }}", "{{node.name}}"],
        ] {
            validate_argv(&strings(good)).unwrap();
        }
        for bad in [
            &[][..],
            &[""],
            &["{{ node.name }}"],
            &["echo", "{{ summary }}"],
            &["echo", "{{ node.labels.x }}"],
            &["echo", "{{ node.name"],
            &["echo", "a\0b"],
        ] {
            assert!(validate_argv(&strings(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn values_are_checked() {
        let node = |name: &str| NodeInfo {
            name: name.into(),
            address: "10.0.0.1".into(),
            labels: Default::default(),
        };
        let filled = fill("{{ node.name }}@{{node.address}}:22", Some(&node("web-1"))).unwrap();
        assert_eq!(filled, "web-1@10.0.0.1:22");
        assert_eq!(fill("", None).unwrap(), "");
        for bad in ["-rf", "a b", "a;b", "$(x)", "", "a\nb", "ä"] {
            assert!(
                fill("{{ node.name }}", Some(&node(bad))).is_err(),
                "{bad:?}"
            );
        }
        assert!(fill("{{ node.name }}", None).is_err());
    }
}
