//! The disks of one node: what they stand on, the conversations in which its machine uses them, and what is
//! wrong with them.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::Rng;

use super::folder::NodeFolder;
use super::snapshot::{SavedNode, link_layer};
use crate::disk::{Cut, Disk, DiskCounters, DiskRules, Keeping, Layer, Serving, Troubles, Unflushed};
use crate::fleet::plan::NodePlan;
use crate::recipe::ROOT_DISK;
use crate::seed::Seed;

pub(crate) struct Disks {
    files: NodeFolder,
    root: Arc<Disk>,
    /// By name, in the order in which they are attached. They outlive all this.
    volumes: Vec<(String, Arc<Disk>)>,
    state: Mutex<State>,
}

/// A data disk as a file: its name and where it lies.
pub(crate) type VolumeFile = (String, PathBuf);

struct State {
    /// The number of the layer that is written to.
    layer: usize,
    /// The conversations with the machine of the moment, or the last one.
    serving: Vec<Serving>,
}

impl Disks {
    /// The disks of a new node: `bytes` over the image's disk, and over the saved layer if it goes on from
    /// one; and its volumes, whose flushes are worth what `keeping` says.
    pub(crate) fn create(
        files: &NodeFolder,
        image: &Path,
        bytes: u64,
        restored: bool,
        volumes: Vec<VolumeFile>,
        keeping: Keeping,
        troubles: &NodeTroubles,
    ) -> io::Result<Self> {
        let mut below = vec![Arc::new(Layer::whole(image)?)];
        if restored {
            below.push(Arc::new(Layer::open_frozen(&files.saved_layer())?));
        }
        let top = Layer::create(&files.layer(0), bytes)?;
        // It goes with the fleet: nothing of it has to outlive this machine.
        let root = Disk::new(bytes, below, top, Keeping::Guest)?;
        let root = Arc::new(root.troubled_by(troubles.of(ROOT_DISK)));
        let volume = |(name, path): VolumeFile| {
            let bytes = std::fs::metadata(&path)?.len();
            let disk = Disk::new(bytes, Vec::new(), Layer::whole_writable(&path)?, keeping)?;
            let disk = Arc::new(disk.troubled_by(troubles.of(&name)));
            Ok((name, disk))
        };
        let volumes = volumes.into_iter().map(volume).collect::<io::Result<_>>()?;
        let state = Mutex::new(State { layer: 0, serving: Vec::new() });
        Ok(Disks { files: files.clone(), root, volumes, state })
    }

    /// Makes ready for a new machine, whose ends of the disks' sockets these are: that of the root, then those
    /// of the volumes. Whatever the last machine had under way has ended before this returns.
    pub(crate) fn plug(&self) -> io::Result<Vec<OwnedFd>> {
        let mut state = self.state();
        unplug(&mut state);
        let mut plugs = Vec::new();
        for (_, disk) in self.all() {
            let (ours, theirs) = UnixStream::pair()?;
            state.serving.push(disk.serve(ours)?);
            plugs.push(theirs.into());
        }
        Ok(plugs)
    }

    /// Every disk with its name in the node.
    fn all(&self) -> impl Iterator<Item = (&str, &Arc<Disk>)> {
        let volumes = self.volumes.iter().map(|(name, disk)| (name.as_str(), disk));
        std::iter::once((ROOT_DISK, &self.root)).chain(volumes)
    }

    /// Puts into the files of the volumes all that the machine has written, flushed or not: when it stands
    /// still, or has ended without losing its power.
    pub(crate) fn settle(&self) -> io::Result<()> {
        self.volumes.iter().try_for_each(|(_, disk)| disk.flush())
    }

    /// Saves the disks of a machine that stands still. Copies nothing: what is there is frozen, and the
    /// machine goes on with a new layer.
    pub(crate) fn save(&self, saved: &SavedNode) -> io::Result<()> {
        self.settle()?;
        let mut state = self.state();
        let (frozen, next) = (self.files.layer(state.layer), self.files.layer(state.layer + 1));
        self.root.snapshot(&next)?;
        state.layer += 1;
        link_layer(&frozen, &saved.layer)
    }

    /// Ends what the machine, which has ended, still had under way. Its power was not cut.
    pub(crate) fn end(&self) -> io::Result<()> {
        unplug(&mut self.state());
        self.settle()
    }

    /// Deletes them but for the volumes, when their machine has ended for good. What was saved of them stays.
    pub(crate) fn delete(&self) -> io::Result<()> {
        self.end()?;
        let state = self.state();
        (0..=state.layer).try_for_each(|layer| Layer::remove(&self.files.layer(layer)))
    }

