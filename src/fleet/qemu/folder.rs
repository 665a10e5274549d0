//! The folder of one fleet: what lies where, and what is kept when it goes.
//!
//! ```text
//! fleet.json       what the supervisor is to do        supervisor.log   what it has to say
//! control.sock     where it listens                    key              the key that opens every node
//! ssh_config       for the `ssh` command               known_hosts
//! nodes/NAME/      root.0  console.log  qemu.log  host_key  credentials  switch.sock
//! ```
//!
//! The supervisor and the VMs run in this folder and name sockets relative to it: the path of a Unix socket
//! must be shorter than 108 bytes, and a home can lie deep.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::snapshot::{self, Snapshot};
use super::volumes::{Made, Volumes};
use super::wake::WakeBy;
use crate::fleet::plan::{FleetPlan, NodePlan};
use crate::fleet::provider::Lifetime;
use crate::guest::KeyPair;
use crate::home::{Home, create_private_dir};
use crate::network::HeldFrame;
use crate::store::Image;
use crate::userns::remove_tree;

pub(crate) const CONTROL_SOCKET: &str = "control.sock";
const SETUP: &str = "fleet.json";
const KEY: &str = "key";
pub(crate) const SUPERVISOR_LOG: &str = "supervisor.log";

/// What the supervisor is told through `fleet.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// The ledger's id of this fleet.
    pub id: String,
    /// Where the ledger lies.
    pub home: PathBuf,
    pub plan: FleetPlan,
    pub lifetime: Lifetime,
    pub keep_logs: Option<PathBuf>,
    pub pcap: Option<PathBuf>,
    pub boot: BTreeMap<String, BootFiles>,
    /// What the machine ids of the nodes are derived from: unique, but for fleets from one snapshot.
    pub identity: String,
    /// The VMs go on from saved memory, which lies in their folders, and are woken like this.
    pub restored: Option<WakeBy>,
    /// What was under way between them then.
    pub frames: Vec<HeldFrame>,
    pub volumes: Volumes,
    /// Which of them were there before.
    pub made: Made,
}

/// What one node boots from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BootFiles {
    pub disk: PathBuf,
    pub kernel: PathBuf,
    /// With it the disk is a virtio one, whose state can be saved; without, an NVMe one.
    pub initrd: Option<PathBuf>,
    pub cmdline: String,
}

impl BootFiles {
    pub(crate) fn of(image: &Image) -> Self {
        BootFiles {
            disk: image.disk(),
            kernel: image.kernel(),
            initrd: image.initrd(),
            cmdline: image.manifest.kernel_cmdline.clone(),
        }
    }
}

