//! A fleet spec resolved: every instance by name, with its address and its files rendered.
//!
//! [`resolve`] is pure apart from the image look-up it is given; it creates nothing.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use tera::{Context, Tera};

use super::spec::{FleetSpec, RoleSpec};
use crate::diagnostic::Position;
use crate::guest::probe::ProbeSpec;
pub use crate::network::{CLIENT, CLIENT_ADDRESS};
use crate::recipe::{InstanceFile, VolumeSpec};
use crate::store::{Image, ImageId};
use crate::units::{Size, Span};

/// Everything a provider needs to create a fleet; a pure value, the same for the same spec and images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FleetPlan {
    pub name: String,
    /// In order of role name, then index.
    pub nodes: Vec<NodePlan>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodePlan {
    /// `ROLE-INDEX`; resolves from every node and from `client`.
    pub name: String,
    pub role: String,
    /// From 1.
    pub index: u8,
    pub zone: String,
    /// On the fleet's network, 10.77.0.0/24; `client` is 10.77.0.1.
    pub address: Ipv4Addr,
    pub image: ImageId,
    pub memory: Size,
    pub cpus: u8,
    pub disk: Size,
    pub ready: Option<(ProbeSpec, Span)>,
    pub files: Vec<RenderedFile>,
    /// Its data disks; what is mounted inside of another one comes after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumePlan>,
}

/// A data disk of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumePlan {
    pub name: String,
    pub size: Size,
    /// Absolute path of the directory in the instance.
    pub mount: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderedFile {
    pub path: String,
    pub content: String,
    /// Permission bits.
    pub mode: u32,
}

/// The first instance's host part; 1 to 10 stay free for the network itself.
const FIRST_HOST: usize = 11;
/// Instances of one role.
const MAX_COUNT: u8 = 32;
/// Instances of one fleet: addresses end before .251, and no machine boots more.
const MAX_NODES: usize = 240;
/// A guest below this does not get through its boot.
const MIN_MEMORY: Size = Size(64 << 20);

/// Why a fleet cannot be as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PlanError {
    /// Where in the file that the spec came from, if it came from one.
    pub at: Option<Position>,
    pub message: String,
}

impl PlanError {
    fn new(at: Option<Position>, message: impl Into<String>) -> Self {
        PlanError { at, message: message.into() }
    }
}

/// Resolves `spec` into the plan of the fleet `name`; `image` finds an image by its reference.
pub fn resolve<E: Display>(
    name: &str,
    spec: &FleetSpec,
    image: impl Fn(&str) -> Result<Image, E>,
) -> Result<FleetPlan, PlanError> {
    if let Err(reason) = check_name(name) {
        return Err(PlanError::new(None, format!("`{name}` cannot be a fleet's name: {reason}")));
    }
    if spec.is_empty() {
        return Err(PlanError::new(None, "a fleet needs at least one role"));
    }
    let mut nodes = Vec::new();
    let mut templates = Vec::new();
    for (role, wanted) in spec {
        let at = wanted.image.at;
        check_role(role, wanted).map_err(|reason| PlanError::new(at, format!("role `{role}`: {reason}")))?;
        let found = image(&wanted.image.value)
            .map_err(|error| PlanError::new(at, format!("role `{role}`: {error}")))?;
        for index in 1..=wanted.count {
            let host = FIRST_HOST + nodes.len();
            let last = u8::try_from(host)
                .ok()
                .filter(|_| nodes.len() < MAX_NODES)
                .ok_or_else(|| PlanError::new(at, format!("a fleet has at most {MAX_NODES} instances")))?;
            let node = node(role, index, wanted, &found, last);
            nodes.push(node.map_err(|reason| PlanError::new(at, format!("role `{role}`: {reason}")))?);
            templates.push((at, found.manifest.instance.files.clone()));
        }
    }
    // Faults and sessions are aimed by one name, whether it is an instance's or a role's.
    for node in &nodes {
        if let Some(other) = spec.get(&node.name) {
            let message =
                format!("`{}` would be both a role and an instance of role `{}`", node.name, node.role);
            return Err(PlanError::new(other.image.at, message));
        }
    }
    let fleet = fleet_facts(name, &nodes);
    for (node, (at, files)) in nodes.iter_mut().zip(templates) {
        let facts = node_facts(node);
        for file in files {
            let rendered = render(&file, &facts, &fleet).map_err(|reason| {
                PlanError::new(at, format!("the file `{}` of {}: {reason}", file.path, node.name))
            })?;
            node.files.push(rendered);
        }
    }
    Ok(FleetPlan { name: name.to_owned(), nodes })
}

