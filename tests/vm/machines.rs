//! Help for tests with real machines.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{self, Said};

/// The home of all VM tests.
pub(crate) fn home() -> PathBuf {
    let home = std::env::var_os("OVENPROOF_TEST_HOME").filter(|home| !home.is_empty());
    home.map_or_else(|| std::env::temp_dir().join("ovenproof-test-home"), PathBuf::from)
}

/// Bakes these recipes, or finds them baked.
pub(crate) fn baked(recipes: &[&str]) {
    for recipe in recipes {
        run(&["bake", &format!("images/{recipe}.yaml")]).exits(0);
    }
}

/// Copies the recipe `base` and the files that it names, for recipes in a folder of their own.
pub(crate) fn copy_base(folder: &Path) {
    let images = common::root().join("images");
    std::fs::copy(images.join("base.yaml"), folder.join("base.yaml")).expect("the base recipe");
    std::fs::create_dir_all(folder.join("files")).expect("a folder");
    for entry in std::fs::read_dir(images.join("files")).expect("the files of recipes").flatten() {
        std::fs::copy(entry.path(), folder.join("files").join(entry.file_name())).expect("a file");
    }
}

/// Runs the tool on the home of all VM tests.
pub(crate) fn run(arguments: &[&str]) -> Said {
    common::run(&home(), arguments)
}

/// Processes of our home whose command line contains `needle`.
fn processes(needle: &str) -> Vec<u32> {
    let home = home().display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc is there").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(words) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&words).replace('\0', " ");
        if line.contains(needle) && line.contains(&home) {
            found.push(pid);
        }
    }
    found
}

/// The virtual machines that run from our home.
pub(crate) fn machines() -> Vec<u32> {
    processes("qemu-system-x86_64 ")
}

/// The supervisors of all fleets.
pub(crate) fn supervisors() -> Vec<u32> {
    processes(" __supervise ")
}

/// What is being made in the store and is not finished.
pub(crate) fn unfinished() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(home().join("store/tmp")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// The supervisor of the only fleet.
pub(crate) fn supervisor() -> u32 {
    let found = supervisors();
    assert_eq!(found.len(), 1, "supervisors: {found:?}");
    found[0]
}

/// Asserts that no machine, no fleet and no ledger entry is there.
#[track_caller]
pub(crate) fn assert_nothing_runs() {
    assert_eq!(machines(), [0_u32; 0], "virtual machines are left");
    let said = run(&["--json", "list"]).exits(0);
    assert_eq!(said.stdout.trim(), "[]", "a fleet is left");
    let folders = common::everything_below(&home().join("fleets"));
    assert!(folders.is_empty(), "left: {folders:?}");
}

/// Waits until `condition` holds; it is asked again and again because the kernel tells nobody.
#[track_caller]
pub(crate) fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// The tool in the background, with what it says about its progress.
pub(crate) struct Running {
    pub(crate) child: Child,
    said: BufReader<std::process::ChildStderr>,
    log: String,
}

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command: Command = common::ovenproof(&home());
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the tool starts");
        let said = BufReader::new(child.stderr.take().expect("its standard error"));
        Running { child, said, log: String::new() }
    }

    /// Waits for a line of progress that contains `text`.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) {
        loop {
            let mut line = String::new();
            let count = self.said.read_line(&mut line).expect("its standard error");
            self.log.push_str(&line);
            assert!(count > 0, "it ended before it said `{text}`:\n{}", self.log);
            if line.contains(text) {
                return;
            }
        }
    }

    /// Sends a signal, such as `KILL` or `INT`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits for its end; the exit code and all that it said about its progress.
    pub(crate) fn end(&mut self) -> (Option<i32>, String) {
        self.said.read_to_string(&mut self.log).expect("its standard error");
        (self.child.wait().expect("its end").code(), self.log.clone())
    }
}

impl Drop for Running {
    /// A test that fails leaves nothing to the next one.
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            // It ended just now.
            let _ = self.child.kill();
            let _ = self.child.wait();
            eventually("the machines end with their client", Duration::from_secs(30), || {
                machines().is_empty()
            });
        }
    }
}

/// Sends a signal to a process of ours.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().expect("kill");
    assert!(status.success());
}
