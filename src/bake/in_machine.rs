//! Making layers in a machine: what each kind of work means there, and how the root file system comes out of it.
//!
//! The work is said in the same words as in the sandbox, so that it comes to the same.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use super::error::{At, BakeError};
use super::layer::{Oven, PATIENCE, PLACE, SYSTEMCTL, TREE, USERS, user_words};
use super::machine::{Machine, MachineError};
use super::packages::{INSTALL, parse_status};
use super::process::{self, Ended, command, proxies};
use super::sandbox::EPOCH;
use super::secret::Mask;
use crate::recipe::plan::SourceDisk;
use crate::recipe::{Package, PlannedFile, Services, Step, Work};

/// What a layer that is made in a machine consists of: the part of a disk that it adds.
pub(super) const PART: &str = "layer/disk";

/// Where files wait in the machine: on its disk, as its memory is small.
const STAGE: &str = r#"
rm -rf /var/tmp/oven.stage
mkdir -p -m 700 /var/tmp/oven.stage
tar -x -f /var/tmp/oven.tar -C /var/tmp/oven.stage
rm -f /var/tmp/oven.tar
ln -sfn /var/tmp/oven.stage /run/stage
"#;
const UNSTAGE: &str = "rm -rf /var/tmp/oven.stage /run/stage";

/// What was downloaded is of no use in an image.
const PREPARE: &str =
    "mkdir -p /var/cache/apt/archives && : > /var/cache/apt/archives/Packages && rm -rf /run/sources";
const TIDY: &str =
    "rm -rf /run/sources /run/pins /var/cache/apt/archives/*.deb /var/cache/apt/archives/Packages";

/// Writes the root file system to the disk with the serial number `export`, as an archive: whatever its kind and
/// wherever it lies, the machine can read it. Services rest meanwhile, so that their files are whole. What the seed
/// brought stays out, and so do the mounts, for the image has a disk of its own.
const EXPORT: &str = r#"
to=
for disk in /sys/block/*; do
    if [ "$(cat "$disk/serial" 2> /dev/null)" = export ]; then to=/dev/${disk##*/}; fi
done
[ -n "$to" ]
resting=$(systemctl list-units --plain --no-legend --type=service --state=running | while read -r unit rest; do
    case $unit in
    ssh*|systemd-*|dbus*|user@*|NetworkManager*|*getty@*) ;;
    *) echo "$unit" ;;
    esac
done)
[ -z "$resting" ] || systemctl stop $resting
set -- .
while read -r from to_dir type rest; do
    case $type in
    ext*|xfs|btrfs) [ "$to_dir" = / ] || set -- "$@" ".$to_dir" ;;
    esac
done < /proc/mounts
code=0
tar --create --file="$to" --directory=/ --one-file-system --numeric-owner --sparse --anchored \
    --xattrs --xattrs-include=security.capability --xattrs-include='user.*' \
    --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' --exclude='./run/*' --exclude='./tmp/*' \
    --exclude=./lost+found --exclude=./etc/fstab --exclude='./swap*' --exclude='./var/tmp/*' \
    --exclude='./var/lib/cloud/*' --exclude='./etc/ssh/ssh_host_*' \
    --exclude='./root/.ssh/authorized_keys' --exclude='./home/*/.ssh/authorized_keys' \
    --exclude='./etc/netplan/50-cloud-init.yaml' --exclude='./etc/network/interfaces.d/50-cloud-init*' \
    --exclude='./etc/systemd/network/10-cloud-init-*' \
    --exclude='./etc/NetworkManager/system-connections/cloud-init-*' \
    --exclude='./etc/ssh/sshd_config.d/50-cloud-init.conf' \
    "$@" || code=$?
# One is "changed while it was read": a log goes on.
[ "$code" -le 1 ]
sync
[ -z "$resting" ] || systemctl start $resting
"#;

/// What may be done where the archive is unpacked: it was written by strangers.
const CAPABILITIES: [&str; 6] =
    ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_MKNOD", "CAP_SETFCAP"];

