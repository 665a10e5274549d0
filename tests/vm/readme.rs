//! Every command of the README, run as it stands there.

use std::path::Path;
use std::process::Command;

use crate::common::{self, Said};
use crate::machines::{assert_nothing_runs, home};

/// The lines of the README's `sh` blocks.
pub(crate) fn commands() -> Vec<String> {
    let text = std::fs::read_to_string(common::root().join("README.md")).expect("the README");
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

/// Runs a line in a shell that finds the tool.
pub(crate) fn run_line(line: &str) -> Said {
    let tool = Path::new(env!("CARGO_BIN_EXE_ovenproof")).parent().expect("a folder");
    let path = format!("{}:{}", tool.display(), std::env::var("PATH").expect("a path"));
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(common::root()).env("PATH", path);
    command.env("OVENPROOF_HOME", home()).env("NO_COLOR", "1");
    command.output().expect("a shell").into()
}

#[test]
fn every_command_of_the_readme_works() {
    let commands = commands();
    assert!(commands.len() >= 8, "{commands:?}");
    // The gate has a test of its own, which looks closer.
    for line in commands.iter().filter(|line| !line.starts_with("ovenproof gate")) {
        run_line(line).exits(0);
    }
    assert_nothing_runs();
}
