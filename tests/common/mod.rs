//! What tests of the binary share: a home of their own, a clean environment, and the tool under test.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The root of the repository: recipes and scenarios are named relative to it.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The tool, run in the repository with `home` as its only state and nothing of the user's environment.
pub(crate) fn ovenproof(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ovenproof"));
    command.current_dir(root()).env_clear();
    for name in ["PATH", "HOME", "USER", "LANG", "TMPDIR", "http_proxy", "https_proxy", "no_proxy"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("OVENPROOF_HOME", home).env("NO_COLOR", "1");
    command
}

/// What a command that ended said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Said {
    /// Panics with everything that was said unless the command exited with `code`.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// Runs the tool to its end.
pub(crate) fn run<I, S>(home: &Path, arguments: I) -> Said
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    ovenproof(home).args(arguments).output().expect("the tool starts").into()
}

/// Every file and directory below `path`, sorted: to show that nothing was created or left.
pub(crate) fn everything_below(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![path.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                open.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    found
}
