//! Secrets: seen by the step that names them, found nowhere afterwards.

use std::fs;

use crate::common::Said;
use crate::oven::{Kitchen, holding, home};

/// Not in any file of this machine but where a test puts it.
fn secret() -> String {
    format!("correct-horse-{:016x}", rand::random::<u64>())
}

#[test]
fn a_secret_is_seen_by_its_step_and_found_nowhere() {
    let (kitchen, secret, key) = (Kitchen::new(), secret(), secret());
    // Of another id each time: were it there already, no secret would be asked for.
    let steps = "run:\n\
         \x20 - { command: ': @ONCE@; cat /run/secrets/TOKEN; tail -n 1 /run/secrets/KEY; stat -c %a /run/secrets/KEY > /srv/mode; sha256sum < /run/secrets/TOKEN > /srv/sum', secrets: [TOKEN, KEY] }\n\
         \x20 - { command: '! ls /run/secrets' }\n\
         test: ['test $(cat /srv/mode) = 400']\n"
        .replace("@ONCE@", &format!("{:x}", rand::random::<u64>()));
    kitchen.recipe("secretive", &steps);
    let said = kitchen.run(&["bake", "secretive"]).exits(2);
    assert!(said.stderr.contains("the secret `TOKEN` is not given"), "{}", said.stderr);
    kitchen.put("key", &format!("-----BEGIN-----\n{key}\n"));
    let mut bake = kitchen.command(&["bake", "secretive", "--secret", "TOKEN", "--secret", "KEY=key"]);
    let said = Said::from(bake.env("TOKEN", &secret).output().expect("the tool starts")).exits(0);
    for text in [&secret, &key] {
        assert!(!said.stdout.contains(text) && !said.stderr.contains(text));
    }
    assert_eq!(holding(&home(), &[&secret, &key]), [""; 0].map(std::path::PathBuf::from));
    let logs = fs::read_dir(home().join("cache/logs")).expect("logs").flatten();
    let stars = logs
        .filter(|log| log.file_name().to_string_lossy().starts_with("secretive-run"))
        .any(|log| fs::read_to_string(log.path()).expect("a log").matches("***").count() == 2);
    assert!(stars, "the log shows where secrets were printed");
    // What is there needs none.
    kitchen.run(&["bake", "secretive"]).exits(0);
    kitchen.run(&["images", "remove", "secretive"]).exits(0);
}

#[test]
fn a_step_that_leaves_or_prints_a_secret_fails_without_telling_it() {
    let kitchen = Kitchen::new();
    let steps = [
        ("in a file", "cp /run/secrets/TOKEN /etc/token", "/etc/token"),
        ("in a binary file", "head -c 5000 /dev/zero | cat - /run/secrets/TOKEN > /srv/blob", "/srv/blob"),
        ("in a name", "touch /srv/$(cat /run/secrets/TOKEN)", "/srv/***"),
        ("in a link", "ln -s $(cat /run/secrets/TOKEN) /srv/link", "/srv/link"),
        ("printed, and then it fails", "cat /run/secrets/TOKEN; exit 1", "***"),
    ];
    let mut secrets = Vec::new();
    for (how, command, told) in steps {
        let secret = secret();
        kitchen.recipe("leaky", &format!("run:\n  - {{ command: '{command}', secrets: [TOKEN] }}\n"));
        let mut bake = kitchen.command(&["bake", "leaky", "--secret", "TOKEN"]);
        let said = Said::from(bake.env("TOKEN", &secret).output().expect("the tool starts")).exits(4);
        assert!(said.stderr.contains(told), "{how}: {}", said.stderr);
        assert!(!said.stderr.contains(&secret), "{how}");
        secrets.push(secret);
    }
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    assert_eq!(holding(&home(), &secrets), [""; 0].map(std::path::PathBuf::from));
}
