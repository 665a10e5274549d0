//! `ovenproof doctor`: is this machine able to do it, and what to install if not.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;
use serde::Serialize;

use super::{Failure, Printer, fleets};
use crate::home::Home;
use crate::hypervisor::accel::Accelerator;
use crate::units::Size;
use crate::userns;

/// Check whether this machine can bake and run fleets; exits with 4 if it cannot.
#[derive(Debug, Args)]
pub struct DoctorArgs {}

/// A program that is run, what for, and the Debian package that has it.
struct Tool {
    program: &'static str,
    package: &'static str,
    needed_for: &'static str,
    /// Without it something else still works.
    optional: bool,
}

const fn tool(program: &'static str, package: &'static str, needed_for: &'static str) -> Tool {
    Tool { program, package, needed_for, optional: false }
}

const TOOLS: [Tool; 8] = [
    tool("qemu-system-x86_64", "qemu-system-x86", "running servers"),
    tool("mmdebstrap", "mmdebstrap", "the base of an image"),
    tool("bwrap", "bubblewrap", "steps of a recipe"),
    tool("mkfs.ext4", "e2fsprogs", "the root file system"),
    tool("mkfs.vfat", "dosfstools", "the boot file system"),
    tool("mcopy", "mtools", "the boot file system"),
    tool("tar", "tar", "layers"),
    Tool { optional: true, ..tool("ssh", "openssh-client", "`ovenproof ssh`") },
];

/// Below this, a bake or a fleet may well fill the disk.
const LITTLE_SPACE: u64 = 5 << 30;
/// The first QEMU with `-netdev stream` over Unix sockets.
const OLDEST_QEMU: (u32, u32) = (7, 2);

#[derive(Debug, Serialize)]
struct Check {
    name: String,
    verdict: Verdict,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Good,
    /// Works, but slower or with less than there could be.
    Weak,
    /// Something needed is not there.
    Bad,
}

pub fn run(_: &DoctorArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let mut checks: Vec<Check> = TOOLS.iter().map(check_tool).collect();
    checks.push(check_accelerator());
    checks.push(check_layers());
    checks.push(check_space(&Home::from_env()?));
    printer.json(&checks);
    let rows: Vec<Vec<String>> = checks.iter().map(row).collect();
    for line in fleets::table(&rows) {
        printer.line(line);
    }
    let packages: Vec<&str> = checks.iter().filter_map(|check| check.package).collect();
    if let Some(advice) = advice(&packages) {
        printer.line(format!("\nto install what is missing:\n  {advice}"));
    }
    let bad = checks.iter().any(|check| check.verdict == Verdict::Bad);
    Ok(if bad { ExitCode::from(4) } else { ExitCode::SUCCESS })
}

fn row(check: &Check) -> Vec<String> {
    let verdict = match check.verdict {
        Verdict::Good => "ok",
        Verdict::Weak => "weak",
        Verdict::Bad => "MISSING",
    };
    vec![verdict.to_owned(), check.name.clone(), check.detail.clone()]
}

/// The exact command that installs `packages`.
fn advice(packages: &[&str]) -> Option<String> {
    if packages.is_empty() {
        return None;
    }
    // Debian's `qemu-utils` may come from backports and then conflicts with `qemu-system-x86` unless that
    // one is installed first, in a step of its own.
    let (first, rest): (Vec<&str>, Vec<&str>) =
        packages.iter().copied().partition(|package| *package == "qemu-system-x86");
    let install = |names: Vec<&str>| {
        (!names.is_empty())
            .then(|| format!("apt-get install --no-install-recommends {}", dedup(names).join(" ")))
    };
    let steps: Vec<String> = [install(first), install(rest)].into_iter().flatten().collect();
    Some(steps.join(" && "))
}

fn dedup(mut names: Vec<&str>) -> Vec<&str> {
    names.sort_unstable();
    names.dedup();
    names
}

fn check_tool(tool: &Tool) -> Check {
    let name = tool.program.to_owned();
    let Some(path) = find(tool.program) else {
        let verdict = if tool.optional { Verdict::Weak } else { Verdict::Bad };
        let detail = format!("not found; needed for {}", tool.needed_for);
        return Check { name, verdict, detail, package: Some(tool.package) };
    };
    if tool.program != "qemu-system-x86_64" {
        return Check { name, verdict: Verdict::Good, detail: path.display().to_string(), package: None };
    }
    let output = Command::new(&path).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let (verdict, detail) = match qemu_version(&text) {
        Some(version) if version >= OLDEST_QEMU => {
            (Verdict::Good, format!("{}, version {}.{}", path.display(), version.0, version.1))
        }
        Some((major, minor)) => (Verdict::Bad, format!("version {major}.{minor} is older than 7.2")),
        None => (Verdict::Bad, format!("{} does not tell its version", path.display())),
    };
    let package = (verdict == Verdict::Bad).then_some(tool.package);
    Check { name, verdict, detail, package }
}

/// Reads `QEMU emulator version 7.2.22 (Debian ...)`.
fn qemu_version(text: &str) -> Option<(u32, u32)> {
    let version = text.split_once("version ")?.1;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Looks where programs are; users' paths often lack `sbin`, where file systems are made.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(sbin).map(|dir| dir.join(program)).find(|file| file.is_file())
}

fn check_accelerator() -> Check {
    let (accelerator, why) = Accelerator::detect();
    let (verdict, detail) = match accelerator {
        Accelerator::Kvm => (Verdict::Good, format!("KVM: {why}")),
        Accelerator::Tcg => (Verdict::Weak, format!("servers run in translation, ten times slower: {why}")),
    };
    Check { name: "accelerator".to_owned(), verdict, detail, package: None }
}

/// Tries what a bake does, as the user who asks.
fn check_layers() -> Check {
    let name = "layers of images".to_owned();
    match userns::probe() {
        Ok(()) => {
            let detail = match userns::needed() {
                true => "can be made without root, in a user namespace",
                false => "can be made",
            };
            Check { name, verdict: Verdict::Good, detail: detail.to_owned(), package: None }
        }
        Err(no) => {
            Check { name, verdict: Verdict::Bad, detail: format!("{no}; {}", no.hint), package: no.package }
        }
    }
}

fn check_space(home: &Home) -> Check {
    let name = "disk space".to_owned();
    // The home may not exist yet; what counts is where it will be.
    let existing = home.root().ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let (verdict, detail) = match rustix::fs::statvfs(existing) {
        Ok(stat) => {
            let free = stat.f_bavail * stat.f_frsize;
            let verdict = if free < LITTLE_SPACE { Verdict::Weak } else { Verdict::Good };
            (verdict, format!("{} free at {}", Size(free), home.root().display()))
        }
        Err(error) => (Verdict::Weak, format!("{}: {error}", existing.display())),
    };
    Check { name, verdict, detail, package: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_can_be_pasted() {
        assert_eq!(advice(&[]), None);
        insta::assert_snapshot!(
            advice(&["qemu-utils", "qemu-system-x86", "mtools"]).unwrap(),
            @"apt-get install --no-install-recommends qemu-system-x86 && apt-get install --no-install-recommends mtools qemu-utils"
        );
    }

    #[test]
    fn qemus_version_is_read() {
        assert_eq!(qemu_version("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg)\nCopyright"), Some((7, 2)));
        assert_eq!(qemu_version("something else"), None);
    }
}