fn node(role: &str, index: u8, wanted: &RoleSpec, image: &Image, host: u8) -> Result<NodePlan, String> {
    let defaults = &image.manifest.instance;
    let mut volumes = defaults.volumes.clone();
    volumes.extend(wanted.volumes.clone());
    VolumeSpec::check_all(&volumes)?;
    let volumes =
        volumes.into_iter().map(|(name, VolumeSpec { size, mount })| VolumePlan { name, size, mount });
    let mut volumes: Vec<VolumePlan> = volumes.collect();
    volumes.sort_by(|a, b| a.mount.cmp(&b.mount));
    let turn = usize::from(index - 1) % wanted.zones.len().max(1);
    Ok(NodePlan {
        name: format!("{role}-{index}"),
        role: role.to_owned(),
        index,
        zone: wanted.zones.get(turn).cloned().unwrap_or_else(|| "a".to_owned()),
        address: Ipv4Addr::new(10, 77, 0, host),
        image: image.id().clone(),
        memory: wanted.memory.unwrap_or(defaults.memory),
        cpus: wanted.cpus.unwrap_or(defaults.cpus),
        disk: Size(defaults.disk.0.max(image.manifest.disk_bytes)),
        ready: defaults.ready.as_ref().map(|ready| (ready.probe.clone(), ready.within)),
        files: Vec::new(),
        volumes,
    })
}

/// Names become host names, folder names and parts of command lines.
fn check_name(name: &str) -> Result<(), &'static str> {
    let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match name {
        "" => Err("it is empty"),
        _ if name.len() > 40 => Err("it is longer than 40 characters"),
        _ if !name.chars().all(label) => Err("only lower-case letters, digits and `-` may stand in it"),
        _ if !name.starts_with(|c: char| c.is_ascii_lowercase()) => Err("it must start with a letter"),
        _ if name.ends_with('-') => Err("it must not end with `-`"),
        _ => Ok(()),
    }
}

fn check_role(role: &str, wanted: &RoleSpec) -> Result<(), String> {
    check_name(role)?;
    if role == CLIENT {
        return Err(format!("`{CLIENT}` is the name of the place from which the service is used"));
    }
    if !(1..=MAX_COUNT).contains(&wanted.count) {
        return Err(format!("the count is {}, expected 1 to {MAX_COUNT}", wanted.count));
    }
    for zone in &wanted.zones {
        check_name(zone).map_err(|reason| format!("zone `{zone}`: {reason}"))?;
    }
    if let Some(memory) = wanted.memory.filter(|memory| *memory < MIN_MEMORY) {
        return Err(format!("{memory} of memory is too little, expected at least {MIN_MEMORY}"));
    }
    if let Some(cpus) = wanted.cpus.filter(|cpus| !(1..=64).contains(cpus)) {
        return Err(format!("the number of cpus is {cpus}, expected 1 to 64"));
    }
    Ok(())
}

/// What a template knows of one instance.
#[derive(Debug, Clone, Serialize)]
struct NodeFacts {
    name: String,
    role: String,
    index: u8,
    zone: String,
    address: String,
}

/// What a template knows of the whole fleet.
#[derive(Debug, Serialize)]
struct FleetFacts {
    name: String,
    nodes: Vec<NodeFacts>,
    roles: BTreeMap<String, Vec<NodeFacts>>,
}

fn node_facts(node: &NodePlan) -> NodeFacts {
    NodeFacts {
        name: node.name.clone(),
        role: node.role.clone(),
        index: node.index,
        zone: node.zone.clone(),
        address: node.address.to_string(),
    }
}

fn fleet_facts(name: &str, nodes: &[NodePlan]) -> FleetFacts {
    let nodes: Vec<NodeFacts> = nodes.iter().map(node_facts).collect();
    let mut roles: BTreeMap<String, Vec<NodeFacts>> = BTreeMap::new();
    for node in &nodes {
        roles.entry(node.role.clone()).or_default().push(node.clone());
    }
    FleetFacts { name: name.to_owned(), nodes, roles }
}

