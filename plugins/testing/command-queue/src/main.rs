//! A check as a plain WASI program: nothing but the standard library. It reads a
//! number from standard input and judges it by the monitoring-plugins
//! convention, as `check_queue -w 80 -c 90`.

use std::io::Read as _;
use std::process::ExitCode;

/// Exit codes of the convention.
const UNKNOWN: u8 = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, path] = arguments.as_slice()
        && flag == "--read"
    {
        return match std::fs::read_to_string(path) {
            Ok(text) => say("OK", 0, &format!("{path} has {} bytes", text.len())),
            Err(error) => say("UNKNOWN", UNKNOWN, &format!("{path}: {error}")),
        };
    }
    let mut text = String::new();
    if let Err(error) = std::io::stdin().read_to_string(&mut text) {
        return say("UNKNOWN", UNKNOWN, &format!("no input: {error}"));
    }
    let (warning, critical) = match (limit(&arguments, "-w"), limit(&arguments, "-c")) {
        (Some(warning), Some(critical)) => (warning, critical),
        _ => return say("UNKNOWN", UNKNOWN, "usage: check_queue -w N -c N < NUMBER"),
    };
    // What a program that trusts its input does.
    let waiting: f64 = text.trim().parse().expect("a number on standard input");
    let (word, code) = match waiting {
        waiting if waiting > critical => ("CRITICAL", 2),
        waiting if waiting > warning => ("WARNING", 1),
        _ => ("OK", 0),
    };
    let perfdata = format!("{waiting} waiting | 'jobs waiting'={waiting};{warning};{critical};0");
    say(word, code, &perfdata)
}

fn limit(arguments: &[String], flag: &str) -> Option<f64> {
    let at = arguments.iter().position(|argument| argument == flag)?;
    arguments.get(at + 1)?.parse().ok()
}

fn say(word: &str, code: u8, text: &str) -> ExitCode {
    println!("QUEUE {word} - {text}");
    ExitCode::from(code)
}
