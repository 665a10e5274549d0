//! Files that are not what they should be, whatever kind was asked for.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use crate::refusal::Desk;

const SCENARIO: &str = "name: s\nfleet: { web: { image: web } }\nsteady: [{ name: p, probe: { tcp: { port: 80 } } }]\nduration: 5s\nexpect: [{ availability: { probe: p, at_least: 99% } }]\n";
const RECIPE: &str = "name: r\nfrom: debian:bookworm\n";
const FLEET: &str = "fleet: { web: { image: web } }\n";

/// Everything that reads a file which a person wrote.
fn readers(file: &str) -> [Vec<&str>; 4] {
    [vec!["check", file], vec!["run", file], vec!["bake", file], vec!["up", file]]
}

#[test]
fn what_is_not_text() {
    let desk =
        Desk::with(&[("empty.yaml", ""), ("comments.yaml", "# one\n\n  # two\n"), ("dashes.yaml", "---\n")]);
    desk.put("latin1.yaml", b"name: web\nfrom: debian:bookworm\ndescription: caf\xe9\n");
    desk.put("nul.yaml", b"name: web\nfrom: debian:book\0worm\n");
    desk.put("huge.yaml", &b"# not much\n".repeat(100_000));
    std::fs::create_dir(desk.path().join("folder.yaml")).unwrap();
    Command::new("mkfifo").arg(desk.path().join("pipe.yaml")).status().unwrap();
    symlink("/dev/zero", desk.path().join("zero.yaml")).unwrap();
    symlink("loop.yaml", desk.path().join("loop.yaml")).unwrap();
    let mut all = Vec::new();
    for file in [
        "missing.yaml",
        "missing/missing.yaml",
        "empty.yaml/x.yaml",
        "empty.yaml",
        "comments.yaml",
        "dashes.yaml",
        "latin1.yaml",
        "nul.yaml",
        "huge.yaml",
        "folder.yaml",
        "pipe.yaml",
        "zero.yaml",
        "loop.yaml",
    ] {
        all.push(desk.refused(&["check", file]));
        for command in readers(file) {
            desk.refused(&command);
        }
    }
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn what_may_not_be_read() {
    let desk = Desk::with(&[("secret.yaml", RECIPE)]);
    let path = desk.path().join("secret.yaml");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o0)).unwrap();
    // Whoever runs as root may read everything.
    if std::fs::read(&path).is_err() {
        assert!(desk.refused(&["check", "secret.yaml"]).contains("you are not allowed to read it"));
    }
}

#[test]
fn what_is_not_yaml() {
    let bomb: String = (1..12).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, level| {
        let parts = vec![format!("*a{}", level - 1); 9].join(", ");
        format!("{text}a{level}: &a{level} [{parts}]\n")
    });
    let deep = format!("name: {}\n", "[".repeat(10_000));
    let closed = format!("name: {}{}\n", "[".repeat(100), "]".repeat(100));
    let long = format!("name: {}\nfrom: [\n", "x".repeat(5_000));
    let texts = [
        "name: web\nname: web\nfrom: debian:bookworm\n",
        "name: web\nfrom: debian:bookworm\n---\nname: web\n",
        "name: web\n\tfrom: debian:bookworm\n",
        "name: web\nvars:\n\tport: { type: int }\n",
        "name: web\n  from: debian:bookworm\n",
        "name: [web\nfrom: debian:bookworm\n",
        "name: {web\nfrom: debian:bookworm\n",
        "name: web]\nfrom: ]\n",
        "name: \"web\nfrom: debian:bookworm\n",
        "name: 'web\nfrom: debian:bookworm\n",
        "name: web: site\nfrom: debian:bookworm\n",
        "name web\nfrom debian:bookworm\n",
        "name: web\njust words\nfrom: debian:bookworm\n",
        "name: @web\nfrom: debian:bookworm\n",
        "name: *web\nfrom: debian:bookworm\n",
        "- name: web\n",
        "just words\n",
        "42\n",
        "null\n",
        "name: web\nfrom: debian:bookworm\npackages:\n- curl\n - jq\n",
        "name: web\nfrom: debian:bookworm\nrun:\n  - command: |\n   x\n",
        "%YAML 9\n---\nname: web\n",
        "<<: 5\nname: web\n",
        "? [a]\n: b\n",
        &bomb,
        &deep,
        &closed,
        &long,
    ];
    let said: Vec<String> = texts
        .iter()
        .map(|text| {
            Desk::with(&[("web.yaml", text)]).refused(&["run", "web.yaml"]);
            Desk::with(&[("web.yaml", text)]).refused(&["check", "web.yaml"])
        })
        .collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn files_of_another_kind() {
    let desk =
        Desk::with(&[("s.yaml", SCENARIO), ("r.yaml", RECIPE), ("f.yaml", FLEET), ("x.yaml", "a: 1\n")]);
    desk.run(&["check", "s.yaml", "r.yaml"]).exits(0);
    let commands: &[&[&str]] = &[
        &["run", "r.yaml"],
        &["run", "f.yaml"],
        &["run", "x.yaml"],
        &["bake", "s.yaml"],
        &["bake", "f.yaml"],
        &["bake", "x.yaml"],
        &["up", "s.yaml"],
        &["up", "r.yaml"],
        &["check", "f.yaml"],
        &["check", "x.yaml"],
        &["gate", "s.yaml", "--scenario", "s.yaml"],
        &["gate", "r.yaml", "--scenario", "r.yaml"],
        &["check", "x.yaml", "missing.yaml"],
    ];
    let said: Vec<String> = commands.iter().map(|command| desk.refused(command)).collect();
    insta::assert_snapshot!(said.join("\n"));
}
