//! An image as a file for other hypervisors and clouds.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{At, BakeError};
use super::layer::execute;
use super::process::command;
use crate::home::Home;
use crate::store::Image;

/// A format that `qemu-img` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFormat {
    Raw,
    Qcow2,
    Vmdk,
    Vhdx,
    Vdi,
    Vpc,
}

impl DiskFormat {
    pub const ALL: [DiskFormat; 6] = [
        DiskFormat::Raw,
        DiskFormat::Qcow2,
        DiskFormat::Vmdk,
        DiskFormat::Vhdx,
        DiskFormat::Vdi,
        DiskFormat::Vpc,
    ];

    pub fn name(self) -> &'static str {
        match self {
            DiskFormat::Raw => "raw",
            DiskFormat::Qcow2 => "qcow2",
            DiskFormat::Vmdk => "vmdk",
            DiskFormat::Vhdx => "vhdx",
            DiskFormat::Vdi => "vdi",
            DiskFormat::Vpc => "vpc",
        }
    }

    /// The variant of the format that those who read it from a file want.
    fn options(self) -> Option<&'static str> {
        match self {
            DiskFormat::Vmdk => Some("subformat=streamOptimized"),
            // Azure takes disks of a fixed size that is exactly what they say.
            DiskFormat::Vpc => Some("subformat=fixed,force_size=on"),
            _ => None,
        }
    }
}

/// Writes the disk of `image` to `target`: aside first, then renamed, so that it is whole or not there.
/// Returns how many bytes the file takes.
pub fn export(image: &Image, format: DiskFormat, target: &Path, home: &Home) -> Result<u64, BakeError> {
    let target = std::path::absolute(target).at(target)?;
    let Some(name) = target.file_name().filter(|_| !target.is_dir()) else {
        return Err(BakeError::Io { path: target, source: std::io::ErrorKind::IsADirectory.into() });
    };
    // Always the same name: what an export that was killed has left is written over by the next one. Two at once
    // do not mix, because qemu-img locks what it writes.
    let aside = target.with_file_name(format!(".{}.part", name.to_string_lossy()));
    let written = write(image, format, &aside, home);
    let written = written.and_then(|()| {
        File::open(&aside).and_then(|file| file.sync_all()).at(&aside)?;
        fs::rename(&aside, &target).at(&target)
    });
    if let Err(error) = written {
        // The error that matters is the first one.
        let _ = fs::remove_file(&aside);
        return Err(error);
    }
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata(&target).at(&target)?.blocks() * 512)
}

fn write(image: &Image, format: DiskFormat, aside: &PathBuf, home: &Home) -> Result<(), BakeError> {
    let mut convert = command("qemu-img");
    convert.args(["convert", "-f", "raw", "-O", format.name()]);
    if let Some(options) = format.options() {
        convert.args(["-o", options]);
    }
    convert.arg(image.disk()).arg(aside);
    let log = super::layer::log_path(home, &image.manifest.name, "export", image.id().as_str());
    super::process::fresh_log(&log).at(&log)?;
    execute(&mut convert, &log, Duration::from_secs(3600), &image.manifest.name, "export", &[])
}
