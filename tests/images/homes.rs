//! Homes with images in them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::common::{self, Said};

/// The home of the VM tests, in which images are baked once.
pub(crate) fn shared() -> PathBuf {
    let home = std::env::var_os("OVENPROOF_TEST_HOME").filter(|home| !home.is_empty());
    home.map_or_else(|| std::env::temp_dir().join("ovenproof-test-home"), PathBuf::from)
}

/// Tests run side by side, and a store that another test is baking in is not one to copy.
fn alone_in_shared() -> MutexGuard<'static, ()> {
    static BUSY: Mutex<()> = Mutex::new(());
    BUSY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bakes `recipe` in the shared home, or finds it baked, and tells its id.
pub(crate) fn baked(recipe: &str) -> String {
    let _alone = alone_in_shared();
    let said = common::run(&shared(), ["--json", "bake", &format!("images/{recipe}.yaml")]).exits(0);
    let said: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    said["id"].as_str().expect("an id").to_owned()
}

/// A home of the test's own, whose files are those of the shared one until they are replaced.
pub(crate) struct Copy {
    folder: tempfile::TempDir,
}

impl Copy {
    pub(crate) fn new() -> Self {
        let _alone = alone_in_shared();
        // Links do not cross file systems.
        let folder = tempfile::tempdir_in(shared()).expect("a folder");
        let mut copy = Command::new("cp");
        copy.arg("--archive").arg("--link").arg(shared().join("store")).arg(folder.path());
        assert!(copy.status().expect("cp").success());
        std::os::unix::fs::symlink(shared().join("cache"), folder.path().join("cache")).expect("a link");
        Copy { folder }
    }

    /// Without what earlier versions of this tool and other tests have left in the shared home.
    pub(crate) fn tidy() -> Self {
        let copy = Copy::new();
        copy.run(&["images", "fsck", "--repair"]);
        copy.run(&["images", "gc"]).exits(0);
        copy
    }

    pub(crate) fn home(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.home().join("store")
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        common::run(self.home(), arguments)
    }

    /// Runs a command that answers in JSON.
    pub(crate) fn ask(&self, arguments: &[&str]) -> serde_json::Value {
        let said = self.run(&[&["--json"], arguments].concat()).exits(0);
        serde_json::from_str(&said.stdout).expect("JSON")
    }
}

/// A recipe on top of `base` in a folder of its own.
pub(crate) fn recipe(folder: &Path, name: &str, rest: &str) -> String {
    let images = common::root().join("images");
    std::fs::copy(images.join("base.yaml"), folder.join("base.yaml")).expect("the base recipe");
    std::fs::create_dir_all(folder.join("files")).expect("a folder");
    for entry in std::fs::read_dir(images.join("files")).expect("the files of recipes").flatten() {
        std::fs::copy(entry.path(), folder.join("files").join(entry.file_name())).expect("a file");
    }
    let path = folder.join(format!("{name}.yaml"));
    std::fs::write(&path, format!("name: {name}\nfrom: base\n{rest}")).expect("a recipe");
    path.to_str().expect("a plain path").to_owned()
}
