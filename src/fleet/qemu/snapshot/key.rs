//! What a snapshot is a snapshot of: machines, and the hypervisor that they ran on, as one hash.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::FORMAT;
use crate::fleet::plan::FleetPlan;
use crate::hypervisor::HYPERVISOR;
use crate::hypervisor::accel::Accelerator;

/// The key of the snapshots that fit `plan` on this machine; `None` if there can be none.
pub(crate) fn key(plan: &FleetPlan) -> Option<String> {
    key_on(&hypervisor()?, plan)
}

fn key_on(hypervisor: &str, plan: &FleetPlan) -> Option<String> {
    // The name of a fleet is not part of its machines; where a file in them has it, the file is.
    let plan = FleetPlan { name: String::new(), ..plan.clone() };
    let mut hasher = blake3::Hasher::new_derive_key(FORMAT);
    for part in [hypervisor.as_bytes(), &serde_json::to_vec(&plan).ok()?] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    Some(hasher.finalize().to_hex().to_string())
}

/// What the memory of a machine can be restored by: this very QEMU, with this accelerator, on this
/// processor.
pub(super) fn hypervisor() -> Option<String> {
    let found = |dir: PathBuf| {
        let path = dir.join(HYPERVISOR);
        fs::metadata(&path).ok().map(|file| (path, file))
    };
    let (path, file) = std::env::split_paths(&std::env::var_os("PATH")?).find_map(found)?;
    let (accelerator, _) = Accelerator::detect();
    let processor = match accelerator {
        Accelerator::Kvm => fs::read_to_string("/proc/cpuinfo").ok()?,
        // An emulated one is the same everywhere.
        Accelerator::Tcg => String::new(),
    };
    Some(
        [version(&path, &file), accelerator.options().join(" "), model(&processor)]
            .join(" ")
            .trim_end()
            .to_owned(),
    )
}

/// Tells versions of QEMU apart as well as its `--version`, without starting it.
fn version(path: &Path, file: &Metadata) -> String {
    format!("{} {} {}.{}", path.display(), file.len(), file.mtime(), file.mtime_nsec())
}

/// The model of the processor, and what it can do.
fn model(cpuinfo: &str) -> String {
    let told = |line: &&str| line.starts_with("model name") || line.starts_with("flags");
    let told: BTreeSet<&str> = cpuinfo.lines().filter(told).collect();
    told.into_iter().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fleet::plan::resolve;
    use crate::fleet::{FleetSpec, RoleSpec};
    use crate::recipe::{InstanceFile, VolumeSpec};
    use crate::store::{Image, ImageId, Manifest};
    use crate::units::Size;

    /// What a fleet is made of.
    #[derive(Clone)]
    struct Made {
        name: &'static str,
        image: &'static str,
        file: &'static str,
        role: RoleSpec,
    }

    fn made() -> Made {
        let role = RoleSpec {
            image: "etcd".to_owned().into(),
            count: 3,
            zones: Vec::new(),
            memory: None,
            cpus: None,
            volumes: BTreeMap::new(),
        };
        Made { name: "one", image: "image", file: "{{ node.name }}", role }
    }

    fn plan(made: &Made) -> FleetPlan {
        let mut manifest = Manifest::blank(ImageId::from_hash(blake3::hash(made.image.as_bytes())), "etcd");
        let file = InstanceFile {
            path: "/etc/x".to_owned(),
            content: made.file.to_owned(),
            mode: "0644".to_owned(),
        };
        manifest.instance.files.push(file);
        let image = Image { manifest, dir: PathBuf::from("/nowhere") };
        let spec = FleetSpec::from([("etcd".to_owned(), made.role.clone())]);
        resolve(made.name, &spec, |_: &str| Ok::<_, String>(image.clone())).unwrap()
    }

    #[test]
    fn a_key_stands_for_every_machine_and_not_for_the_name_of_the_fleet() {
        let key = |change: &dyn Fn(&mut Made)| {
            let mut made = made();
            change(&mut made);
            key_on("qemu", &plan(&made)).unwrap()
        };
        let volume = VolumeSpec { size: Size(1 << 30), mount: "/srv".to_owned() };
        let other = [
            key(&|_| {}),
            key(&|made| made.image = "newer image"),
            key(&|made| made.file = "{{ node.name }}!"),
            key(&|made| made.file = "{{ fleet.name }}"),
            key(&|made| made.role.count = 2),
            key(&|made| made.role.memory = Some(Size(1 << 30))),
            key(&|made| made.role.cpus = Some(4)),
            key(&|made| made.role.zones = vec!["b".to_owned()]),
            key(&|made| drop(made.role.volumes.insert("data".to_owned(), volume.clone()))),
        ];
        assert_eq!(BTreeSet::from(other.clone()).len(), other.len());
        assert_eq!(key(&|made| made.name = "two"), other[0]);
        let named = key(&|made| (made.name, made.file) = ("two", "{{ fleet.name }}"));
        assert_ne!(named, other[3], "a file has the name in it");
    }

    #[test]
    fn a_key_stands_for_what_the_machines_run_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(HYPERVISOR);
        let version_of = |content: &str, seconds| {
            fs::write(&path, content).unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            version(&path, &fs::metadata(&path).unwrap())
        };
        let seven = version_of("7.2", 1);
        assert_eq!(version_of("7.2", 1), seven);
        assert_ne!(version_of("7.2.1", 1), seven);
        assert_ne!(version_of("8.0", 2), seven);

        let cpuinfo = "processor : 0\nmodel name : One\ncpu MHz : 2400.1\nflags : fpu sse2\n\n";
        let two = [cpuinfo, &cpuinfo.replace("processor : 0", "processor : 1").replace("2400.1", "2399.8")]
            .concat();
        assert_eq!(model(&two), model(cpuinfo), "how many there are is no matter, and how fast they are now");
        assert_ne!(model(&cpuinfo.replace("One", "Two")), model(cpuinfo));
        assert_ne!(model(&cpuinfo.replace("sse2", "sse2 avx")), model(cpuinfo));

        assert_ne!(Accelerator::Kvm.options(), Accelerator::Tcg.options());
        let plan = plan(&made());
        assert_ne!(key_on("one hypervisor", &plan), key_on("another", &plan));
        if let (Some(here), Some(key)) = (hypervisor(), key(&plan)) {
            let (accelerator, _) = Accelerator::detect();
            assert!(here.contains(&accelerator.options().join(" ")), "{here}");
            assert_eq!(key_on(&here, &plan), Some(key));
        }
    }
}
