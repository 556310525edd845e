//! Command plugins as checks: what they print and their exit code is the report.

use std::sync::Arc;
use std::time::Duration;

use super::action::MAX_SUMMARY;
use super::catalogue::LoadedProgram;
use super::crash::Crash;
use super::host::Inner;
use super::log::RunLog;
use super::output::{self, leading_state};
use super::probe::{Ended, MAX_METRICS, MAX_TEXT, lines, one_line, redacted, timed_out};
use super::program::{self, Finished, odd_exit, whole_words};
use super::program_input::{Fetch, fetch};
use super::run::{End, RunData, RunSetup, phase_name};
use super::secrets::Redactor;
use super::wasi::Kept;
use super::watch::Beside;
use crate::check::outcome::{Fault, Job, Report, State};
use crate::clock::Timestamp;
use crate::pipeline::quarantine::is_crash;

/// Bytes of standard output kept.
pub(super) const MAX_STDOUT: usize = 64 << 10;
/// The summary of a program that printed nothing.
const NOTHING: &str = "(no output)";

impl Inner {
    /// Runs a check: fetches its input, runs the program, reads its output.
    pub async fn check_program(
        &self,
        loaded: &LoadedProgram,
        job: &Job,
        at: Timestamp,
        beside: Beside,
    ) -> Ended {
        let spec = &*job.spec;
        let mut store = self.store(RunSetup {
            node: Some(Arc::clone(&spec.node)),
            ..program::setup(&spec.limits, Arc::clone(&spec.grants))
        });
        store.data_mut().go_with(beside);
        let mut given = match program::given(loaded, &spec.config, MAX_STDOUT) {
            Ok(given) => given,
            Err(fault) => return ended(store.into_data(), Err(fault)),
        };
        if let Some(input) = &spec.input {
            match fetch(store.data_mut(), input).await {
                Fetch::Got(fetched) => {
                    let ours = |name: &str| fetched.env.iter().any(|(key, _)| key == name);
                    given.env.retain(|(name, _)| !ours(name));
                    given.env.extend(fetched.env);
                    given.stdin = fetched.body;
                }
                Fetch::Ended(verdict) => return ended(store.into_data(), verdict),
            }
        }
        let Finished {
            result,
            stdout,
            mut data,
            busy,
        } = loaded.program.run(store, given).await;
        let verdict = match result {
            Ok(code) => {
                let keeps_codes = loaded.program.keeps_codes();
                judge(code, keeps_codes, &stdout, &data.redactor, &mut data.log)
            }
            Err(End::Target(phase)) => Ok(timed_out(phase_name(phase))),
            Err(End::Fault(fault)) => Err(fault),
        };
        let fault = verdict.as_ref().err();
        data.watched(busy);
        loaded
            .cost
            .add(busy, &mut data, fault.map(|fault| fault.kind));
        let watched = data.watch.is_some();
        let redactor = data.redactor;
        let verdict = clean(&redactor, verdict);
        let log = data.log.finish(&redactor);
        if let Err(fault) = &verdict
            && is_crash(fault.kind)
            && !watched
        {
            let crash = Crash {
                installed: &loaded.installed,
                job,
                at,
                fault,
                log: &log,
            };
            self.shared
                .crashes
                .keep(&self.shared, crash, redactor)
                .await;
        }
        Ended {
            verdict,
            state_writes: Vec::new(),
            log,
        }
    }
}

/// A verdict without the secrets that its run used.
fn clean(redactor: &Redactor, verdict: Result<Report, Fault>) -> Result<Report, Fault> {
    if redactor.is_empty() {
        verdict
    } else {
        redacted(redactor, verdict)
    }
}

/// The end of a check whose program did not run.
fn ended(data: RunData, verdict: Result<Report, Fault>) -> Ended {
    data.watched(Duration::ZERO);
    let redactor = data.redactor;
    Ended {
        verdict: clean(&redactor, verdict),
        state_writes: Vec::new(),
        log: data.log.finish(&redactor),
    }
}

