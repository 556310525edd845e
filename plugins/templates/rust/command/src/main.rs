//! The same judgement as a WASI command: no bindings, only standard streams.
//!
//! The engine fetches the page (`input:` on the check), hands the body to
//! standard input and tells the rest in the environment. The program follows the
//! monitoring-plugins convention: one line `STATE - text | metrics` and an exit
//! code from 0 (ok) to 3 (unknown).

use std::env;
use std::io::Read;
use std::process::exit;

fn main() {
    // The first argument is text that the body must contain.
    let wanted = env::args().nth(1).unwrap_or_default();
    let status = env::var("HTTP_STATUS").unwrap_or_else(|_| "200".to_owned());
    let mut input = Vec::new();
    if let Err(error) = std::io::stdin().read_to_end(&mut input) {
        println!("UNKNOWN - cannot read standard input: {error}");
        exit(3);
    }
    let body = String::from_utf8_lossy(&input);

    let mut metrics = format!("size={}B", input.len());
    if let Ok(ms) = env::var("TIME_TOTAL_MS") {
        metrics += &format!(" latency={ms}ms");
    }
    if status != "200" {
        println!("CRITICAL - HTTP {status}, expected 200 | {metrics}");
        exit(2);
    }
    if !body.contains(&wanted) {
        println!("CRITICAL - the body lacks \"{wanted}\" | {metrics}");
        exit(2);
    }
    println!("OK - {} bytes as expected | {metrics}", input.len());
}
