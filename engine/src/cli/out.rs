//! What commands print.

use std::io::{ErrorKind, Write};

/// Writes to standard output. Where whoever read it has read enough, as with
/// `| head`, the command ends without a word; any other failure is told.
pub fn write(text: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_fmt(text).and_then(|()| out.flush()) {
        if error.kind() == ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        // Nobody is left to tell where this fails as well.
        let _ = writeln!(std::io::stderr(), "standard output: {error}");
        std::process::exit(1);
    }
}

/// As `println!`, for commands.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::out::write(format_args!("{}\n", format_args!($($text)*))) };
}
pub(crate) use say;