impl Oven<'_> {
    /// Copies the disk that all stands on, if it still is what the plan says.
    pub(super) fn disk(&self, disk: &SourceDisk) -> Result<(), BakeError> {
        let to = self.work().join(PART);
        let copy = || -> std::io::Result<blake3::Hash> {
            let (mut input, output) = (File::open(&disk.path)?, File::create(&to)?);
            let (mut hasher, mut at, mut buffer) = (blake3::Hasher::new(), 0, vec![0; 1 << 16]);
            loop {
                let count = std::io::Read::read(&mut input, &mut buffer)?;
                let Some(chunk) = buffer.get(..count).filter(|chunk| !chunk.is_empty()) else { break };
                hasher.update(chunk);
                // What is nothing takes no room.
                if chunk.iter().any(|byte| *byte != 0) {
                    output.write_all_at(chunk, at)?;
                }
                at += count as u64;
            }
            output.set_len(at)?;
            Ok(hasher.finalize())
        };
        match copy().at(&disk.path)?.to_hex().as_str() == disk.digest {
            true => Ok(()),
            false => Err(BakeError::Changed(disk.path.clone())),
        }
    }

    /// Makes the layer in the machine; gives the packages that it has installed or changed.
    pub(super) fn make_in(&self, machine: &mut Machine) -> Result<Vec<Package>, BakeError> {
        let mut installed = Vec::new();
        let mut needles = Vec::new();
        match &self.layer.work {
            Work::Packages(names) => installed = self.packages_in(machine, names)?,
            Work::Users(users) => {
                let words = user_words(users);
                let mut argv = vec!["sh", "-eu", "-c", USERS, "users"];
                argv.extend(words.iter().map(String::as_str));
                self.in_machine(machine, &argv, &offline(), PATIENCE)?;
            }
            Work::Files(files) => self.files_in(machine, files)?,
            Work::Run(step) => {
                needles = self.secrets.needles(&step.secrets);
                self.step_in(machine, step, &needles)?;
            }
            Work::Services(services) => self.services_in(machine, services)?,
            _ => return Err(BakeError::Incomplete("work that is done in a machine")),
        }
        machine.take(&self.work().join(PART)).map_err(|error| self.broken(error))?;
        match needles.is_empty() {
            true => Ok(installed),
            false => self.search(&needles).map(|()| installed),
        }
    }

    fn packages_in(&self, machine: &mut Machine, names: &[String]) -> Result<Vec<Package>, BakeError> {
        const STATUS: &str = "/var/lib/dpkg/status";
        let status = |machine: &Machine| -> Result<Vec<Package>, BakeError> {
            let bytes = machine.get(STATUS).map_err(|error| self.broken(error))?;
            let bytes = bytes.ok_or(BakeError::Incomplete("package manager that we know (dpkg)"))?;
            Ok(parse_status(&String::from_utf8_lossy(&bytes)))
        };
        let before = status(machine)?;
        self.sh(machine, PREPARE)?;
        let mut pins = String::new();
        for Package { name, version, .. } in self.held() {
            pins.push_str(&format!("Package: {name}\nPin: version {version}\nPin-Priority: 1001\n\n"));
        }
        machine.put("/run/pins", pins.as_bytes(), 0o644).map_err(|error| self.broken(error))?;
        let mut argv = vec!["sh", "-eu", "-c", INSTALL, "install"];
        argv.extend(names.iter().map(String::as_str));
        let proxies = proxies_as_text();
        let mut env = offline();
        env.extend(proxies.iter().map(|(name, value)| (*name, value.as_str())));
        self.ran(machine, &argv, &env, true, PATIENCE, &self.stage(), &[])?;
        self.sh(machine, TIDY)?;
        Ok(status(machine)?.into_iter().filter(|package| !before.contains(package)).collect())
    }

    fn files_in(&self, machine: &mut Machine, files: &[PlannedFile]) -> Result<(), BakeError> {
        let (stage, arguments) = self.stage_files(files)?;
        let archive =
            command("tar").args(["-c", "-f", "-", "-C"]).arg(&stage).arg(".").output().at(&stage)?;
        machine.put("/var/tmp/oven.tar", &archive.stdout, 0o600).map_err(|error| self.broken(error))?;
        self.sh(machine, STAGE)?;
        for some in arguments {
            let mut argv = vec!["sh", "-eu", "-c", PLACE, "place"];
            argv.extend(some.iter().map(String::as_str));
            self.in_machine(machine, &argv, &offline(), PATIENCE)?;
        }
        self.sh(machine, UNSTAGE)
    }

    fn services_in(&self, machine: &mut Machine, services: &Services) -> Result<(), BakeError> {
        for (verb, units) in services.verbs() {
            let mut argv = vec!["sh", "-eu", "-c", SYSTEMCTL, "systemctl", verb];
            argv.extend(units.iter().map(String::as_str));
            self.in_machine(machine, &argv, &offline(), PATIENCE)?;
        }
        Ok(())
    }

    fn step_in(&self, machine: &mut Machine, step: &Step, needles: &[Vec<u8>]) -> Result<(), BakeError> {
        if !step.secrets.is_empty() {
            self.sh(machine, "mkdir -p -m 700 /run/secrets")?;
        }
        for name in &step.secrets {
            let value = self.secrets.get(name).ok_or_else(|| BakeError::NoSecret(name.clone()))?;
            let path = format!("/run/secrets/{name}");
            machine.put(&path, value, 0o400).map_err(|error| self.broken(error))?;
        }
        let proxies = if step.network { proxies_as_text() } else { Vec::new() };
        let mut env = standard();
        env.extend(proxies.iter().map(|(name, value)| (*name, value.as_str())));
        env.extend(step.env.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let argv = ["sh", "-eu", "-c", step.command.as_str()];
        let ended = self.ran(machine, &argv, &env, step.network, step.timeout, &self.stage(), needles);
        if self.shell && matches!(ended, Err(BakeError::Failed { .. })) {
            machine.let_in(&step.command).map_err(|error| self.broken(error))?;
        }
        ended?;
        if !step.secrets.is_empty() {
            self.sh(machine, "rm -rf /run/secrets")?;
        }
        Ok(())
    }

    /// Takes the root file system out of the machine, then runs the tests there; what they change stays there.
    pub(super) fn root(&self, machine: &mut Machine, tests: &[String]) -> Result<(), BakeError> {
        self.sh(machine, EXPORT)?;
        let tree = self.work().join(TREE);
        fs::create_dir(&tree).at(&tree)?;
        let mut unpack = self.stack.beside();
        unpack.args(["bwrap", "--die-with-parent", "--unshare-pid", "--unshare-net", "--cap-drop", "ALL"]);
        for capability in CAPABILITIES {
            unpack.args(["--cap-add", capability]);
        }
        unpack.args(["--ro-bind", "/", "/", "--dev", "/dev", "--bind"]).arg(&tree).arg(&tree).arg("--");
        unpack.args([
            "tar",
            "--extract",
            "--numeric-owner",
            "--same-permissions",
            "--same-owner",
            "--xattrs",
        ]);
        unpack.args(["--xattrs-include=security.capability", "--xattrs-include=user.*", "--file"]);
        unpack.arg(machine.export()).arg("--directory").arg(&tree);
        self.execute(&mut unpack, PATIENCE)?;
        for test in tests {
            let title = test.trim().lines().next().unwrap_or_default();
            self.note(&format!("test: {title}"))?;
            let argv = ["sh", "-eu", "-c", test.as_str()];
            self.ran(
                machine,
                &argv,
                &standard(),
                false,
                Duration::from_secs(300),
                &format!("test `{title}`"),
                &[],
            )?;
        }
        let needles = self.secrets.all_needles();
        if needles.is_empty() { Ok(()) } else { self.search(&needles) }
    }

    fn sh(&self, machine: &Machine, script: &str) -> Result<(), BakeError> {
        self.in_machine(machine, &["sh", "-eu", "-c", script], &standard(), PATIENCE)
    }

    fn in_machine(
        &self,
        machine: &Machine,
        argv: &[&str],
        env: &[(&str, &str)],
        limit: Duration,
    ) -> Result<(), BakeError> {
        self.ran(machine, argv, env, false, limit, &self.stage(), &[])
    }

    /// Runs a command in the machine, with what it printed in the log; a bad end becomes an error.
    #[expect(clippy::too_many_arguments, reason = "all that a command can be told")]
    fn ran(
        &self,
        machine: &Machine,
        argv: &[&str],
        env: &[(&str, &str)],
        world: bool,
        limit: Duration,
        stage: &str,
        secrets: &[Vec<u8>],
    ) -> Result<(), BakeError> {
        let ran = machine.run(argv, env, world, limit).map_err(|error| self.broken(error))?;
        let mut mask = Mask::new(secrets);
        let (printed, held) = (mask.pass(&ran.printed), mask.finish());
        let mut log = OpenOptions::new().create(true).append(true).open(&self.log).at(&self.log)?;
        log.write_all(&printed).and_then(|()| log.write_all(&held)).at(&self.log)?;
        match ran.ended {
            Ended::Well => Ok(()),
            Ended::Badly(why) => Err(BakeError::Failed {
                recipe: self.layer.recipe.clone(),
                stage: stage.to_owned(),
                why,
                tail: process::tail(&self.log),
                log: self.log.clone(),
            }),
        }
    }

    /// The machine itself did not do what it should.
    fn broken(&self, error: MachineError) -> BakeError {
        machine_failed(&self.layer.recipe, &self.stage(), error, &self.log)
    }
}

/// What is said when a machine did not do what it should; `log` has what it said last.
pub(super) fn machine_failed(recipe: &str, stage: &str, error: MachineError, log: &Path) -> BakeError {
    match error {
        MachineError::Bake(error) => *error,
        error => BakeError::Failed {
            recipe: recipe.to_owned(),
            stage: stage.to_owned(),
            why: format!("failed, because its machine {error}"),
            tail: process::tail(log),
            log: log.to_owned(),
        },
    }
}

fn proxies_as_text() -> Vec<(&'static str, String)> {
    proxies().into_iter().map(|(name, value)| (name, value.to_string_lossy().into_owned())).collect()
}

/// What every command finds in its environment.
fn standard() -> Vec<(&'static str, &'static str)> {
    vec![
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/root"),
        ("LC_ALL", "C.UTF-8"),
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("SOURCE_DATE_EPOCH", EPOCH),
    ]
}

/// The same for what must change files alone, and start nothing.
fn offline() -> Vec<(&'static str, &'static str)> {
    let mut env = standard();
    env.push(("SYSTEMD_OFFLINE", "1"));
    env
}
