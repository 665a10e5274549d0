//! One layer of a disk: a sparse file, and the map of the sectors that it has.
//!
//! What it does not have comes from below. A layer without a map has everything: the image at the bottom.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};

use super::SECTOR;
use super::map::{Changes, Map};

/// Zeroes for filesystems that cannot punch holes.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

#[derive(Debug)]
pub struct Layer {
    data: Arc<File>,
    /// `None`: it has everything.
    map: Option<(Map, Arc<File>)>,
}

impl Layer {
    /// Where the map of the layer in `path` is saved.
    pub fn map_path(path: &Path) -> PathBuf {
        path.with_added_extension("map")
    }

    /// A file that is complete by itself, such as an image; sectors beyond its end are zeroes.
    pub fn whole(path: &Path) -> io::Result<Self> {
        Ok(Layer { data: Arc::new(File::open(path)?), map: None })
    }

    /// The same for a file that will be written to: the bottom of a disk that stands on nothing.
    pub fn whole_writable(path: &Path) -> io::Result<Self> {
        let data = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Layer { data: Arc::new(data), map: None })
    }

    /// A new layer that has nothing, `bytes` long; `path` must not exist.
    pub fn create(path: &Path, bytes: u64) -> io::Result<Self> {
        let new =
            |path: &Path| OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
        let (data, map) = (new(path)?, new(&Self::map_path(path))?);
        data.set_len(bytes)?;
        Ok(Layer { data: Arc::new(data), map: Some((Map::default(), Arc::new(map))) })
    }

    /// A layer as it was saved, to be written to again.
    pub fn open(path: &Path) -> io::Result<Self> {
        let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path);
        let (data, map) = (open(path)?, open(&Self::map_path(path))?);
        Ok(Layer { data: Arc::new(data), map: Some((Map::load(&map)?, Arc::new(map))) })
    }

    /// A layer as it was saved, never to be written to.
    pub fn open_frozen(path: &Path) -> io::Result<Self> {
        let map = File::open(Self::map_path(path))?;
        Ok(Layer { data: Arc::new(File::open(path)?), map: Some((Map::load(&map)?, Arc::new(map))) })
    }

    /// Removes the files of a layer that nobody uses any more.
    pub fn remove(path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)?;
        std::fs::remove_file(Self::map_path(path))
    }

    /// Whether it has the sector `from`, and up to which sector, at most `end`, the same holds.
    pub(super) fn run(&self, from: u64, end: u64) -> (bool, u64) {
        match &self.map {
            Some((map, _)) => map.run(from, end),
            None => (true, end),
        }
    }

    pub(super) fn read(&self, sector: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            match self.data.read_at(&mut buffer[done..], sector * SECTOR + done as u64) {
                Ok(0) => {
                    buffer[done..].fill(0);
                    break;
                }
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn write(&mut self, sector: u64, data: &[u8]) -> io::Result<()> {
        self.data.write_all_at(data, sector * SECTOR)?;
        self.has(sector..sector + data.len() as u64 / SECTOR);
        Ok(())
    }

    pub(super) fn zero(&mut self, sectors: Range<u64>) -> io::Result<()> {
        let (from, length) = (sectors.start * SECTOR, (sectors.end - sectors.start) * SECTOR);
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.data, how, from, length) {
            Ok(()) => {}
            Err(rustix::io::Errno::OPNOTSUPP) => {
                let mut at = from;
                while at < from + length {
                    let piece = ZEROES.len().min((from + length - at) as usize);
                    self.data.write_all_at(&ZEROES[..piece], at)?;
                    at += piece as u64;
                }
            }
            Err(error) => return Err(error.into()),
        }
        self.has(sectors);
        Ok(())
    }

    fn has(&mut self, sectors: Range<u64>) {
        if let Some((map, _)) = &mut self.map {
            map.insert(sectors);
        }
    }

    /// What must happen, without the layer, before everything written so far is kept on the host's disk.
    pub(super) fn unsaved(&mut self) -> Unsaved {
        let map = self.map.as_mut().map(|(map, file)| (map.take_changes(), file.clone()));
        Unsaved { data: self.data.clone(), map: map.filter(|(changes, _)| !changes.is_empty()) }
    }

    /// Writes down which sectors it has, without waiting for the host's disk.
    pub(super) fn save_map(&mut self) -> io::Result<()> {
        match &mut self.map {
            Some((map, file)) => map.take_changes().save(file),
            None => Ok(()),
        }
    }
}

/// See [`Layer::unsaved`].
pub(super) struct Unsaved {
    data: Arc<File>,
    map: Option<(Changes, Arc<File>)>,
}

impl Unsaved {
    /// The data first: a map must never promise sectors that are not there.
    pub(super) fn save(self) -> io::Result<()> {
        self.data.sync_data()?;
        if let Some((changes, file)) = self.map {
            changes.save(&file)?;
            file.sync_data()?;
        }
        Ok(())
    }
}
