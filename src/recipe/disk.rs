//! Disks that somebody else made, such as cloud images: what kind of file one is, and whether it stands for itself.
//!
//! A disk in the qcow2 format may name further files that it continues; such a one is refused, because with it a
//! recipe could read what lies outside its folder.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// How the bytes of a disk lie in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskFormat {
    Raw,
    Qcow2,
}

impl DiskFormat {
    /// As QEMU calls it.
    pub fn name(self) -> &'static str {
        match self {
            DiskFormat::Raw => "raw",
            DiskFormat::Qcow2 => "qcow2",
        }
    }
}

const SECTOR: u64 = 512;
const QCOW2: [u8; 4] = *b"QFI\xfb";
/// The length of the head of a qcow2 file as far as we read it.
const HEAD: usize = 80;
/// In a qcow2 file: its content lies in another.
const EXTERNAL_DATA: u64 = 1 << 2;

/// The format of the disk in the file `path`, and its size as a machine sees it, in bytes. The inner error is a
/// sentence for the user.
pub fn inspect(path: &Path) -> io::Result<Result<(DiskFormat, u64), String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut head = Vec::new();
    file.by_ref().take(SECTOR).read_to_end(&mut head)?;
    if head.starts_with(&QCOW2) {
        return Ok(qcow2(&head).map(|size| (DiskFormat::Qcow2, size)));
    }
    file.seek(SeekFrom::Start(0))?;
    // What every disk has that firmware can start from, be its table of partitions old or new.
    Ok(match length.is_multiple_of(SECTOR) && head.get(510..512) == Some(&[0x55, 0xaa]) {
        true => Ok((DiskFormat::Raw, length)),
        false => Err("is neither a qcow2 file nor a raw disk with a table of partitions".to_owned()),
    })
}

fn qcow2(head: &[u8]) -> Result<u64, String> {
    let head = head.get(..HEAD).ok_or("is cut off")?;
    let number = |at: usize, bytes: usize| {
        head.iter().skip(at).take(bytes).fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let (version, size) = (number(4, 4), number(24, 8));
    if !(2..=3).contains(&version) {
        return Err(format!("is a qcow2 file of version {version}, expected 2 or 3"));
    }
    if number(8, 8) != 0 || version == 3 && number(72, 8) & EXTERNAL_DATA != 0 {
        return Err("continues another file, expected a disk that is whole".to_owned());
    }
    if number(32, 4) != 0 {
        return Err("is encrypted".to_owned());
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(bytes: &[u8]) -> Result<(DiskFormat, u64), String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        inspect(file.path()).unwrap()
    }

    /// A head with a number of so many bytes at each place.
    fn head(numbers: &[(usize, &[u8])]) -> Vec<u8> {
        let mut head = vec![0; 112];
        head[..4].copy_from_slice(&QCOW2);
        head[7] = 3;
        head[24..32].copy_from_slice(&(3_u64 << 30).to_be_bytes());
        for (at, bytes) in numbers {
            head[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        head
    }

    #[test]
    fn a_disk_is_told_by_its_first_bytes() {
        assert_eq!(said(&head(&[])), Ok((DiskFormat::Qcow2, 3 << 30)));
        let mut raw = vec![0; 4096];
        raw[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(said(&raw), Ok((DiskFormat::Raw, 4096)));
        for not in [b"".as_slice(), b"text", b"QFI\xfb", &raw[..4000]] {
            assert!(said(not).is_err(), "{not:?}");
        }
    }

    #[test]
    fn a_disk_that_leads_to_other_files_is_refused() {
        for numbers in [[(8, [0, 0, 0, 0, 0, 0, 0, 1].as_slice())], [(72, &[0, 0, 0, 0, 0, 0, 0, 4])]] {
            assert!(said(&head(&numbers)).unwrap_err().contains("continues another file"), "{numbers:?}");
        }
        assert!(said(&head(&[(32, &[0, 0, 0, 1])])).unwrap_err().contains("encrypted"));
        assert!(said(&head(&[(4, &[0, 0, 0, 9])])).unwrap_err().contains("version 9"));
    }

    proptest::proptest! {
        #[test]
        fn no_file_is_too_strange(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = said(&[QCOW2.as_slice(), &bytes].concat());
        }
    }
}
