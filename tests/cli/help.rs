//! What the tool says of itself, and what it says where there is nothing yet.

use std::path::Path;

use crate::common::{everything_below, root, run};
use crate::refusal::Desk;

#[test]
fn every_command_explains_itself() {
    let commands = [
        "",
        "bake",
        "images",
        "images list",
        "images show",
        "images publish",
        "images gc",
        "images remove",
        "check",
        "run",
        "gate",
        "report",
        "up",
        "down",
        "list",
        "volumes",
        "volumes list",
        "volumes snapshot",
        "volumes rm",
        "ssh",
        "exec",
        "logs",
        "cp",
        "heal",
        "gc",
        "faults",
        "doctor",
        "schema",
        "completions",
        "man",
    ];
    let desk = Desk::with(&[]);
    let mut all = Vec::new();
    for command in commands {
        let mut words: Vec<&str> = command.split_whitespace().collect();
        words.push("--help");
        all.push(format!("$ ovenproof {}\n{}", words.join(" "), desk.run(&words).exits(0).stdout));
    }
    assert_eq!(everything_below(desk.path()), [] as [&Path; 0]);
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn nothing_is_there_yet() {
    let desk = Desk::with(&[]);
    let mut all = Vec::new();
    for command in ["images", "list", "volumes", "heal", "gc", "down --all"] {
        for json in [None, Some("--json")] {
            let words: Vec<&str> = command.split_whitespace().chain(json).collect();
            let said = desk.run(&words).exits(0);
            assert_eq!(said.stderr, "");
            all.push(format!("$ ovenproof {}\n{}", words.join(" "), said.stdout));
        }
    }
    // Looking does not make a home.
    assert_eq!(everything_below(desk.path()), [] as [&Path; 0]);
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn the_doctor_answers_programs_too() {
    let home = tempfile::tempdir().unwrap();
    let said = run(home.path(), ["doctor", "--json"]);
    assert!(matches!(said.code, Some(0 | 4)), "{said:?}");
    let found: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    insta::assert_snapshot!(shape(&found));
    assert!(root().join("images").is_dir());
}

/// The keys and the types of a document; of a list, its first entry.
fn shape(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(items) => format!("[{}]", items.first().map(shape).unwrap_or_default()),
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name}: {}", shape(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
    }
}