/// Paths below the folder of one fleet.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Folder { root: root.into() }
    }

    pub(crate) fn of(home: &Home, fleet: &str) -> Self {
        Folder::new(home.fleets().join(fleet))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn supervisor_log(&self) -> PathBuf {
        self.root.join(SUPERVISOR_LOG)
    }

    pub(crate) fn ssh_config(&self) -> PathBuf {
        self.root.join("ssh_config")
    }

    pub(crate) fn console(&self, node: &str) -> PathBuf {
        self.root.join(NodeFolder::new(node).console())
    }

    /// Copies the identities of the nodes into `dir`, the snapshot that is being made of them.
    pub(crate) fn save_identities(&self, plan: &FleetPlan, dir: &Path) -> io::Result<()> {
        fs::copy(self.root.join(KEY), snapshot::user_key(dir))?;
        for node in &plan.nodes {
            let host_key = self.root.join(NodeFolder::new(&node.name).host_key());
            fs::copy(host_key, snapshot::host_key(dir, &node.name))?;
        }
        Ok(())
    }

    pub(crate) fn setup(&self) -> io::Result<Setup> {
        Ok(serde_json::from_slice(&fs::read(self.root.join(SETUP))?)?)
    }

    /// The key that opens every node.
    pub(crate) fn key(&self) -> io::Result<KeyPair> {
        read_key(&self.root.join(KEY))
    }

    pub(crate) fn host_key(&self, node: &str) -> io::Result<KeyPair> {
        read_key(&self.root.join(NodeFolder::new(node).host_key()))
    }

    /// Creates the folder with keys and everything that the machines need to know. The nodes of a fleet
    /// from a snapshot have the identities that they were saved with.
    pub(crate) fn create(&self, setup: &Setup, snapshot: Option<&Snapshot>) -> io::Result<()> {
        if let Some(parent) = self.root.parent() {
            create_private_dir(parent)?;
        }
        // Exclusive: the ledger made sure that the name is free.
        fs::create_dir(&self.root)?;
        fs::set_permissions(&self.root, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        let key = key_pair(snapshot.map(Snapshot::user_key))?;
        write_private(&self.root.join(KEY), &key.private)?;
        let (mut known_hosts, mut config) = (String::new(), String::new());
        for node in &setup.plan.nodes {
            let NodePlan { name, .. } = node;
            let host = key_pair(snapshot.map(|snapshot| snapshot.host_key(name)))?;
            let files = NodeFolder::new(name);
            create_private_dir(&self.root.join(files.root()))?;
            if let Some(snapshot) = snapshot {
                snapshot.link(&self.root, name)?;
            }
            write_private(&self.root.join(files.host_key()), &host.private)?;
            let credentials = super::credentials::Credentials { node, user: &key, host: &host };
            for (file, text) in [
                (files.authorized_key(), credentials.authorized_key()),
                (files.tmpfiles(), credentials.tmpfiles()),
            ] {
                write_private(&self.root.join(file), &text)?;
            }
            known_hosts.push_str(&format!("{name} {}\n", host.public));
            config.push_str(&format!("Host {name}\n  HostKeyAlias {name}\n"));
        }
        write_private(&self.root.join("known_hosts"), &known_hosts)?;
        // `%` starts a token in this file, as in `%h`.
        let root = self.root.display().to_string().replace('%', "%%");
        config.push_str(&format!(
            "Host *\n  HostName 127.0.0.1\n  User root\n  IdentityFile \"{root}/key\"\n  IdentitiesOnly yes\n  \
             UserKnownHostsFile \"{root}/known_hosts\"\n  StrictHostKeyChecking yes\n  LogLevel ERROR\n"
        ));
        write_private(&self.ssh_config(), &config)
    }

    /// Tells the supervisor what to do.
    pub(crate) fn write_setup(&self, setup: &Setup) -> io::Result<()> {
        write_private(&self.root.join(SETUP), &serde_json::to_string_pretty(setup)?)
    }

    /// Copies the logs to where the fleet's creator wants to keep them, if it does.
    pub(crate) fn keep_logs(&self) -> io::Result<()> {
        // Without a setup the fleet never came so far as to have logs.
        let Ok(setup) = self.setup() else { return Ok(()) };
        let Some(target) = setup.keep_logs else { return Ok(()) };
        create_private_dir(&target)?;
        copy_if_there(&self.supervisor_log(), &target.join(SUPERVISOR_LOG))?;
        for node in &setup.plan.nodes {
            let files = NodeFolder::new(&node.name);
            let name = |what: &str| target.join(format!("{}.{what}", node.name));
            copy_if_there(&self.root.join(files.console()), &name("console.log"))?;
            copy_if_there(&self.root.join(files.log()), &name("qemu.log"))?;
        }
        Ok(())
    }

    /// Removes the folder and all in it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        remove_tree(&self.root)
    }
}

/// Paths of one node's files, relative to the fleet's folder.
#[derive(Debug, Clone)]
pub(crate) struct NodeFolder {
    root: PathBuf,
}

impl NodeFolder {
    pub(crate) fn new(node: &str) -> Self {
        NodeFolder { root: Path::new("nodes").join(node) }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A layer of the node's own on its root disk; the first is number 0.
    pub(crate) fn layer(&self, number: usize) -> PathBuf {
        self.root.join(format!("root.{number}"))
    }

    /// The layer that the node's own stand on, in a fleet from a snapshot.
    pub(crate) fn saved_layer(&self) -> PathBuf {
        self.root.join("saved.root")
    }

    pub(crate) fn saved_ram(&self) -> PathBuf {
        self.root.join("saved.ram")
    }

    /// The devices, as QEMU saves them.
    pub(crate) fn saved_state(&self) -> PathBuf {
        self.root.join("saved.state")
    }

    /// What the guest printed, over all boots.
    pub(crate) fn console(&self) -> PathBuf {
        self.root.join("console.log")
    }

    /// What QEMU itself had to say.
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("qemu.log")
    }

    pub(crate) fn host_key(&self) -> PathBuf {
        self.root.join("host_key")
    }

    pub(crate) fn authorized_key(&self) -> PathBuf {
        self.root.join("authorized_key.credential")
    }

    pub(crate) fn tmpfiles(&self) -> PathBuf {
        self.root.join("tmpfiles.credential")
    }

    /// The switch's end of the wire.
    pub(crate) fn switch_socket(&self) -> PathBuf {
        self.root.join("switch.sock")
    }
}

fn key_pair(saved: Option<io::Result<String>>) -> io::Result<KeyPair> {
    match saved {
        Some(private) => KeyPair::from_private(&private?).map_err(io::Error::other),
        None => KeyPair::generate().map_err(io::Error::other),
    }
}

fn read_key(path: &Path) -> io::Result<KeyPair> {
    KeyPair::from_private(&fs::read_to_string(path)?).map_err(io::Error::other)
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

fn copy_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::copy(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map(drop),
    }
}
