use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use proptest::prelude::*;

use super::plan::Root;
use super::*;
use crate::diagnostic::BadFile;

/// A folder of recipes with a template, a file to copy, and a link that leads out.
struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder { dir };
        folder.write("outside/secret", "secret\n");
        folder.write("images/files/motd", "hello\n");
        folder.write("images/base.yaml", "name: base\nfrom: debian:bookworm\n");
        folder.write("templates/good.conf", "port {{ port }}\n");
        folder.write("templates/bad.conf", "first\nport {{ prot }}\n");
        folder.write("templates/broken.conf", "first\n{% if %}\n");
        folder.write("templates/node.env", "NAME={{ node.name }}\n");
        folder.write("templates/typo.env", "A=1\nNAME={{ nod.name }}\n");
        symlink(folder.dir.path().join("outside/secret"), folder.dir.path().join("images/link")).unwrap();
        folder
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn load(&self, name: &str, sets: &[(&str, &str)]) -> Result<Recipe, BadFile> {
        let sets: Vec<_> = sets.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Recipe::load(&self.dir.path().join(format!("images/{name}.yaml")), &sets)
    }

    /// What is said about a recipe called `x`, with the folder's own path left out.
    fn complain(&self, text: &str, sets: &[(&str, &str)]) -> String {
        self.write("images/x.yaml", text);
        let bad = self.load("x", sets).expect_err(text).to_string();
        bad.replace(&format!("{}/", self.dir.path().display()), "")
    }

    fn plan(&self, name: &str) -> Plan {
        self.load(name, &[]).unwrap().plan().clone()
    }
}

