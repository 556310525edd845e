//! The `bellwether` program: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The compiler child has a command line of its own, outside of the user's.
    if std::env::args().nth(1).as_deref() == Some(bellwether::plugin::compile::SUBCOMMAND) {
        return bellwether::plugin::compile_child_main();
    }
    bellwether::cli::main()
}
