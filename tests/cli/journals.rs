//! Journals that are none.

use std::process::Command;

use crate::refusal::Desk;

#[test]
fn mistakes() {
    let note = r#"{"at_us":1,"event":{"note":{"text":"a"}}}"#;
    let desk = Desk::with(&[
        ("empty.jsonl", ""),
        ("blank.jsonl", "\n\n"),
        ("words.jsonl", "just words\n"),
        ("yaml.jsonl", "name: web\n"),
        ("other.jsonl", "{\"a\":1}\n"),
        ("type.jsonl", "{\"at_us\":\"x\",\"event\":{\"note\":{\"text\":\"a\"}}}\n"),
        ("headless.jsonl", &format!("{note}\n")),
        ("torn.jsonl", &format!("{note}\n{{\"at_us\":2,\"eve")),
        ("newer.jsonl", "{\"at_us\":1,\"event\":{\"teleported\":{}}}\n"),
        ("second.jsonl", &format!("{note}\n[]\n{note}\n")),
    ]);
    desk.put("binary.jsonl", b"\x7fELF\x00\x01\xff\n");
    std::fs::create_dir(desk.path().join("folder")).unwrap();
    Command::new("mkfifo").arg(desk.path().join("pipe.jsonl")).status().unwrap();
    let mut all = Vec::new();
    for journal in [
        "empty.jsonl",
        "blank.jsonl",
        "words.jsonl",
        "yaml.jsonl",
        "other.jsonl",
        "type.jsonl",
        "headless.jsonl",
        "torn.jsonl",
        "newer.jsonl",
        "second.jsonl",
        "binary.jsonl",
        "folder",
        "pipe.jsonl",
        "/dev/zero",
        "missing",
        "",
    ] {
        all.push(desk.refused(&["report", journal]));
        all.push(desk.refused(&["run", "--replay", journal]));
    }
    insta::assert_snapshot!(all.join("\n"));
}