/// Each is put below `name: x` and `from: base`, so that the first line of the text is line 3.
const BAD: &[(&str, &str)] = &[
    ("unknown field", "pakages: [curl]"),
    ("wrong type", "packages: curl"),
    ("broken yaml", "packages: [curl"),
    ("repeated key", "packages: [curl]\npackages: [wget]"),
    ("not a package", "packages: [curl, 'curl; rm -rf /']"),
    ("package listed twice", "packages: [curl, curl=1.0]"),
    ("relative path", "files:\n  - { path: etc/motd, content: hi }"),
    ("path with dots", "files:\n  - { path: /etc/../motd, content: hi }"),
    ("path that does not stay", "files:\n  - { path: /run/motd, content: hi }"),
    ("file listed twice", "files:\n  - { path: /a, content: hi }\n  - { path: /a, content: ho }"),
    ("no content", "files:\n  - { path: /etc/motd }"),
    ("two contents", "files:\n  - { path: /etc/motd, content: hi, copy: files/motd }"),
    ("bad mode", "files:\n  - { path: /etc/motd, content: hi, mode: rw-r--r-- }"),
    ("mode with an eight", "files:\n  - { path: /etc/motd, content: hi, mode: '0648' }"),
    ("bad owner", "files:\n  - { path: /etc/motd, content: hi, owner: root }"),
    ("copy that is missing", "files:\n  - { path: /etc/motd, copy: files/modt }"),
    ("copy of a folder with a mode", "files:\n  - { path: /etc/motd, copy: files, mode: '0644' }"),
    ("directory with content", "files:\n  - { path: /srv/x, directory: true, content: hi }"),
    ("bad user", "users: [{ name: Root }]"),
    ("user listed twice", "users: [{ name: app }, { name: app }]"),
    ("user without a number", "users: [{ name: app, uid: 0 }]"),
    ("relative home", "users: [{ name: app, home: home }]"),
    ("bad secret", "run:\n  - { command: 'true', secrets: [../x] }"),
    ("root for the kernel", "kernel_cmdline: [root=/dev/sda]"),
    ("two words for the kernel", "kernel_cmdline: [a b]"),
    ("archive of somebody else's base", "debian: { mirror: 'http://localhost/' }"),
    ("copy from above", "files:\n  - { path: /etc/motd, copy: ../outside/secret }"),
    ("copy of an absolute path", "files:\n  - { path: /etc/motd, copy: /etc/shadow }"),
    ("copy through a link that leads out", "files:\n  - { path: /etc/motd, copy: link }"),
    ("template that is missing", "files:\n  - { path: /etc/motd, template: none.conf }"),
    ("undefined in a template", "files:\n  - { path: /etc/motd, template: bad.conf }"),
    ("broken template", "files:\n  - { path: /etc/motd, template: broken.conf }"),
    ("undefined in the recipe", "packages: [\"{{ pakage }}\"]"),
    ("broken tag in the recipe", "packages: [\"{{ x \"]"),
    ("unknown filter", "packages: [\"{{ 'x' | upcase }}\"]"),
    ("unknown field of a step", "run:\n  - { command: 'true', netwrok: true }"),
    ("empty command", "run:\n  - { command: '  ' }"),
    ("bad duration", "run:\n  - { command: 'true', timeout: 10 secnds }"),
    ("no time at all", "run:\n  - { command: 'true', timeout: 0s }"),
    ("not a boolean", "run:\n  - { command: 'true', network: yes }"),
    ("bad environment name", "run:\n  - { command: 'true', env: { 1A: x } }"),
    ("not a unit", "services: { enable: [ssh] }"),
    ("unit in two lists", "services:\n  enable: [ssh.service]\n  mask: [ssh.service]"),
    ("too little memory", "instance: { memory: 1M }"),
    ("no cpus", "instance: { cpus: 0 }"),
    ("too small a disk", "instance: { disk: 10M }"),
    ("port listed twice", "instance: { ports: [80, 80] }"),
    ("unknown probe", "instance: { ready: { probe: { htpp: { port: 80 } } } }"),
    ("undefined for an instance", "instance:\n  files:\n    - { path: /etc/env, template: typo.env }"),
    ("instance file without content", "instance:\n  files:\n    - { path: /etc/env }"),
    ("unknown type of a variable", "vars:\n  port: { type: integer }"),
    ("default of another type", "vars:\n  port:\n    type: int\n    default: many"),
    ("variable without a value", "vars:\n  port: { type: int }"),
    ("bad variable name", "vars:\n  Port: { type: int, default: 1 }"),
    ("templated variables", "vars:\n  port: { type: int, default: \"{{ 1 }}\" }"),
];

#[test]
fn bad_recipes_are_answered_with_the_place_and_the_mend() {
    let folder = Folder::new();
    let mut said = String::new();
    for (kind, text) in BAD {
        let answer = folder.complain(&format!("name: x\nfrom: base\n{text}\n"), &[]);
        let place = answer.lines().next().unwrap_or_default().split(':').nth(1).unwrap_or_default();
        assert!(place.parse::<usize>().is_ok(), "{kind}: no line in {answer}");
        said.push_str(&format!("# {kind}\n{answer}\n\n"));
    }
    insta::assert_snapshot!(said);
}

