//! A machine that runs from somebody else's disk, in which the layers of an image are made over SSH.
//!
//! All that is written goes to a file over the disk, which is taken away as a layer whenever one is finished; the
//! machine goes on over it. It dies with the thread that started it, and what it leaves lies in a workspace of the
//! store.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::error::{At, BakeError};
use super::process::{self, Ended, command};
use super::sandbox::inherit;
use crate::guest::ssh::{Endpoint, Identity, SshSession};
use crate::guest::{ExecOutput, ExitStatus, Session, SessionError, key};
use crate::hypervisor::HYPERVISOR;
use crate::hypervisor::qmp::{Qmp, QmpError, forwarded_port};
use crate::recipe::disk::DiskFormat;
use crate::store::Workspace;
use crate::units::Span;

mod hardware;
mod seed;

pub(super) use hardware::Part;

/// Programs that a machine needs, with the Debian package of each.
pub(super) const TOOLS: [(&str, &str); 3] =
    [(HYPERVISOR, "qemu-system-x86"), ("qemu-img", "qemu-utils"), ("tar", "tar")];

/// Until a new QEMU takes commands.
const START: Duration = Duration::from_secs(60);
/// Until a machine has booted and lets us in; with translated code, cloud-init alone takes a minute.
const BOOT: Duration = Duration::from_secs(900);
/// Within which one attempt to get in ends, so that it is seen when the machine has ended meanwhile.
const ATTEMPT: Duration = Duration::from_secs(30);
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);
/// Beyond the time that a command has, until it has surely ended.
const GRACE: Duration = Duration::from_secs(60);
/// Until something small is done.
const SHORT: Duration = Duration::from_secs(120);
/// What a disk has room for at least.
const CAPACITY: u64 = 16 << 30;
/// What the root file system has room for when it comes out.
const EXPORT_CAPACITY: u64 = 64 << 30;

/// Waits for what the line to the world brings.
const ONLINE: &str =
    "for _ in $(seq 300); do ip -4 route | grep -q '^default' && exit 0; sleep 0.1; done; exit 1";

/// The command of the failed step and the port of the machine, for the person who is let in.
const SHELL: &str = r#"
printf 'In the machine of the failed step; what is changed here is thrown away. The step was:\n%s\n' "$1"
exec ssh -t -q -p "$2" -i key -o IdentitiesOnly=yes -o UserKnownHostsFile=known_hosts -o HostKeyAlias=machine root@127.0.0.1
"#;

