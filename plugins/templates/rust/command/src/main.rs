//! The same judgement as a WASI command: no bindings, only standard streams.
//!
//! The engine fetches the page (`input:` on the check) and hands the answer to
//! standard input. The program follows the monitoring-plugins convention: one
//! line `STATE - text | metrics` and an exit code from 0 (ok) to 3 (unknown).

use std::io::Read;
use std::process::exit;

fn main() {
    // The first argument is text that the body must contain.
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let mut input = Vec::new();
    if let Err(error) = std::io::stdin().read_to_end(&mut input) {
        println!("UNKNOWN - cannot read standard input: {error}");
        exit(3);
    }
    let input = String::from_utf8_lossy(&input);

    // With a status line it is a whole answer, otherwise a body alone.
    let (head, body) = match input.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/") => (head, body),
        _ => ("", &*input),
    };
    let status: Option<u16> = head
        .split(' ')
        .nth(1)
        .and_then(|word| word.get(..3)?.parse().ok());
    let size = body.len();

    match status {
        Some(status) if status != 200 => {
            println!("CRITICAL - HTTP {status}, expected 200 | size_bytes={size}B");
            exit(2);
        }
        _ if !body.contains(&wanted) => {
            println!("CRITICAL - the body lacks \"{wanted}\" | size_bytes={size}B");
            exit(2);
        }
        _ => println!("OK - {size} bytes as expected | size_bytes={size}B"),
    }
}