#[test]
fn bad_heads_and_bad_settings_are_answered_too() {
    let folder = Folder::new();
    folder.write("images/y.yaml", "name: y\nfrom: x\n");
    let vars = "vars:\n  port: { type: int, default: 80 }\n  size: { type: size, default: 1G }\n";
    let settable = format!("name: x\nfrom: base\n{vars}");
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);
    let cases: &[Case] = &[
        ("empty file", "# nothing\n", &[]),
        ("no name", "from: base\n", &[]),
        ("name of another file", "name: z\nfrom: base\n", &[]),
        ("not a name", "name: X y\nfrom: base\n", &[]),
        ("unknown recipe", "name: x\nfrom: bsae\n", &[]),
        ("unknown distribution", "name: x\nfrom: gentoo:now\n", &[]),
        ("not a release", "name: x\nfrom: 'debian:../x'\n", &[]),
        ("archive in a file", "name: x\nfrom: debian:bookworm\ndebian: { mirror: 'file:///srv' }\n", &[]),
        ("bad source", "name: x\nfrom: debian:bookworm\ndebian: { sources: ['deb /srv ./'] }\n", &[]),
        ("keys from above", "name: x\nfrom: debian:bookworm\ndebian: { keyring: ../outside/secret }\n", &[]),
        ("itself", "name: x\nfrom: x\n", &[]),
        ("a circle", "name: x\nfrom: y\n", &[]),
        ("unknown variable", &settable, &[("prot", "1")]),
        ("value of another type", &settable, &[("port", "many")]),
        ("not a size", &settable, &[("size", "12")]),
        (
            "rendered lines",
            "name: x\nfrom: base\n{% for n in [1, 2] %}\n# {{ n }}\n{% endfor %}\nrun: 1\n",
            &[],
        ),
    ];
    let mut said = String::new();
    for (kind, text, sets) in cases {
        said.push_str(&format!("# {kind}\n{}\n\n", folder.complain(text, sets)));
    }
    insta::assert_snapshot!(said);
}

#[test]
fn a_recipe_stands_on_the_layers_of_its_parent() {
    let folder = Folder::new();
    folder.write(
        "images/base.yaml",
        "name: base\nfrom: debian:bookworm\npackages: [curl]\ntest: ['true']\ninstance: { memory: 300M, cpus: 2 }\n",
    );
    folder.write(
        "images/x.yaml",
        "name: x\nfrom: base\nrun:\n  - command: echo\nservices: { mask: [a.timer] }\ninstance: { cpus: 1 }\n",
    );
    let (base, child) = (folder.plan("base"), folder.plan("x"));
    let kinds = |plan: &Plan| plan.layers.iter().map(|layer| layer.work.kind()).collect::<Vec<_>>();
    assert_eq!(kinds(&base), ["base", "packages", "seal"]);
    assert_eq!(kinds(&child), ["base", "packages", "run", "services", "seal"]);
    assert_eq!(base.layers[1].id, child.layers[1].id);
    let seal =
        Work::Seal { tests: vec!["true".to_owned()], kernel_cmdline: Vec::new(), root: Root::Writable };
    assert_eq!(child.layers[4].work, seal);
    assert_eq!((child.instance.memory.0, child.instance.cpus), (300 << 20, 1));
}

