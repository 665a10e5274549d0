//! Being root over one's own files: a user namespace in which we are user 0 and our subordinate ids are the
//! others.
//!
//! Who is root needs none of it, and every function here then changes nothing. Others get what they need to
//! own the files of an image: on disk those belong to the user (root's), and to the user's range of
//! `/etc/subuid` (everybody else's). Such a store means nothing to another user, root included.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where programs are looked for, whatever the user's own path says.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What makes `unshare` start its program as root of a namespace with all our ids.
const OWN_IDS: [&str; 3] = ["--user", "--map-auto", "--map-root-user"];

/// Why there can be no such namespace, and what would allow it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct NotAllowed {
    pub why: String,
    pub hint: String,
    /// The Debian package that is missing, if it is only that.
    pub package: Option<&'static str>,
}

/// Whether we are not root and so need a namespace.
pub fn needed() -> bool {
    !rustix::process::geteuid().is_root()
}

/// Options of `unshare` that make us root over our own ids; none when we are root already.
pub fn options() -> &'static [&'static str] {
    if needed() { &OWN_IDS } else { &[] }
}

/// Tries all that baking needs: the ids, a mount namespace, an overlay in it with a file of another user.
///
/// For root it tries the overlay alone.
pub fn probe() -> Result<(), NotAllowed> {
    let allowed = |path: &str| fs::read_to_string(path).map_or(true, |text| text.trim() != "0");
    let refused =
        |why: &str, hint: &str| Err(NotAllowed { why: why.to_owned(), hint: hint.to_owned(), package: None });
    if needed() {
        if !allowed("/proc/sys/user/max_user_namespaces") {
            return refused(
                "this machine allows no user namespaces",
                "`sysctl user.max_user_namespaces=10000` allows them; or bake as root",
            );
        }
        if !allowed("/proc/sys/kernel/unprivileged_userns_clone") {
            return refused(
                "this machine allows user namespaces to root alone",
                "`sysctl kernel.unprivileged_userns_clone=1` allows them; or bake as root",
            );
        }
        if !PATH.split(':').any(|folder| Path::new(folder).join("newuidmap").is_file()) {
            return Err(NotAllowed {
                why: "`newuidmap` is not installed, without which only root can bake".to_owned(),
                hint: "on Debian, the package `uidmap` has it".to_owned(),
                package: Some("uidmap"),
            });
        }
    }
    let output = unshare(&["--mount", "--propagation", "private"])
        .args(["sh", "-ec", TRIAL, "trial", overlay_options()])
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it failed");
            let user = rustix::process::geteuid().as_raw();
            refused(
                &format!("layers cannot be stacked on this machine: {}", said.trim()),
                &match needed() && said.contains("map") {
                    true => format!(
                        "give your user ids of its own: `usermod --add-subuids 100000-165535 --add-subgids \
                         100000-165535 USER`, USER being user {user}"
                    ),
                    false => "it takes a kernel of 5.11 or newer with overlayfs".to_owned(),
                },
            )
        }
        Err(error) => refused(&format!("`unshare` cannot be run: {error}"), "install `util-linux`"),
    }
}

/// On a file system in memory, so that nothing is left of it.
const TRIAL: &str = "mount -t tmpfs none /mnt; cd /mnt; mkdir lower upper work merged; \
                     mount -t overlay overlay -o \"lowerdir=lower,upperdir=upper,workdir=work,$1\" merged; \
                     : > merged/file; chown 65534:1 merged/file";

/// How layers are stacked: plain copies only, so that a layer's tree means the same wherever it is stacked.
///
/// The marks that say "gone" or "only what is here" are kept in attributes that only root may write, or, in
/// a user namespace, in those that users may write.
pub fn overlay_options() -> &'static str {
    match needed() {
        true => "metacopy=off,index=off,userxattr",
        false => "redirect_dir=off,metacopy=off,index=off",
    }
}

/// `unshare` with our ids and `more` options; the program and its arguments are still to be added.
pub fn unshare(more: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.env_clear().env("PATH", PATH).env("LC_ALL", "C.UTF-8");
    command.args(options()).args(more).arg("--");
    command
}

/// Removes a directory and all in it, whoever of our users owns it; that it is not there is fine.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && needed() => {
            let arguments = [OsStr::new("rm"), OsStr::new("-rf"), OsStr::new("--"), path.as_os_str()];
            let status = unshare(&[]).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).status()?;
            if status.success() { Ok(()) } else { Err(error) }
        }
        other => other,
    }
}

/// The user whom `path` belongs to, if that is somebody else than we are.
pub fn other_owner(path: &Path) -> Option<u32> {
    let owner = fs::metadata(path).ok()?.uid();
    (owner != rustix::process::geteuid().as_raw()).then_some(owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_removed_and_a_missing_one_is_fine() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("deep")).unwrap();
        remove_tree(&tree).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }
}
