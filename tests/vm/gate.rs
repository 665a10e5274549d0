//! The main job: an image is baked, put through its scenarios, and the channel moves only if it passes.

use std::process::Command;

use crate::common;
use crate::machines::{assert_nothing_runs, home, run};
use crate::readme;

/// The first suite's attribute `name`, without an XML parser: the file was validated before.
fn attribute(xml: &str, name: &str) -> u32 {
    let (_, rest) = xml.split_once(&format!(" {name}=\"")).expect("the attribute");
    rest.split('"').next().and_then(|value| value.parse().ok()).expect("a number")
}

#[test]
fn etcd_passes_its_gate_and_the_channel_moves() {
    let junit = home().join("gate.xml");
    let junit = junit.to_str().expect("a plain path");
    let gate =
        readme::commands().into_iter().find(|line| line.starts_with("ovenproof gate")).expect("a gate");
    let said = readme::run_line(&gate.replace("out/gate.xml", junit)).exits(0);
    assert!(said.stdout.contains("etcd:stable now points at"), "{}", said.stdout);

    let schema = common::root().join("tests/fixtures/junit.xsd");
    let lint = Command::new("xmllint").arg("--noout").arg("--schema").arg(schema).arg(junit).output();
    let lint = lint.expect("xmllint is installed");
    assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stderr));
    let xml = std::fs::read_to_string(junit).expect("the JUnit file");
    assert_eq!(xml.matches("<testsuite ").count(), 2);
    assert_eq!((attribute(&xml, "failures"), attribute(&xml, "errors")), (0, 0));
    for fault in ["instance.kill", "network.delay", "network.partition"] {
        assert!(xml.contains(fault), "{fault} has no case");
    }

    let images = run(&["--json", "images", "show", "etcd:stable"]).exits(0);
    assert!(images.stdout.contains("\"name\": \"etcd\""), "{}", images.stdout);
    assert_nothing_runs();
}