/// A qcow2 file that continues the one whose name begins at `backing`, if that is not zero.
fn qcow2(backing: u64) -> Vec<u8> {
    let mut head = vec![0; 512];
    head[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    head[8..16].copy_from_slice(&backing.to_be_bytes());
    head[24..32].copy_from_slice(&(2_u64 << 30).to_be_bytes());
    head
}

#[test]
fn what_stands_on_a_disk_is_done_in_a_machine_until_its_root_is_taken_out() {
    let folder = Folder::new();
    let put =
        |name: &str, bytes: &[u8]| fs::write(folder.dir.path().join("images").join(name), bytes).unwrap();
    put("cloud.qcow2", &qcow2(0));
    folder.write("images/cloud.yaml", "name: cloud\nfrom: file:cloud.qcow2\ntest: ['true']\n");
    folder
        .write("images/x.yaml", "name: x\nfrom: cloud\npackages: [curl]\nroot: readonly\ntest: ['false']\n");
    let (cloud, x) = (folder.plan("cloud"), folder.plan("x"));
    let kinds = |plan: &Plan| plan.layers.iter().map(|layer| layer.work.kind()).collect::<Vec<_>>();
    assert_eq!(kinds(&cloud), ["base", "root", "seal"]);
    assert_eq!(kinds(&x), ["base", "packages", "root", "seal"]);
    assert_eq!(cloud.layers[0].id, x.layers[0].id, "the disk is taken once");
    let (disk, in_machine) = x.disk().unwrap();
    assert_eq!((disk.format, disk.bytes, in_machine), (disk::DiskFormat::Qcow2, 2 << 30, 2));
    let tests = |tests: &[&str]| tests.iter().map(|test| (*test).to_owned()).collect::<Vec<_>>();
    assert_eq!(x.layers[2].work, Work::Root { tests: tests(&["true", "false"]) });
    assert!(matches!(&x.layers[3].work, Work::Seal { tests, root: Root::Readonly, .. } if tests.is_empty()));

    let mut other = qcow2(0);
    other[500] = 1;
    put("cloud.qcow2", &other);
    assert_ne!(folder.plan("cloud").layers[0].id, cloud.layers[0].id, "content decides");
    put("cloud.qcow2", &qcow2(104));
    put("text", b"no disk");
    for (from, why) in [
        ("file:cloud.qcow2", "continues another file"),
        ("file:text", "neither a qcow2 file nor a raw disk"),
        ("file:none", "there is no file `none`"),
        ("file:../outside/secret", "not a plain path"),
        ("file:/etc/shadow", "not a plain path"),
        ("file:link", "leads out"),
    ] {
        let said = folder.complain(&format!("name: x\nfrom: {from}\n"), &[]);
        assert!(said.contains(why) && said.contains("images/x.yaml:2:7"), "{said}");
    }
    put("cloud.qcow2", &qcow2(0));
    let said = folder.complain("name: x\nfrom: file:cloud.qcow2\ndebian: { components: [main] }\n", &[]);
    assert!(said.contains("a disk knows its own archive"), "{said}");
}

#[test]
fn where_debian_comes_from_is_part_of_the_base() {
    let folder = Folder::new();
    folder.write("images/archive.gpg", "one");
    let base = |options: &str| {
        folder.write("images/x.yaml", &format!("name: x\nfrom: debian:trixie\ndebian: {{ {options} }}\n"));
        folder.plan("x").layers.remove(0)
    };
    let all = "mirror: 'http://localhost/debian', components: [main, contrib], \
               sources: ['deb [trusted=yes] https://localhost/more ./'], keyring: archive.gpg";
    let layer = base(all);
    let Work::Base(debian) = &layer.work else { panic!("{:?}", layer.work) };
    assert_eq!(debian.mirror.as_deref(), Some("http://localhost/debian"));
    assert_eq!(debian.components, ["main", "contrib"]);
    assert_eq!(debian.sources, ["deb [trusted=yes] https://localhost/more ./"]);
    assert!(debian.keyring.as_ref().is_some_and(|keyring| keyring.path.ends_with("archive.gpg")));
    let request = layer.work.request().unwrap();
    assert_eq!(request[..2], ["debian:trixie", "http://localhost/debian"], "{request:?}");

    let mut ids = vec![layer.id.to_string()];
    for option in ["", "mirror: 'http://localhost/debian'", "components: [main]", "keyring: archive.gpg"] {
        ids.push(base(option).id.to_string());
    }
    folder.write("images/archive.gpg", "another");
    ids.push(base(all).id.to_string());
    ids.push(base("keyring: archive.gpg").id.to_string());
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "each option and the content of the keyring decide");
}

#[test]
fn variables_reach_the_recipe_its_templates_and_its_parents() {
    let folder = Folder::new();
    let base = "name: base\nfrom: debian:{{ suite }}\nvars:\n  # which\n  suite: { type: string, default: bookworm }\n";
    folder.write("images/base.yaml", base);
    folder.write(
        "images/x.yaml",
        "name: x\nfrom: base\nvars:\n  port: { type: int, default: 80 }\nfiles:\n  - { path: /c, template: good.conf }\nrun:\n  - command: echo {{ \"it's\" | sh }}\n",
    );
    let plan = folder.load("x", &[("suite", "trixie"), ("port", "81")]).unwrap().plan().clone();
    let trixie = Debian { suite: "trixie".to_owned(), ..Debian::default() };
    assert_eq!(plan.layers[0].work, Work::Base(trixie));
    let Work::Files(files) = &plan.layers[1].work else { panic!("{:?}", plan.layers[1]) };
    assert_eq!(files[0].source, plan::Source::Text("port 81\n".to_owned()));
    assert_eq!(plan.layers[2].work.about(), "echo \"it's\"");
}

