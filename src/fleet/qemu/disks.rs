//! The disks of one node: what they stand on, and the conversations in which its machine uses them.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::folder::NodeFolder;
use super::snapshot::{SavedNode, link_layer};
use crate::disk::{Cut, Disk, DiskCounters, DiskRules, Keeping, Layer, Serving, Unflushed};
use crate::seed::Seed;

pub(crate) struct Disks {
    files: NodeFolder,
    root: Arc<Disk>,
    state: Mutex<State>,
}

struct State {
    /// The number of the layer that is written to.
    layer: usize,
    /// The conversation with the machine of the moment, or the last one.
    serving: Option<Serving>,
}

impl Disks {
    /// The disks of a new node: `bytes` over the image's disk, and over the saved layer if it goes on from
    /// one.
    pub(crate) fn create(files: &NodeFolder, image: &Path, bytes: u64, restored: bool) -> io::Result<Self> {
        let mut below = vec![Arc::new(Layer::whole(image)?)];
        if restored {
            below.push(Arc::new(Layer::open_frozen(&files.saved_layer())?));
        }
        let top = Layer::create(&files.layer(0), bytes)?;
        // It goes with the fleet: nothing of it has to outlive this machine.
        let root = Arc::new(Disk::new(bytes, below, top, Keeping::Guest)?);
        Ok(Disks { files: files.clone(), root, state: Mutex::new(State { layer: 0, serving: None }) })
    }

    /// Makes ready for a new machine, whose end of the root disk's socket this is. Whatever the last machine
    /// had under way has ended before this returns.
    pub(crate) fn plug(&self) -> io::Result<OwnedFd> {
        let mut state = self.state();
        unplug(&mut state);
        let (ours, theirs) = UnixStream::pair()?;
        state.serving = Some(self.root.serve(ours)?);
        Ok(theirs.into())
    }

    /// Saves the disks of a machine that stands still. Copies nothing: what is there is frozen, and the
    /// machine goes on with a new layer.
    pub(crate) fn save(&self, saved: &SavedNode) -> io::Result<()> {
        let mut state = self.state();
        let (frozen, next) = (self.files.layer(state.layer), self.files.layer(state.layer + 1));
        self.root.snapshot(&next)?;
        state.layer += 1;
        link_layer(&frozen, &saved.layer)
    }

    /// Deletes them, when their machine has ended for good. What was saved of them stays.
    pub(crate) fn delete(&self) -> io::Result<()> {
        let mut state = self.state();
        unplug(&mut state);
        (0..=state.layer).try_for_each(|layer| Layer::remove(&self.files.layer(layer)))
    }

    /// The machine is gone. What it had not flushed is kept or lost.
    pub(crate) fn power_cut(&self, unflushed: Unflushed, seed: Seed) -> io::Result<Cut> {
        unplug(&mut self.state());
        self.root.power_cut(unflushed, seed)
    }

    pub(crate) fn install(&self, node: &str, rules: &DiskRules) {
        self.root.install(&rules.fault, Seed(rules.seed), &format!("{node} root"), rules.trouble.clone());
    }

    pub(crate) fn remove(&self, fault: &str) -> Option<DiskCounters> {
        self.root.remove(fault)
    }

    pub(crate) fn counters(&self, fault: &str) -> Option<DiskCounters> {
        self.root.counters(fault)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unplug(state: &mut State) {
    if let Some(Err(error)) = state.serving.take().map(Serving::end) {
        // A machine that is killed in the middle of a sentence breaks off like this.
        tracing::debug!("a disk's conversation ended with: {error}");
    }
}
