//! The disk against a plain one in memory, over random operations.

use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;

use crate::disk::{Disk, Keeping, Layer, SECTOR, Unflushed};
use crate::seed::Seed;

const SECTORS: u64 = 96;

#[derive(Debug, Clone)]
enum Step {
    Write {
        sector: u64,
        sectors: u64,
        through: bool,
    },
    Zero {
        sector: u64,
        sectors: u64,
        through: bool,
    },
    Read {
        sector: u64,
        sectors: u64,
    },
    Flush,
    Snapshot,
    /// The disk goes on, and another one stands on its frozen layers.
    Fork,
    Crash {
        which: Unflushed,
        seed: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let place = || (0..SECTORS).prop_flat_map(|sector| (Just(sector), 1..=(SECTORS - sector).min(20)));
    let which = prop_oneof![
        Just(Unflushed::None),
        Just(Unflushed::All),
        Just(Unflushed::Prefix),
        Just(Unflushed::Subset),
        Just(Unflushed::Torn),
    ];
    prop_oneof![
        8 => (place(), prop::bool::weighted(0.1))
            .prop_map(|((sector, sectors), through)| Step::Write { sector, sectors, through }),
        2 => (place(), prop::bool::weighted(0.1))
            .prop_map(|((sector, sectors), through)| Step::Zero { sector, sectors, through }),
        4 => place().prop_map(|(sector, sectors)| Step::Read { sector, sectors }),
        2 => Just(Step::Flush),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Fork),
        1 => (which, any::<u64>()).prop_map(|(which, seed)| Step::Crash { which, seed }),
    ]
}

/// What a sector may hold: the value that was flushed, then all that was written since, oldest first.
#[derive(Debug, Clone)]
struct Sector {
    flushed: u32,
    since: Vec<u32>,
}

impl Sector {
    fn now(&self) -> u32 {
        self.since.last().copied().unwrap_or(self.flushed)
    }
}

struct World {
    folder: tempfile::TempDir,
    files: u32,
    keeping: Keeping,
    disk: Disk,
    /// Paths of the layers, the uppermost last; all but that one are frozen.
    layers: Vec<PathBuf>,
    model: Vec<Sector>,
    /// Every write has a value of its own.
    next: u32,
}