fn render(file: &InstanceFile, node: &NodeFacts, fleet: &FleetFacts) -> Result<RenderedFile, String> {
    // The path ends up in a line of tmpfiles.d, where spaces separate and `%` starts a specifier.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:,=".contains(c);
    let good = file.path.starts_with('/')
        && !file.path.ends_with('/')
        && file.path.chars().all(plain)
        && !file.path.split('/').any(|part| part == "..");
    if !good {
        return Err("the path must be absolute and of letters, digits and `/._-+@:,=`".to_owned());
    }
    let mode = u32::from_str_radix(&file.mode, 8).ok().filter(|mode| *mode <= 0o7777);
    let mode =
        mode.ok_or_else(|| format!("`{}` is not a mode, expected octal digits such as `0644`", file.mode))?;
    let mut context = Context::new();
    context.insert("node", node);
    context.insert("fleet", fleet);
    let content = Tera::one_off(&file.content, &context, false).map_err(|error| error.to_string())?;
    Ok(RenderedFile { path: file.path.clone(), content, mode })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;
    use crate::recipe::InstanceDefaults;
    use crate::store::Manifest;

    fn image_with(files: Vec<InstanceFile>) -> Image {
        let manifest = Manifest {
            disk_bytes: 5 << 30,
            instance: InstanceDefaults { files, ..InstanceDefaults::default() },
            ..Manifest::blank(ImageId::from_hash(blake3::hash(b"image")), "etcd")
        };
        Image { manifest, dir: PathBuf::from("/nowhere") }
    }

    fn role(count: u8, zones: &[&str]) -> RoleSpec {
        RoleSpec {
            image: "etcd".to_owned().into(),
            count,
            zones: zones.iter().map(|&zone| zone.to_owned()).collect(),
            memory: None,
            cpus: None,
            volumes: BTreeMap::new(),
        }
    }

    fn plan(roles: &[(&str, RoleSpec)], files: Vec<InstanceFile>) -> Result<FleetPlan, PlanError> {
        let spec = roles.iter().map(|(name, role)| ((*name).to_owned(), role.clone())).collect();
        resolve("shop", &spec, |_: &str| Ok::<_, String>(image_with(files.clone())))
    }

    #[test]
    fn instances_get_names_zones_and_addresses_in_turn() {
        let plan = plan(&[("web", role(1, &[])), ("db", role(3, &["a", "b"]))], Vec::new()).unwrap();
        let seen: Vec<String> =
            plan.nodes.iter().map(|n| format!("{} {} {} {}", n.name, n.zone, n.address, n.disk)).collect();
        insta::assert_snapshot!(seen.join("\n"), @"
        db-1 a 10.77.0.11 5G
        db-2 b 10.77.0.12 5G
        db-3 a 10.77.0.13 5G
        web-1 a 10.77.0.14 5G
        ");
    }

    #[test]
    fn files_know_their_node_and_the_whole_fleet() {
        let file = InstanceFile {
            path: "/etc/default/etcd".to_owned(),
            content: "NAME={{ node.name }}\nCLUSTER={% for n in fleet.roles[node.role] %}{{ n.name }}=http://{{ n.address }}:2380{% if not loop.last %},{% endif %}{% endfor %}\nOF={{ fleet.nodes | length }}\n".to_owned(),
            mode: "0600".to_owned(),
        };
        let plan = plan(&[("etcd", role(2, &[])), ("web", role(1, &[]))], vec![file]).unwrap();
        let file = &plan.nodes[1].files[0];
        assert_eq!(file.mode, 0o600);
        insta::assert_snapshot!(file.content, @"
        NAME=etcd-2
        CLUSTER=etcd-1=http://10.77.0.11:2380,etcd-2=http://10.77.0.12:2380
        OF=3
        ");
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        let file = |path: &str, content: &str, mode: &str| {
            let (path, content, mode) = (path.to_owned(), content.to_owned(), mode.to_owned());
            plan(&[("a", role(1, &[]))], vec![InstanceFile { path, content, mode }]).unwrap_err().to_string()
        };
        let refused = [
            plan(&[], Vec::new()).unwrap_err().to_string(),
            plan(&[("a", role(33, &[]))], Vec::new()).unwrap_err().to_string(),
            plan(&[("a", role(0, &[]))], Vec::new()).unwrap_err().to_string(),
            plan(&[("A b", role(1, &[]))], Vec::new()).unwrap_err().to_string(),
            plan(&[("a", RoleSpec { memory: Some(Size(1 << 20)), ..role(1, &[]) })], Vec::new())
                .unwrap_err()
                .to_string(),
            file("etc/x", "", "0644"),
            file("/etc/a b", "", "0644"),
            file("/etc/x", "", "rw"),
        ];
        insta::assert_snapshot!(refused.join("\n"), @"
        a fleet needs at least one role
        role `a`: the count is 33, expected 1 to 32
        role `a`: the count is 0, expected 1 to 32
        role `A b`: only lower-case letters, digits and `-` may stand in it
        role `a`: 1M of memory is too little, expected at least 64M
        the file `etc/x` of a-1: the path must be absolute and of letters, digits and `/._-+@:,=`
        the file `/etc/a b` of a-1: the path must be absolute and of letters, digits and `/._-+@:,=`
        the file `/etc/x` of a-1: `rw` is not a mode, expected octal digits such as `0644`
        ");
        assert!(file("/etc/x", "{{ nodes.name }}", "0644").contains("nodes"));
    }

    #[test]
    fn a_role_adds_to_the_volumes_of_its_image() {
        let volume = |size: u64, mount: &str| VolumeSpec { size: Size(size << 30), mount: mount.to_owned() };
        let mut image = image_with(Vec::new());
        image.manifest.instance.volumes = BTreeMap::from([("data".to_owned(), volume(1, "/var/lib/db"))]);
        let resolve_with = |volumes| {
            let spec = FleetSpec::from([("db".to_owned(), RoleSpec { volumes, ..role(2, &[]) })]);
            resolve("shop", &spec, |_: &str| Ok::<_, String>(image.clone()))
        };
        let volumes = BTreeMap::from([
            ("data".to_owned(), volume(3, "/var/lib/db")),
            ("logs".to_owned(), volume(1, "/var/lib")),
        ]);
        let plan = resolve_with(volumes).unwrap();
        let seen = plan.nodes[1].volumes.iter().map(|v| format!("{} {} {}", v.name, v.size, v.mount));
        assert_eq!(seen.collect::<Vec<_>>(), ["logs 1G /var/lib", "data 3G /var/lib/db"]);
        let clash =
            resolve_with(BTreeMap::from([("more".to_owned(), volume(1, "/var/lib/db"))])).unwrap_err();
        assert_eq!(clash.message, "role `db`: the volumes `data` and `more` are both on `/var/lib/db`");
    }

    #[test]
    fn a_name_means_one_thing() {
        let clash = plan(&[("a", role(2, &[])), ("a-1", role(1, &[]))], Vec::new()).unwrap_err();
        assert_eq!(clash.message, "`a-1` would be both a role and an instance of role `a`");
        assert!(plan(&[("a", role(2, &[])), ("a-3", role(1, &[]))], Vec::new()).is_ok());
        assert!(plan(&[("client", role(1, &[]))], Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn names_and_addresses_never_repeat(counts in proptest::collection::btree_map("[a-c](-[1-3])?", 1_u8..=12, 1..6)) {
            let roles: Vec<(String, RoleSpec)> = counts.into_iter().map(|(name, count)| (name, role(count, &["a", "b"]))).collect();
            let roles: Vec<(&str, RoleSpec)> = roles.iter().map(|(name, role)| (name.as_str(), role.clone())).collect();
            if let Ok(plan) = plan(&roles, Vec::new()) {
                let names: BTreeSet<_> = plan.nodes.iter().map(|n| &n.name).collect();
                let addresses: BTreeSet<_> = plan.nodes.iter().map(|n| n.address).collect();
                prop_assert_eq!(names.len(), plan.nodes.len());
                prop_assert_eq!(addresses.len(), plan.nodes.len());
                prop_assert!(!addresses.contains(&CLIENT_ADDRESS));
            }
        }
    }
}