#[test]
fn an_instance_file_comes_from_a_template_and_stays_one() {
    let folder = Folder::new();
    let text = "name: x\nfrom: base\ninstance:\n  files:\n    - { path: /etc/env, template: node.env, mode: '0600' }\n";
    folder.write("images/x.yaml", text);
    let file = folder.plan("x").instance.files.remove(0);
    assert_eq!((file.content.as_str(), file.mode.as_str()), ("NAME={{ node.name }}\n", "0600"));
}

#[test]
fn the_recipes_of_this_project_are_sound() {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
    let mut count = 0;
    for entry in fs::read_dir(images).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            Recipe::load(&path, &[]).unwrap_or_else(|bad| panic!("{bad}"));
            count += 1;
        }
    }
    assert!(count >= 4);
}

/// A recipe as a few free choices.
#[derive(Debug, Clone, PartialEq)]
struct Choices {
    packages: Vec<&'static str>,
    copied: String,
    port: u16,
    steps: Vec<(String, bool)>,
    memory: u16,
}

fn choices() -> impl Strategy<Value = Choices> {
    let packages = proptest::sample::subsequence(vec!["curl", "etcd-server", "nginx-light"], 0..=3);
    let steps = proptest::collection::vec(("echo [a-c]{1,2}", any::<bool>()), 0..3);
    (packages, "[xy]{1,3}", 1_u16..4, steps, 64_u16..67)
        .prop_map(|(packages, copied, port, steps, memory)| Choices { packages, copied, port, steps, memory })
}

impl Choices {
    fn plan(&self) -> Plan {
        let folder = Folder::new();
        folder.write("images/files/motd", &self.copied);
        let mut text =
            format!("name: x\nfrom: base\nvars:\n  port: {{ type: int, default: {} }}\n", self.port);
        text.push_str(&format!("packages: {:?}\n", self.packages));
        text.push_str(
            "files:\n  - { path: /a, copy: files/motd }\n  - { path: /b, template: good.conf }\nrun:\n",
        );
        for (command, network) in &self.steps {
            text.push_str(&format!("  - {{ command: {command}, network: {network} }}\n"));
        }
        if self.steps.is_empty() {
            text.push_str("  []\n");
        }
        text.push_str(&format!("instance: {{ memory: {}M }}\n", self.memory));
        folder.write("images/x.yaml", &text);
        folder.plan("x")
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Two recipes give the same ids exactly when they say the same, wherever their files lie, and layers
    /// below the first difference are shared.
    #[test]
    fn ids_change_exactly_when_content_does(one in choices(), other in choices()) {
        let (a, b) = (one.plan(), other.plan());
        prop_assert_eq!(&a.image, &one.plan().image);
        prop_assert_eq!(one == other, a.image == b.image);
        let same = a.layers.iter().zip(&b.layers).take_while(|(a, b)| a.id == b.id).count();
        for (a, b) in a.layers.iter().zip(&b.layers).take(same) {
            // What is written of a layer leaves out where on the host its files lie.
            prop_assert_eq!(serde_json::to_string(&a.work).unwrap(), serde_json::to_string(&b.work).unwrap());
        }
        for (a, b) in a.layers.iter().zip(&b.layers).skip(same) {
            prop_assert_ne!(&a.id, &b.id);
        }
    }

    #[test]
    fn no_text_makes_loading_panic(text in "(name: x\n|from: base\n|vars:\n|  a: |[{}% a-z:\n]){0,30}") {
        let folder = Folder::new();
        folder.write("images/x.yaml", &text);
        let _ = folder.load("x", &[]).map_err(|bad| bad.to_string());
    }
}