impl World {
    fn new(keeping: Keeping) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // An image that is shorter than the disk.
        let image = folder.path().join("image");
        std::fs::write(&image, content(0..SECTORS / 2, 1)).unwrap();
        let top = folder.path().join("0");
        let below = vec![Arc::new(Layer::whole(&image).unwrap())];
        let layer = Layer::create(&top, SECTORS * SECTOR).unwrap();
        let disk = Disk::new(SECTORS * SECTOR, below, layer, keeping).unwrap();
        let value = |sector| if sector < SECTORS / 2 { 1 } else { 0 };
        let model = (0..SECTORS).map(|sector| Sector { flushed: value(sector), since: Vec::new() });
        let model = model.collect();
        World { folder, files: 1, keeping, disk, layers: vec![image, top], model, next: 2 }
    }

    fn path(&mut self) -> PathBuf {
        self.files += 1;
        self.folder.path().join((self.files - 1).to_string())
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Write { sector, sectors, through } => {
                let data = content(sector..sector + sectors, self.next);
                self.disk.write(sector * SECTOR, data, through).unwrap();
                self.wrote(sector, sectors, self.next, through);
                self.next += 1;
            }
            Step::Zero { sector, sectors, through } => {
                self.disk.zero(sector * SECTOR, sectors * SECTOR, through).unwrap();
                self.wrote(sector, sectors, 0, through);
            }
            Step::Read { sector, sectors } => self.check(sector, sectors),
            Step::Flush => {
                self.disk.flush().unwrap();
                self.flushed();
            }
            Step::Snapshot => {
                let next = self.path();
                self.disk.snapshot(&next).unwrap();
                self.layers.push(next);
                self.flushed();
            }
            Step::Fork => {
                self.take(&Step::Snapshot);
                let fork = self.path();
                let layer = Layer::create(&fork, SECTORS * SECTOR).unwrap();
                self.layers.pop();
                self.disk = Disk::new(SECTORS * SECTOR, self.frozen(), layer, self.keeping).unwrap();
                self.layers.push(fork);
            }
            Step::Crash { which, seed } => self.crash(which, Seed(seed)),
        }
    }

    /// The layers as another process would find them.
    fn frozen(&self) -> Vec<Arc<Layer>> {
        let (image, layers) = self.layers.split_first().unwrap();
        let mut below = vec![Arc::new(Layer::whole(image).unwrap())];
        below.extend(layers.iter().map(|path| Arc::new(Layer::open_frozen(path).unwrap())));
        below
    }

    fn wrote(&mut self, sector: u64, sectors: u64, value: u32, through: bool) {
        let places = sector as usize..(sector + sectors) as usize;
        if through && self.model[places.clone()].iter().any(|sector| !sector.since.is_empty()) {
            // What is in the way is persisted early, and all that came before it.
            self.flushed();
        }
        for at in &mut self.model[places] {
            match through {
                true => *at = Sector { flushed: value, since: Vec::new() },
                false => at.since.push(value),
            }
        }
    }

    fn flushed(&mut self) {
        for sector in &mut self.model {
            *sector = Sector { flushed: sector.now(), since: Vec::new() };
        }
    }

    fn crash(&mut self, which: Unflushed, seed: Seed) {
        let cut = self.disk.power_cut(which, seed).unwrap();
        assert_eq!(cut.unflushed, cut.kept + cut.lost + cut.torn);
        let mut found = vec![0; (SECTORS * SECTOR) as usize];
        self.disk.read(0, &mut found).unwrap();
        let sectors = found.chunks(SECTOR as usize).zip(&mut self.model).enumerate();
        for (number, (bytes, sector)) in sectors {
            let value = u32::from_le_bytes(*bytes.first_chunk().unwrap());
            assert!(bytes == content(number as u64..number as u64 + 1, value), "sector {number} is torn");
            let allowed = match which {
                Unflushed::None => value == sector.flushed,
                Unflushed::All => value == sector.now(),
                _ => value == sector.flushed || sector.since.contains(&value),
            };
            assert!(allowed, "sector {number} holds {value} after {which:?}, expected of {sector:?}");
            *sector = Sector { flushed: value, since: Vec::new() };
        }
    }

    fn check(&self, sector: u64, sectors: u64) {
        let mut found = vec![0xff; (sectors * SECTOR) as usize];
        self.disk.read(sector * SECTOR, &mut found).unwrap();
        for (number, bytes) in (sector..).zip(found.chunks(SECTOR as usize)) {
            let value = self.model[number as usize].now();
            assert!(bytes == content(number..number + 1, value), "sector {number}, expected {value}");
        }
    }
}

/// Sectors that say what was written and where; zero is zeroes.
fn content(sectors: std::ops::Range<u64>, value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for sector in sectors {
        let mut one = [0; SECTOR as usize];
        if value != 0 {
            one.fill(sector as u8);
            one[..4].copy_from_slice(&value.to_le_bytes());
        }
        bytes.extend_from_slice(&one);
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_disk_is_what_was_written_to_it_and_after_a_crash_what_it_may_be(
        steps in prop::collection::vec(step(), 1..60),
        // Rarely: it waits for the host's disk.
        host in prop::bool::weighted(0.05),
    ) {
        let mut world = World::new(if host { Keeping::Host } else { Keeping::Guest });
        for step in &steps {
            world.take(step);
        }
        world.check(0, SECTORS);
    }

    /// The same writes and the same seed leave the same disk.
    #[test]
    fn a_crash_is_decided_by_its_seed(steps in prop::collection::vec(step(), 1..30), seed: u64) {
        let contents = [(); 2].map(|()| {
            let mut world = World::new(Keeping::Guest);
            steps.iter().for_each(|step| world.take(step));
            let cut = world.disk.power_cut(Unflushed::Torn, Seed(seed)).unwrap();
            let mut found = vec![0; (SECTORS * SECTOR) as usize];
            world.disk.read(0, &mut found).unwrap();
            (cut, found)
        });
        prop_assert!(contents[0] == contents[1]);
    }
}
