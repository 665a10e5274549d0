//! What tests share that own real fleets without the tool's help: their supervisors are this very executable,
//! started again with other arguments, which is why such tests have no test harness.

use std::path::{Path, PathBuf};
use std::process::Command;

use ovenproof::fleet::qemu::{Qemu, SUPERVISE, supervisor};
use ovenproof::home::Home;
use ovenproof::store::Store;

/// Supervises a fleet if that is what this process was started for; what is asked of it otherwise.
pub(crate) fn asked() -> Option<Vec<String>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, folder] = arguments.as_slice() else { return Some(arguments) };
    if what != SUPERVISE {
        return Some(arguments);
    }
    if let Err(error) = supervisor::supervise(Path::new(folder)) {
        println!("{error}");
    }
    None
}

/// Bakes an image, or finds it baked.
pub(crate) fn bake(image: &str) {
    let baked = Command::new(env!("CARGO_BIN_EXE_ovenproof"))
        .args(["bake", &format!("images/{image}.yaml")])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("OVENPROOF_HOME", home().root())
        .status();
    assert!(baked.expect("the tool").success());
}

pub(crate) fn home() -> Home {
    let home = std::env::var_os("OVENPROOF_TEST_HOME").filter(|home| !home.is_empty());
    Home::at(home.map_or_else(|| std::env::temp_dir().join("ovenproof-test-home"), PathBuf::from))
}

pub(crate) fn store() -> Store {
    Store::open(&home()).expect("a store")
}

pub(crate) fn provider() -> Qemu {
    Qemu::new(home(), store())
}
