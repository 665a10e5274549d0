//! The `ovenproof` command: everything it can do is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ovenproof::cli::main()
}
