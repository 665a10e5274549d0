//! A write cache that is full.

use crate::disk::cache::MAX_WRITES;
use crate::disk::{Disk, Keeping, Layer, SECTOR};

#[test]
fn what_leaves_a_full_cache_may_be_half_covered_by_something_longer() {
    let folder = tempfile::tempdir().unwrap();
    let layer = Layer::create(&folder.path().join("0"), 64 * SECTOR).unwrap();
    let disk = Disk::new(64 * SECTOR, Vec::new(), layer, Keeping::Guest).unwrap();
    let sectors = |count: u64, value: u8| vec![value; (count * SECTOR) as usize];
    disk.write(0, sectors(8, 1), false).unwrap();
    disk.write(4 * SECTOR, sectors(12, 2), false).unwrap();
    for _ in 0..MAX_WRITES {
        disk.zero(20 * SECTOR, SECTOR, false).unwrap();
    }
    let mut read = sectors(16, 9);
    disk.read(0, &mut read).unwrap();
    assert_eq!(read, [sectors(4, 1), sectors(12, 2)].concat());
}
