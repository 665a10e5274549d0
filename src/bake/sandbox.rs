//! Layers stacked into one tree, and commands run in it, seen by nobody else.
//!
//! Everything that mounts or runs recipe code starts with `unshare`: own mounts and own process ids. When
//! we die, the kernel kills `unshare`, with it process 1 of that namespace, with it every process there,
//! and with the last of them the mounts. So there is never anything to clean up outside the store.
//! Without root, the namespace has users of its own as well: see [`userns`].
//!
//! Commands of a recipe run inside `bwrap` on top of that: the stack is their root, without the host's
//! files, environment, devices, network (unless asked for) and most capabilities.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::io::{FdFlags, fcntl_setfd};

use super::error::{At, BakeError};
use super::process::proxies;
use crate::home::create_private_dir;
use crate::userns::{self, remove_tree};

/// What root in the sandbox may do: install files for any user and switch to any user; not mount, not
/// configure the network or the kernel, not reach into other processes.
const CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    // Not CAP_DAC_READ_SEARCH: with it, whoever holds any file of a host's file system reaches all of them.
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    // In a network of its own, if the step has none.
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Where root can change the kernel that all share by writing to a file, whatever it may do otherwise.
const KERNEL_SETTINGS: [&str; 4] = ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"];

/// Mounts the stack at `merged`, then becomes the rest of its arguments.
const MOUNT: &str = r#"mount -t overlay overlay -o "$1" merged && shift && exec "$@""#;

/// The seconds since 1970 that stand for "when" in everything that must not depend on when: 2025-01-01.
pub(super) const EPOCH: &str = "1735689600";
/// The same as a number.
pub(super) const EPOCH_SECONDS: u32 = 1_735_689_600;

/// Finished layers, and the place in a workspace where they are stacked.
#[derive(Debug)]
pub(super) struct Stack<'a> {
    /// The workspace; `merged` in it is the mount point, visible only inside the namespace.
    pub work: &'a Path,
    /// Trees of finished layers, base first.
    pub lower: &'a [PathBuf],
}