/// Why a machine could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum MachineError {
    #[error("did not boot: {0}")]
    Boot(String),
    #[error("was lost: {0}")]
    Lost(String),
    #[error(transparent)]
    Qemu(#[from] QmpError),
    #[error(transparent)]
    Bake(#[from] Box<BakeError>),
}

impl From<BakeError> for MachineError {
    fn from(error: BakeError) -> Self {
        MachineError::Bake(Box::new(error))
    }
}

/// What a command in the machine did.
#[derive(Debug)]
pub(super) struct Ran {
    pub ended: Ended,
    /// The last of what it printed.
    pub printed: Vec<u8>,
}

/// A machine that has booted.
pub(super) struct Machine {
    /// Answers come while we wait for them, and only then.
    runtime: Runtime,
    process: Child,
    qmp: Qmp,
    session: SshSession,
    work: Workspace,
    /// With which a person gets in.
    identity: Arc<Identity>,
    address: SocketAddr,
    size: u64,
    /// How many files make up the disk.
    parts: usize,
}

/// Where the machine's SSH server is.
struct Forward(SocketAddr);

#[async_trait]
impl Endpoint for Forward {
    async fn address(&self) -> Result<SocketAddr, String> {
        Ok(self.0)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Fails only if it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Machine {
    /// Boots a machine from the disk that `parts` make up, which is `bytes` long; it has its files in `work`, and
    /// writes to `console`.
    pub(super) fn boot(
        mut parts: Vec<Part>,
        bytes: u64,
        work: Workspace,
        console: &Path,
    ) -> Result<Self, MachineError> {
        let folder = work.dir().to_owned();
        let ground = parts.first().ok_or(BakeError::Incomplete("disk"))?;
        let mut arguments = hardware::firmware(ground, &folder)?;
        let size = bytes.max(CAPACITY).next_multiple_of(1 << 20);
        let top = own_part(&folder, parts.len());
        create_part(&top, size)?;
        parts.push(Part { path: top, format: DiskFormat::Qcow2 });
        let export = export_of(&folder);
        fs::File::create(&export).and_then(|file| file.set_len(EXPORT_CAPACITY)).at(&export)?;
        let (client, host) = (generate()?, generate()?);
        let instance = format!("{:016x}", rand::random::<u64>());
        seed::write(&folder, &seed::files(&client, &host, &instance))?;

        let (ours, theirs) = std::os::unix::net::UnixStream::pair().at(&folder)?;
        ours.set_nonblocking(true).at(&folder)?;
        let theirs = OwnedFd::from(theirs);
        arguments.extend(hardware::arguments(&parts, &folder, console, theirs.as_raw_fd()));
        let mut qemu = command(HYPERVISOR);
        let log = fs::File::create(folder.join("qemu.log")).at(&folder)?;
        qemu.args(arguments).stdin(Stdio::null()).stdout(log.try_clone().at(&folder)?).stderr(log);
        inherit(&mut qemu, vec![theirs]);
        let process = process::spawn(&mut qemu).at(Path::new(HYPERVISOR))?;
        // Our copy of its end of the line.
        drop(qemu);

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().at(&folder)?;
        let identity = Identity { user: "root".to_owned(), private_key: client.private, host_key: host.wire };
        let identity = Arc::new(identity);
        let known = folder.join("known_hosts");
        fs::write(&known, format!("machine {}\n", host.public)).at(&known)?;
        let connected = runtime.block_on(async {
            let qmp = Qmp::start(tokio::net::UnixStream::from_std(ours).at(&folder)?, START).await?;
            let table =
                qmp.execute("human-monitor-command", json!({ "command-line": "info usernet" })).await?;
            qmp.execute("cont", Value::Null).await?;
            let port = forwarded_port(table.as_str().unwrap_or_default())
                .ok_or_else(|| MachineError::Boot("QEMU names no forwarded port".to_owned()))?;
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            Ok::<_, MachineError>((qmp, address))
        });
        let mut process = process;
        let (qmp, address) = match connected {
            Ok(connected) => connected,
            Err(error) => {
                let _ = (process.kill(), process.wait());
                let said = process::tail(&folder.join("qemu.log"));
                return Err(if said.is_empty() { error } else { MachineError::Boot(said) });
            }
        };
        let session = SshSession::new(Arc::new(Forward(address)), identity.clone());
        let parts = parts.len();
        let mut machine = Machine { runtime, process, qmp, session, work, identity, address, size, parts };
        machine.wait_until_in()?;
        // There while it boots, because what waits for the network waits for all lines.
        machine.world(false)?;
        Ok(machine)
    }

    /// Until the keys are there that the seed brings, the machine may have others, or none.
    fn wait_until_in(&mut self) -> Result<(), MachineError> {
        let begun = Instant::now();
        loop {
            let deadline = tokio::time::Instant::now() + ATTEMPT;
            let answer = self.runtime.block_on(async {
                let answer = self.session.exec("true", deadline).await;
                if matches!(answer, Err(SessionError::HostKey)) {
                    // The key of another start of this disk: soon it is replaced.
                    tokio::time::sleep(BETWEEN_ATTEMPTS).await;
                }
                answer
            });
            let why = match answer {
                Ok(output) if output.success() => return Ok(()),
                Ok(output) => return Err(MachineError::Boot(format!("`true` ended with {}", output.status))),
                Err(error) => error.to_string(),
            };
            if let Some(status) = self.process.try_wait().at(self.work.dir())? {
                let said = process::tail(&self.work.dir().join("qemu.log"));
                return Err(MachineError::Boot(format!("it ended, {status} {said}").trim().to_owned()));
            }
            if begun.elapsed() > BOOT {
                return Err(MachineError::Boot(format!("within {}: {why}", Span(BOOT))));
            }
        }
    }

    /// Runs `argv` with nothing but `env` in its environment, with or without a line to the world, at most for `limit`.
    pub(super) fn run(
        &self,
        argv: &[&str],
        env: &[(&str, &str)],
        world: bool,
        limit: Duration,
    ) -> Result<Ran, MachineError> {
        let assignments: Vec<String> = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let seconds = limit.as_secs_f64().to_string();
        let mut words = vec!["timeout", "--kill-after=5", seconds.as_str(), "env", "-i"];
        words.extend(assignments.iter().map(String::as_str).chain(argv.iter().copied()));
        let command = shlex::try_join(words).map_err(|error| MachineError::Lost(error.to_string()))?;
        // Kept there and fetched at the end, so that there is a bound to it.
        let command = format!(
            "cd /; {command} > /run/oven.log 2>&1 < /dev/null; code=$?; tail -c 1000000 /run/oven.log; exit $code"
        );
        if world {
            self.world(true)?;
        }
        let begun = Instant::now();
        let output = self.ask(&command, limit + GRACE)?;
        if world {
            self.world(false)?;
        }
        let ended = match &output.status {
            ExitStatus::Code(0) => Ended::Well,
            ExitStatus::Code(124 | 137) if begun.elapsed() >= limit => {
                Ended::Badly(format!("took longer than {}", Span(limit)))
            }
            ExitStatus::Code(code) => Ended::Badly(format!("failed with exit code {code}")),
            ExitStatus::Signal(name) => Ended::Badly(format!("was killed by signal {name}")),
        };
        Ok(Ran { ended, printed: output.stdout })
    }

    fn world(&self, up: bool) -> Result<(), MachineError> {
        self.runtime.block_on(set_world(&self.qmp, up))?;
        match !up || self.ask(ONLINE, SHORT)?.success() {
            true => Ok(()),
            false => Err(MachineError::Lost("it has no way to the world".to_owned())),
        }
    }

    fn ask(&self, command: &str, limit: Duration) -> Result<ExecOutput, MachineError> {
        let deadline = tokio::time::Instant::now() + limit;
        self.runtime.block_on(self.session.exec(command, deadline)).map_err(lost)
    }

    /// Writes a file there.
    pub(super) fn put(&self, path: &str, bytes: &[u8], mode: u32) -> Result<(), MachineError> {
        let deadline = tokio::time::Instant::now() + SHORT * 5;
        self.runtime.block_on(self.session.put(path, bytes, mode, deadline)).map_err(lost)
    }

    /// Reads a file there; `None` if it cannot be read.
    pub(super) fn get(&self, path: &str) -> Result<Option<Vec<u8>>, MachineError> {
        let deadline = tokio::time::Instant::now() + SHORT;
        match self.runtime.block_on(self.session.get(path, deadline)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(SessionError::File(_)) => Ok(None),
            Err(error) => Err(lost(error)),
        }
    }

    /// Takes away what was written to the disk since the last time, as the file `to`; the machine goes on over it.
    pub(super) fn take(&mut self, to: &Path) -> Result<(), MachineError> {
        if !self.ask("sync", SHORT * 5)?.success() {
            return Err(MachineError::Lost("`sync` failed".to_owned()));
        }
        let top = own_part(self.work.dir(), self.parts - 1);
        let next = own_part(self.work.dir(), self.parts);
        create_part(&next, self.size)?;
        let mut node =
            hardware::part(self.parts, &Part { path: next.clone(), format: DiskFormat::Qcow2 }, true);
        if let Some(node) = node.as_object_mut() {
            // It gets its place by the snapshot.
            node.insert("backing".to_owned(), Value::Null);
        }
        let names = [hardware::part_name(self.parts - 1), hardware::part_name(self.parts)];
        self.runtime.block_on(async {
            self.qmp.execute("blockdev-add", node).await?;
            let [node, overlay] = names;
            self.qmp.execute("blockdev-snapshot", json!({ "node": node, "overlay": overlay })).await
        })?;
        self.parts += 1;
        // QEMU has it open, and no longer writes to it.
        fs::rename(&top, to).at(to)?;
        Ok(())
    }

    /// Lets a person look around where `command` failed.
    pub(super) fn let_in(&self, failed: &str) -> Result<(), MachineError> {
        let folder = self.work.dir();
        let key = folder.join("key");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&key).at(&key)?;
        io::Write::write_all(&mut file, self.identity.private_key.as_bytes()).at(&key)?;
        let mut ssh = command("sh");
        ssh.args(["-c", SHELL, "shell", failed, &self.address.port().to_string()]).current_dir(folder);
        ssh.envs(std::env::var_os("TERM").map(|term| ("TERM", term)));
        Ok(process::interact(&mut ssh).at(folder)?)
    }

    /// The disk with the serial number `export` as a file here.
    pub(super) fn export(&self) -> PathBuf {
        export_of(self.work.dir())
    }
}

/// What is written to the disk as its part `number`. No two ever have the same name: when the next one takes its place,
/// QEMU opens it once more, by its name, to read from it alone.
fn own_part(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("part-{number}"))
}

fn export_of(folder: &Path) -> PathBuf {
    folder.join(format!("{}.img", hardware::EXPORT))
}

fn lost(error: SessionError) -> MachineError {
    MachineError::Lost(error.to_string())
}

fn generate() -> Result<key::KeyPair, MachineError> {
    key::KeyPair::generate().map_err(|error| MachineError::Boot(error.to_string()))
}

/// Puts the line to the world in or out.
async fn set_world(qmp: &Qmp, up: bool) -> Result<(), MachineError> {
    qmp.execute("set_link", json!({ "name": hardware::WORLD_LINE, "up": up })).await?;
    Ok(())
}

/// An empty file that may continue another.
fn create_part(path: &Path, bytes: u64) -> Result<(), BakeError> {
    let mut create = command("qemu-img");
    create.args(["create", "-q", "-f", "qcow2"]).arg(path).arg(bytes.to_string());
    let said = create.output().at(path)?;
    match said.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(String::from_utf8_lossy(&said.stderr).trim().to_owned())).at(path),
    }
}