    /// The machine is gone. What it had not flushed is kept or lost.
    pub(crate) fn power_cut(&self, unflushed: Unflushed, seed: Seed) -> io::Result<Cut> {
        unplug(&mut self.state());
        let mut all = Cut::default();
        for (name, disk) in self.all() {
            all += disk.power_cut(unflushed, Seed(seed.stream(name).next_u64()))?;
        }
        Ok(all)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is wrong with the disks of a node, whichever machine has them: also while there is none.
pub(crate) struct NodeTroubles {
    node: String,
    /// By the name of the disk.
    disks: Vec<(String, Arc<Troubles>)>,
}

impl NodeTroubles {
    pub(crate) fn new(node: &NodePlan) -> Self {
        let volumes = node.volumes.iter().map(|volume| volume.name.clone());
        let names = std::iter::once(ROOT_DISK.to_owned()).chain(volumes);
        NodeTroubles { node: node.name.clone(), disks: names.map(|name| (name, Arc::default())).collect() }
    }

    /// Those of one disk, which a disk after it goes on with.
    fn of(&self, name: &str) -> Arc<Troubles> {
        let found = self.disks.iter().find(|(disk, _)| disk == name);
        found.map(|(_, troubles)| troubles.clone()).unwrap_or_default()
    }

    /// Whether there is such a disk.
    pub(crate) fn has(&self, disk: &str) -> bool {
        self.disks.iter().any(|(name, _)| name == disk)
    }

    pub(crate) fn install(&self, rules: &DiskRules) {
        for (name, troubles) in &self.disks {
            if rules.disk.as_ref().is_none_or(|disk| disk == name) {
                let label = format!("{} {name}", self.node);
                troubles.install(&rules.fault, Seed(rules.seed), &label, rules.trouble.clone());
            }
        }
    }

    /// `None` if there is no such rule on any of them.
    pub(crate) fn remove(&self, fault: &str) -> Option<DiskCounters> {
        DiskCounters::sum(self.disks.iter().filter_map(|(_, troubles)| troubles.remove(fault)))
    }

    pub(crate) fn counters(&self, fault: &str) -> Option<DiskCounters> {
        DiskCounters::sum(self.disks.iter().filter_map(|(_, troubles)| troubles.counters(fault)))
    }
}

fn unplug(state: &mut State) {
    for serving in state.serving.drain(..) {
        if let Err(error) = serving.end() {
            // A machine that is killed in the middle of a sentence breaks off like this.
            tracing::debug!("a disk's conversation ended with: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::Ipv4Addr;

    use super::*;
    use crate::disk::testing::{Client, FLUSH, WRITE};
    use crate::disk::{Effect, Requests, Trouble};
    use crate::fleet::plan::VolumePlan;
    use crate::store::ImageId;
    use crate::units::Size;

    const MIB: u64 = 1 << 20;
    const EIO: u32 = 5;

    /// A node with a volume, and no machine.
    struct Site {
        folder: tempfile::TempDir,
        files: NodeFolder,
        troubles: NodeTroubles,
    }

    impl Site {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for name in ["image", "data"] {
                fs::write(folder.path().join(name), vec![0; MIB as usize]).unwrap();
            }
            let node = NodePlan {
                name: "db-1".to_owned(),
                role: "db".to_owned(),
                index: 1,
                zone: "a".to_owned(),
                address: Ipv4Addr::new(10, 77, 0, 11),
                image: ImageId::from_hash(blake3::hash(b"")),
                memory: Size(MIB),
                cpus: 1,
                disk: Size(MIB),
                ready: None,
                files: Vec::new(),
                volumes: vec![VolumePlan {
                    name: "data".to_owned(),
                    size: Size(MIB),
                    mount: "/data".to_owned(),
                }],
            };
            // An absolute path stays where it is.
            let files = NodeFolder::new(&folder.path().display().to_string());
            Site { folder, files, troubles: NodeTroubles::new(&node) }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn disks(&self) -> Disks {
            let volumes = vec![("data".to_owned(), self.path("data"))];
            let image = self.path("image");
            Disks::create(&self.files, &image, MIB, false, volumes, Keeping::Host, &self.troubles).unwrap()
        }

        /// The first byte of a sector of the volume, as it lies on the host.
        fn on_host(&self, sector: usize) -> u8 {
            fs::read(self.path("data")).unwrap()[sector * 512]
        }
    }

    /// The root and the volume, as a machine has them.
    fn plug(disks: &Disks) -> [Client<UnixStream>; 2] {
        let connect = |plug: OwnedFd| Client::connect(UnixStream::from(plug)).unwrap().0;
        let clients: Vec<Client<UnixStream>> = disks.plug().unwrap().into_iter().map(connect).collect();
        clients.try_into().ok().unwrap()
    }

    fn write(client: &mut Client<UnixStream>, sector: u64, value: u8) -> u32 {
        client.send(WRITE, 1, sector * 512, 512, &[value; 512]).unwrap();
        client.answer().unwrap().1
    }

    fn flush(client: &mut Client<UnixStream>) -> u32 {
        client.send(FLUSH, 2, 0, 0, &[]).unwrap();
        client.answer().unwrap().1
    }

    #[test]
    fn a_volume_keeps_what_was_flushed_and_loses_the_rest_with_the_power() {
        let site = Site::new();
        let disks = site.disks();
        let [mut root, mut volume] = plug(&disks);
        assert_eq!((write(&mut volume, 0, 1), flush(&mut volume)), (0, 0));
        assert_eq!(site.on_host(0), 1, "what is flushed is in the file");
        assert_eq!((write(&mut volume, 1, 2), write(&mut root, 0, 3)), (0, 0));
        assert_eq!(site.on_host(1), 0, "what is not flushed is not");
        let cut = disks.power_cut(Unflushed::None, Seed(7)).unwrap();
        assert_eq!(cut, Cut { unflushed: 2, lost: 2, ..Cut::default() }, "of both disks");
        assert_eq!((site.on_host(0), site.on_host(1)), (1, 0));

        // Whoever kills the block server cuts its power too.
        let [_, mut volume] = plug(&disks);
        assert_eq!((write(&mut volume, 2, 4), flush(&mut volume), write(&mut volume, 3, 5)), (0, 0, 0));
        drop((volume, disks));
        assert_eq!((site.on_host(2), site.on_host(3)), (4, 0));
    }

    #[test]
    fn a_volume_keeps_all_that_was_written_if_only_its_machine_ends() {
        let site = Site::new();
        let disks = site.disks();
        let [_, mut volume] = plug(&disks);
        assert_eq!(write(&mut volume, 0, 1), 0);
        // Killed, and started again.
        drop(volume);
        let [_, mut volume] = plug(&disks);
        assert_eq!(write(&mut volume, 1, 2), 0);
        // It stands still.
        disks.settle().unwrap();
        assert_eq!((site.on_host(0), site.on_host(1)), (1, 2));
        assert_eq!(write(&mut volume, 2, 3), 0);
        disks.delete().unwrap();
        assert_eq!(site.on_host(2), 3);
        // Another machine finds it.
        site.disks().power_cut(Unflushed::None, Seed(7)).unwrap();
        assert_eq!(site.on_host(2), 3);
    }

    #[test]
    fn a_fault_stays_on_the_disks_of_a_machine_that_is_replaced() {
        let site = Site::new();
        let trouble = Trouble { effect: Effect::Error, concerns: Requests::Writes, range: None, chance: 1.0 };
        let rules = |fault: &str, disk: Option<&str>| DiskRules {
            fault: fault.to_owned(),
            seed: 7,
            nodes: vec!["db-1".to_owned()],
            disk: disk.map(str::to_owned),
            trouble: trouble.clone(),
        };
        site.troubles.install(&rules("f", Some("data")));
        let disks = site.disks();
        let [mut root, mut volume] = plug(&disks);
        assert_eq!((write(&mut root, 0, 1), write(&mut volume, 0, 1)), (0, EIO), "the volume alone");
        disks.delete().unwrap();
        let counted = |fault: &str| site.troubles.counters(fault).map(|counters| counters.failed_writes);
        assert_eq!(counted("f"), Some(1), "also while there is no machine");

        let disks = site.disks();
        let [mut root, mut volume] = plug(&disks);
        assert_eq!((write(&mut root, 0, 1), write(&mut volume, 0, 1)), (0, EIO));
        assert_eq!(counted("f"), Some(2));
        site.troubles.install(&rules("g", None));
        assert_eq!(write(&mut root, 0, 1), EIO, "all disks");
        assert_eq!((site.troubles.remove("f").is_some(), site.troubles.remove("g").is_some()), (true, true));
        assert_eq!((write(&mut root, 0, 1), write(&mut volume, 0, 1)), (0, 0));
        assert_eq!((counted("f"), counted("g")), (None, None));
        assert!(site.troubles.has("root") && site.troubles.has("data") && !site.troubles.has("logs"));
    }
}