/// What a command in the sandbox may see beyond the stack.
#[derive(Debug, Default)]
pub(super) struct Access<'a> {
    pub network: bool,
    /// Host directories and where they appear; the flag says whether they are writable.
    pub binds: Vec<(PathBuf, &'static str, bool)>,
    pub env: Vec<(&'a str, &'a str)>,
    /// Files in memory that appear under `/run/secrets`.
    pub secrets: Vec<(&'a str, OwnedFd)>,
    /// Whether a person uses it: everybody else is kept from the terminal, where keys could be pressed for
    /// them.
    pub interactive: bool,
}

/// A program in own mount and process namespaces, started in `dir`.
fn namespaced(dir: &Path) -> Command {
    let alone =
        ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"];
    let mut unshare = userns::unshare(&alone);
    unshare.current_dir(dir);
    unshare
}

/// Hands open files to a program, which knows them by their numbers here.
pub(super) fn inherit(command: &mut Command, files: Vec<OwnedFd>) {
    // SAFETY: between fork and exec only system calls are made; nothing is allocated or locked.
    unsafe {
        command.pre_exec(move || files.iter().try_for_each(|file| Ok(fcntl_setfd(file, FdFlags::empty())?)));
    }
}

impl Stack<'_> {
    /// A host program in the workspace, which sees the files of layers as their owners do, but no stack.
    pub(super) fn beside(&self) -> Command {
        namespaced(self.work)
    }

    /// A host program that sees the stack, read-only, as `merged` in its working directory.
    pub(super) fn read_only(&self) -> Result<Command, BakeError> {
        // One layer alone cannot be mounted without an upper one; what comes from an empty one is nothing.
        self.dir("none", 0o755)?;
        let options = format!("ro,lowerdir={}:none,{}", self.links()?, userns::overlay_options());
        self.mounted(&options)
    }

    /// A host program that sees the stack as `merged` in its working directory; what it changes there lands
    /// in `upper`, a directory of the workspace.
    pub(super) fn writable(&self, upper: &str) -> Result<Command, BakeError> {
        self.dir(upper, 0o755)?;
        self.dir("none", 0o755)?;
        let scratch = format!("{upper}.work").replace('/', "-");
        // `volatile` leaves out syncing, on which installing packages spends most of its time: a layer counts
        // only after it was synced as a whole. The kernel refuses to mount twice on the scratch directory of a
        // volatile mount, as it cannot know that nothing crashed in between.
        remove_tree(&self.work.join(&scratch)).at(self.work)?;
        self.dir(&scratch, 0o700)?;
        let lower = match self.lower {
            [] => "none".to_owned(),
            _ => self.links()?,
        };
        let options = userns::overlay_options();
        let options = format!("lowerdir={lower},upperdir={upper},workdir={scratch},{options},volatile");
        self.mounted(&options)
    }

    /// `argv` inside the sandbox; what it changes lands in `upper`, a directory of the workspace.
    pub(super) fn sandboxed(
        &self,
        upper: &str,
        access: Access<'_>,
        argv: &[&str],
    ) -> Result<Command, BakeError> {
        let mut command = self.writable(upper)?;
        let secrets: Vec<(&str, i32)> =
            access.secrets.iter().map(|(name, file)| (*name, file.as_raw_fd())).collect();
        if !secrets.is_empty() {
            let files: Vec<OwnedFd> = access.secrets.into_iter().map(|(_, file)| file).collect();
            inherit(&mut command, files);
        }
        command.args(["bwrap", "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]);
        command.args(["--hostname", "oven", "--clearenv", "--cap-drop", "ALL"]);
        if !access.interactive {
            command.arg("--new-session");
        }
        for capability in CAPABILITIES {
            command.args(["--cap-add", capability]);
        }
        command.args(["--bind", "merged", "/", "--proc", "/proc", "--dev", "/dev"]);
        for settings in KERNEL_SETTINGS {
            command.args(["--ro-bind-try", settings, settings]);
        }
        command.args(["--perms", "1777", "--tmpfs", "/tmp", "--tmpfs", "/run", "--chdir", "/"]);
        let standard = [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/root"),
            ("LC_ALL", "C.UTF-8"),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("SYSTEMD_OFFLINE", "1"),
            // Images boot without an initial RAM disk; making one takes longer than all else.
            ("INITRD", "No"),
            ("SOURCE_DATE_EPOCH", EPOCH),
        ];
        for (name, value) in standard.iter().chain(&access.env) {
            command.args(["--setenv", name, value]);
        }
        match access.network {
            true => {
                for (name, value) in proxies() {
                    command.args(["--setenv", name]).arg(value);
                }
                // In the image, /etc/resolv.conf is a link to this place.
                command.args(["--dir", "/run/systemd/resolve", "--ro-bind-try", "/etc/resolv.conf"]);
                command.arg("/run/systemd/resolve/stub-resolv.conf");
            }
            false => {
                command.arg("--unshare-net");
            }
        }
        for (from, to, writable) in &access.binds {
            command.arg(if *writable { "--bind" } else { "--ro-bind" }).arg(from).arg(to);
        }
        if !secrets.is_empty() {
            command.args(["--perms", "0700", "--dir", "/run/secrets"]);
        }
        for (name, file) in secrets {
            command
                .args(["--perms", "0400", "--file", &file.to_string()])
                .arg(format!("/run/secrets/{name}"));
        }
        command.arg("--").args(argv);
        Ok(command)
    }

    fn mounted(&self, options: &str) -> Result<Command, BakeError> {
        self.dir("merged", 0o755)?;
        let mut command = namespaced(self.work);
        command.args(["sh", "-c", MOUNT, "mount", options]);
        Ok(command)
    }

    /// The lower layers, top first, by short names: mount options are limited to one page, and a path with a
    /// comma or a colon could not be named there at all.
    fn links(&self) -> Result<String, BakeError> {
        let links = self.work.join("l");
        create_private_dir(&links).at(&links)?;
        let mut names = Vec::new();
        for (index, layer) in self.lower.iter().enumerate().rev() {
            let link = links.join(index.to_string());
            if !link.is_symlink() {
                symlink(layer, &link).at(&link)?;
            }
            names.push(format!("l/{index}"));
        }
        Ok(names.join(":"))
    }

    fn dir(&self, name: &str, mode: u32) -> Result<(), BakeError> {
        let path = self.work.join(name);
        create_private_dir(&path).at(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).at(&path)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::process::{self, Ended};
    use super::*;

    #[test]
    fn there_is_one_epoch() {
        assert_eq!(EPOCH, EPOCH_SECONDS.to_string());
    }

    /// Runs a script on a stack whose one layer is this very system; gives how it ended, what it printed, and
    /// the folder in which it changed things. `None` where stacks cannot be mounted.
    fn on_this_system(script: &str, limit: Duration) -> Option<(Ended, String, tempfile::TempDir)> {
        if !crate::bake::missing_tools().is_empty() || userns::probe().is_err() {
            return None;
        }
        let work = tempfile::tempdir().unwrap();
        let stack = Stack { work: work.path(), lower: &[PathBuf::from("/")] };
        let mut command = stack.sandboxed("upper", Access::default(), &["sh", "-c", script]).unwrap();
        let log = work.path().join("log");
        let ended = process::run(&mut command, &log, limit, &[]).unwrap();
        Some((ended, process::tail(&log), work))
    }

    #[test]
    fn a_step_changes_its_layer_alone_and_has_no_network() {
        let script = "echo new > /srv/new; rm -f /etc/hostname; cut -d: -f1 /proc/net/dev | tail -n +3; \
                      test -e /run/* || echo no run; mount -t tmpfs none /srv 2> /dev/null || echo no mount";
        let Some((ended, printed, work)) = on_this_system(script, Duration::from_secs(60)) else { return };
        assert!(matches!(ended, Ended::Well), "{ended:?} {printed}");
        let lines: Vec<&str> = printed.lines().map(str::trim).collect();
        assert_eq!(lines, ["lo", "no run", "no mount"]);
        assert!(work.path().join("upper/srv/new").is_file());
        assert!(!Path::new("/srv/new").exists());
    }

    #[test]
    fn a_step_that_is_ended_leaves_no_process_however_it_hid() {
        // A duration that no other process sleeps for.
        let marker = format!("31536{}.5", std::process::id());
        let script = format!("sleep {marker} & setsid sleep {marker} & exec sleep {marker}");
        let Some((ended, _, _work)) = on_this_system(&script, Duration::from_millis(500)) else { return };
        assert!(matches!(ended, Ended::Badly(why) if why == "took longer than 500ms"));
        let asleep = || {
            let processes = fs::read_dir("/proc").unwrap().flatten();
            processes
                .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
                .any(|cmdline| cmdline.starts_with(format!("sleep\0{marker}").as_bytes()))
        };
        // The kernel ends a namespace on its own time after its first process was killed.
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while asleep() {
            assert!(std::time::Instant::now() < deadline, "still asleep");
            std::thread::yield_now();
        }
    }
}
