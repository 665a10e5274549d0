//! Help for tests that bake: a folder of recipes on top of `base`, and users to bake them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::{self, Said, root};

/// The home of all tests that bake as the user who runs them.
pub(crate) fn home() -> PathBuf {
    let home = std::env::var_os("OVENPROOF_TEST_HOME").filter(|home| !home.is_empty());
    home.map_or_else(|| std::env::temp_dir().join("ovenproof-test-home"), PathBuf::from)
}

/// A folder of recipes: `base`, and what a test adds.
pub(crate) struct Kitchen {
    folder: tempfile::TempDir,
}

impl Kitchen {
    pub(crate) fn new() -> Self {
        let kitchen = Kitchen { folder: tempfile::tempdir().expect("a folder") };
        let images = root().join("images");
        fs::create_dir_all(kitchen.path("images/files")).expect("a folder");
        fs::copy(images.join("base.yaml"), kitchen.path("images/base.yaml")).expect("the base recipe");
        for entry in fs::read_dir(images.join("files")).expect("the files of recipes").flatten() {
            let to = kitchen.path("images/files").join(entry.file_name());
            fs::copy(entry.path(), to).expect("a file");
        }
        // Whoever bakes in it must be able to read it.
        fs::set_permissions(kitchen.folder.path(), fs::Permissions::from_mode(0o755)).expect("its owner");
        kitchen
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn put(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a name")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    /// Lets everybody run a file.
    pub(crate) fn script(&self, name: &str) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).expect("its owner");
    }

    /// A recipe on top of `base`.
    pub(crate) fn recipe(&self, name: &str, rest: &str) {
        self.put(&format!("images/{name}.yaml"), &format!("name: {name}\nfrom: base\n{rest}"));
    }

    /// The tool, run in this folder on the home of all tests.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = common::ovenproof(&home());
        command.current_dir(self.folder.path()).args(arguments).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        self.command(arguments).output().expect("the tool starts").into()
    }

    /// Bakes a recipe and gives what is said of the image.
    #[track_caller]
    pub(crate) fn bake(&self, name: &str) -> serde_json::Value {
        json(self.run(&["--json", "bake", name]))
    }

    /// The tool, run in this folder by somebody who is not root and has ids of its own.
    pub(crate) fn run_unprivileged(&self, arguments: &[&str]) -> Said {
        if !rustix::process::geteuid().is_root() {
            return self.run(arguments);
        }
        let home = unprivileged_home();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-euc", BECOME_NOBODY, "nobody"]);
        command.arg(env!("CARGO_BIN_EXE_ovenproof")).arg(self.folder.path()).arg(home).args(arguments);
        command.stdin(Stdio::null()).output().expect("unshare is installed").into()
    }
}

/// What was printed as JSON by a command that went well.
#[track_caller]
pub(crate) fn json(said: Said) -> serde_json::Value {
    serde_json::from_str(&said.exits(0).stdout).expect("JSON")
}

/// `nobody`, with ids of its own that it has only here: nothing of the host is changed. The tool, the recipes
/// and the home may lie where others cannot go, so they are seen elsewhere.
const BECOME_NOBODY: &str = r#"
mount -t tmpfs -o mode=755 none /mnt
echo nobody:1000000:65536 > /mnt/ids
mount --bind /mnt/ids /etc/subuid
mount --bind /mnt/ids /etc/subgid
: > /mnt/ovenproof
mount --bind "$1" /mnt/ovenproof
mkdir /mnt/recipes /mnt/home
mount --bind "$2" /mnt/recipes
mount --bind "$3" /mnt/home
cd /mnt/recipes
shift 3
export OVENPROOF_HOME=/mnt/home HOME=/mnt/home NO_COLOR=1
exec setpriv --reuid=65534 --regid=65534 --clear-groups /mnt/ovenproof "$@"
"#;

/// Where `nobody` bakes. It starts with what root has downloaded.
pub(crate) fn unprivileged_home() -> PathBuf {
    let debs = Path::new("cache/apt/archives");
    let unprivileged = home().join("unprivileged");
    if unprivileged.exists() {
        return unprivileged;
    }
    let aside = home().join(format!("unprivileged.{}", std::process::id()));
    fs::create_dir_all(aside.join(debs)).expect("a folder");
    for entry in fs::read_dir(home().join(debs)).into_iter().flatten().flatten() {
        if entry.path().is_file() {
            fs::copy(entry.path(), aside.join(debs).join(entry.file_name())).expect("a package");
        }
    }
    for path in common::everything_below(&aside).iter().chain([&aside]) {
        chown(path, Some(65534), Some(65534)).expect("we are root");
    }
    fs::rename(&aside, &unprivileged).expect("nobody else makes it");
    unprivileged
}

/// Every file below `folder` that holds any of the `needles`, links and names of files included.
pub(crate) fn holding(folder: &Path, needles: &[&str]) -> Vec<PathBuf> {
    let mut search = Command::new("grep");
    search.args(["--recursive", "--files-with-matches", "--text", "--fixed-strings", "--devices=skip"]);
    search.args(needles.iter().flat_map(|needle| ["-e", needle]));
    let found = search.arg("--").arg(folder).output().expect("grep");
    assert!(found.stderr.is_empty(), "{}", String::from_utf8_lossy(&found.stderr));
    let mut found: Vec<PathBuf> = String::from_utf8_lossy(&found.stdout).lines().map(PathBuf::from).collect();
    found.extend(common::everything_below(folder).into_iter().filter(|path| {
        let link = fs::read_link(path).unwrap_or_default();
        let texts = [path.to_string_lossy(), link.to_string_lossy()];
        needles.iter().any(|needle| texts.iter().any(|text| text.contains(needle)))
    }));
    found
}