/// The report of a program that ended by itself.
fn judge(
    code: i32,
    keeps_codes: bool,
    stdout: &Kept,
    redactor: &Redactor,
    log: &mut RunLog,
) -> Result<Report, Fault> {
    if stdout.dropped > 0 {
        let (dropped, kept) = (stdout.dropped, stdout.bytes.len());
        log.push(
            "warning",
            &format!("{dropped} bytes of output were dropped, {kept} are kept"),
        );
    }
    let output = output::parse(whole_words(stdout));
    let state = match code {
        // It was 1, 2 or 3: only the text knows.
        1 if !keeps_codes => leading_state(&output.summary)
            .filter(|state| *state != State::Ok)
            .unwrap_or_else(|| {
                log.push(
                    "warning",
                    "the program says only that it failed: begin its output with WARNING, CRITICAL or UNKNOWN, or build it for wasm32-wasip1",
                );
                State::Unknown
            }),
        code => State::from_code(i64::from(code)).ok_or_else(|| odd_exit(code, &output.summary, redactor))?,
    };
    if output.malformed > 0 {
        let count = output.malformed;
        log.push(
            "warning",
            &format!("{count} pieces of performance data were dropped: expected label=value"),
        );
    }
    let (metrics, dropped) = output.metrics(MAX_METRICS);
    if dropped > 0 {
        log.push(
            "warning",
            &format!(
                "{dropped} metrics were dropped: unknown, of the same name as another, or beyond {MAX_METRICS}"
            ),
        );
    }
    let summary = match redactor.clip(&output.summary, MAX_SUMMARY) {
        summary if summary.is_empty() => NOTHING.to_owned(),
        summary => one_line(summary),
    };
    Ok(Report {
        state,
        summary,
        details: lines(redactor.clip(&output.details, MAX_TEXT - MAX_SUMMARY)),
        metrics,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::outcome::FaultKind;

    fn report(code: i32, keeps_codes: bool, text: &str) -> (Result<Report, Fault>, usize) {
        let mut log = RunLog::default();
        let kept = Kept {
            bytes: text.into(),
            dropped: 0,
        };
        let verdict = judge(code, keeps_codes, &kept, &Redactor::default(), &mut log);
        (verdict, log.finish(&Default::default()).len())
    }

    #[test]
    fn exit_codes_are_states() {
        // code, whether codes are kept, output, state
        let cases = [
            (0, true, "CRITICAL - it says", State::Ok),
            (1, true, "CRITICAL - it says", State::Warning),
            (2, true, "", State::Critical),
            (3, true, "", State::Unknown),
            (0, false, "OK", State::Ok),
            (1, false, "DISK CRITICAL - full", State::Critical),
            (1, false, "WARNING", State::Warning),
            (1, false, "OK - or not", State::Unknown),
            (1, false, "", State::Unknown),
            (2, false, "WARNING", State::Critical),
        ];
        for (code, keeps, text, state) in cases {
            let (verdict, _) = report(code, keeps, text);
            assert_eq!(verdict.unwrap().state, state, "{code} {keeps} {text}");
        }
        for code in [4, 100, -1] {
            let fault = report(code, true, "OK - what").0.unwrap_err();
            assert_eq!(fault.kind, FaultKind::Failed);
            assert_eq!(
                fault.text,
                format!("the program ended with exit code {code}, expected 0 to 3: OK - what")
            );
        }
    }

    #[test]
    fn half_a_secret_is_taken_out_too() {
        let mut redactor = Redactor::default();
        redactor.add("s3cret value");
        let text = format!("{}s3cret value", "x".repeat(MAX_SUMMARY - 3));
        let kept = Kept {
            bytes: format!("{text}\n{}", "s3cret value".repeat(6_000)).into(),
            dropped: 0,
        };
        let judged = |code| judge(code, true, &kept, &redactor, &mut RunLog::default());
        let report = judged(0).unwrap();
        assert!(report.summary.ends_with("x***"), "{}", report.summary);
        assert!(!report.details.contains("s3"), "{}", report.details);
        let fault = judged(9).unwrap_err();
        assert!(!fault.text.contains("s3"), "{}", fault.text);
    }

    #[test]
    fn what_is_left_out_is_in_the_log() {
        let (verdict, logged) = report(0, true, "");
        let verdict = verdict.unwrap();
        assert_eq!((verdict.summary.as_str(), logged), (NOTHING, 0));
        let (verdict, logged) = report(0, true, "ok\u{7} | a=1ms a=2 junk\nmore");
        let verdict = verdict.unwrap();
        assert_eq!(
            (verdict.summary.as_str(), verdict.details.as_str()),
            ("ok ", "more")
        );
        assert_eq!((verdict.metrics.len(), logged), (1, 2));
        assert_eq!(verdict.metrics[0].value, 0.001);
        let long = "x".repeat(MAX_STDOUT);
        let verdict = report(0, true, &format!("{long}\n{long}")).0.unwrap();
        assert_eq!(verdict.summary.len() + verdict.details.len(), MAX_TEXT);
    }
}
