//! Mistakes in recipes.

use std::os::unix::fs::symlink;

use crate::refusal::{Desk, variations};

const GOOD: &str = "\
name: web
from: debian:bookworm
vars:
  port: { type: int, default: 80 }
packages: [nginx-light]
files:
  - { path: /etc/site.conf, template: site.conf }
  - { path: /etc/motd, content: 'port {{ port }}' }
run:
  - { command: 'true', timeout: 20s }
services:
  enable: [nginx.service]
instance:
  memory: 256M
  ports: [80]
";

fn desk(recipe: &str) -> Desk {
    let desk = Desk::with(&[
        ("images/web.yaml", recipe),
        ("templates/site.conf", "listen {{ port }};\n"),
        ("templates/broken.conf", "first\nlisten {{ port ;\n"),
        ("templates/unknown.conf", "listen {{ prot }};\n"),
        ("secret", "s"),
    ]);
    symlink(desk.path().join("secret"), desk.path().join("templates/out.conf")).unwrap();
    symlink(desk.path().join("secret"), desk.path().join("images/out")).unwrap();
    desk
}

fn said(recipe: &str) -> String {
    desk(recipe).refused(&["check", "images/web.yaml"])
}

#[test]
fn the_good_one_is_good() {
    desk(GOOD).run(&["check", "images/web.yaml"]).exits(0);
}

#[test]
fn words_and_quantities() {
    let all = variations(
        GOOD,
        &[
            ("packages:", "pakcages:"),
            ("packages: [nginx-light]", "packages: nginx-light"),
            ("nginx-light", "Nginx!"),
            ("nginx-light", "nginx, nginx"),
            ("timeout: 20s", "timeout: 20"),
            ("timeout: 20s", "timeout: 0s"),
            ("memory: 256M", "memory: 256"),
            ("memory: 256M", "memory: 256MB"),
            ("memory: 256M", "memory: 1M"),
            ("memory: 256M", "memory: 256M\n  cpus: 65"),
            ("memory: 256M", "memory: 256M\n  disk: 10M"),
            ("ports: [80]", "ports: 80"),
            ("ports: [80]", "ports: [0]"),
            ("nginx.service", "nginx"),
            ("enable: [nginx.service]", "enable: [nginx.service]\n  mask: [nginx.service]"),
            ("content: 'port {{ port }}'", "content: x, mode: rw"),
            ("content: 'port {{ port }}'", "content: x, owner: root"),
            ("content: 'port {{ port }}'", "content: x, copy: y"),
            ("'true'", "''"),
            ("{ command: 'true', timeout: 20s }", "apt-get update"),
            ("{ type: int, default: 80 }", "80"),
            ("{ type: int, default: 80 }", "{ type: number, default: 80 }"),
            ("{ type: int, default: 80 }", "{ type: int, default: eighty }"),
            ("{ type: int, default: 80 }", "{ type: int }"),
            ("  port: {", "  Port: {"),
            ("name: web", "name: wbe"),
            ("name: web", "name: Web Server"),
            ("name: web", "{% if true %}\nname: web\n{% endif %}\npakcages: []"),
        ],
        said,
    );
    insta::assert_snapshot!(all);
}

#[test]
fn templates_and_paths() {
    let all = variations(
        GOOD,
        &[
            ("template: site.conf", "template: sight.conf"),
            ("template: site.conf", "template: broken.conf"),
            ("template: site.conf", "template: unknown.conf"),
            ("template: site.conf", "template: ../secret"),
            ("template: site.conf", "template: /etc/passwd"),
            ("template: site.conf", "template: out.conf"),
            ("template: site.conf", "template: ''"),
            ("template: site.conf", "template: ."),
            ("template: site.conf", "copy: out"),
            ("template: site.conf", "copy: ../secret"),
            ("template: site.conf", "copy: missing"),
            ("path: /etc/motd", "path: etc/motd"),
            ("path: /etc/motd", "path: /etc/../motd"),
            ("path: /etc/motd", "path: /tmp/motd"),
            ("path: /etc/motd", "path: /etc/site.conf"),
            ("{{ port }}", "{{ prot }}"),
            ("{{ port }}", "{{ port"),
            ("{{ port }}", "{{ port | upcase }}"),
            ("{{ port }}", "{% for x in port %}"),
            ("default: 80", "default: {{ other }}"),
            ("packages: [nginx-light]", "packages: [{{ port / 0 }}]"),
        ],
        said,
    );
    insta::assert_snapshot!(all);
}

#[test]
fn bases() {
    let mut all = variations(
        GOOD,
        &[
            ("from: debian:bookworm", "from: bsae"),
            ("from: debian:bookworm", "from: web"),
            ("from: debian:bookworm", "from: debian"),
            ("from: debian:bookworm", "from: debian:"),
            ("from: debian:bookworm", "from: debian:Book Worm"),
            ("from: debian:bookworm", "from: ubuntu:noble"),
            ("from: debian:bookworm", "from: ../web"),
            ("from: debian:bookworm", "from: ''"),
            ("from: debian:bookworm\n", ""),
        ],
        |text| {
            let desk = desk(text);
            desk.put("images/base.yaml", b"name: base\nfrom: debian:bookworm\n");
            desk.refused(&["check", "images/web.yaml"])
        },
    );
    let circle = Desk::with(&[("a.yaml", "name: a\nfrom: b\n"), ("b.yaml", "name: b\nfrom: a\n")]);
    all.push('\n');
    all.push_str(&circle.refused(&["check", "a.yaml"]));
    let below =
        Desk::with(&[("a.yaml", "name: a\nfrom: b\n"), ("b.yaml", "name: b\nform: debian:bookworm\n")]);
    all.push('\n');
    all.push_str(&below.refused(&["bake", "a.yaml"]));
    insta::assert_snapshot!(all);
}

#[test]
fn values_from_the_command_line() {
    let desk = desk(GOOD);
    let sets = ["port", "=80", "prot=80", "port=eighty", "port=", "colour=red"];
    let said: Vec<String> =
        sets.iter().map(|set| desk.refused(&["bake", "images/web.yaml", "--set", set])).collect();
    insta::assert_snapshot!(said.join("\n"));
}
