//! Judging histories that were recorded elsewhere.

use crate::refusal::Desk;

const GOOD: &str = "{:process 0, :type :invoke, :f :write, :value 1}\n{:process 0, :type :ok, :f :write, :value 1}\n\
                    {:process 1, :type :invoke, :f :read, :value nil}\n{:process 1, :type :ok, :f :read, :value 1}\n";

#[test]
fn verdicts_words_and_exit_codes() {
    let desk = Desk::with(&[
        ("good.edn", GOOD),
        ("stale.edn", &GOOD.replace(":f :read, :value 1", ":f :read, :value nil")),
        ("open.edn", "{:process 0, :type :invoke, :f :write, :value 1}\n"),
        ("broken.edn", "{:process 0\n"),
        ("empty.edn", ""),
    ]);
    let mut all = Vec::new();
    for (arguments, code) in [
        (&["check-history", "good.edn", "--model", "register"][..], 0),
        (&["check-history", "stale.edn", "--model", "cas-register", "--svg", "stale.svg"], 1),
        (&["check-history", "open.edn", "--model", "register"], 4),
        (&["check-history", "empty.edn", "--model", "set"], 4),
        (&["check-history", "broken.edn", "--model", "register"], 2),
        (&["check-history", "good.edn", "--model", "bank"], 2),
        (&["check-history", "missing.edn", "--model", "register"], 2),
        (&["check-history", "good.edn", "--model", "registre"], 2),
    ] {
        let said = desk.run(arguments).exits(code);
        all.push(format!("$ ovenproof {}\n{}{}", arguments.join(" "), said.stdout, said.stderr));
    }
    insta::assert_snapshot!(all.join("\n"));
    let picture = std::fs::read_to_string(desk.path().join("stale.svg")).unwrap();
    assert!(picture.starts_with("<svg ") && picture.contains("client 1"), "{picture}");
}

/// Written by hand in the format of histories that others have published.
const INDEPENDENT: &str = include_str!("../fixtures/histories/independent-register.edn");

#[test]
fn a_history_of_several_keys_as_others_publish_them() {
    let stale = INDEPENDENT.replace(":value [1 2], :process 7", ":value [1 nil], :process 7");
    // After 4 was read, the compare-and-set without an answer has happened, and 3 is gone.
    let turned = INDEPENDENT
        .replace(":value [0 3], :process 0, :time 13900000", ":value [0 4], :process 0, :time 13900000");
    let turned = turned.replace(":value [0 4], :process 2", ":value [0 3], :process 2");
    let desk = Desk::with(&[("good.edn", INDEPENDENT), ("stale.edn", &stale), ("turned.edn", &turned)]);
    let judge = |file: &str, code: i32| {
        let said = desk.run(&["check-history", file, "--model", "register", "--keyed"]).exits(code);
        said.stdout
    };
    let good = judge("good.edn", 0);
    assert!(good.contains("2 registers"), "{good}");
    let stale = judge("stale.edn", 1);
    assert!(stale.contains("1 of 2 registers not linearizable") && stale.contains("Register 1"), "{stale}");
    let turned = judge("turned.edn", 1);
    assert!(
        turned.contains("1 of 2 registers not linearizable") && turned.contains("Register 0"),
        "{turned}"
    );
    // Without its keys it is no history of one register.
    desk.run(&["check-history", "good.edn", "--model", "register"]).exits(1);
}

/// `PROCESS TYPE F VALUE`, separated by commas, as EDN.
fn edn(history: &str) -> String {
    let operation = |line: &str| {
        let words: Vec<&str> = line.trim().splitn(4, ' ').collect();
        let [process, kind, f, value] = words.try_into().expect("four words");
        format!("{{:process {process}, :type :{kind}, :f :{f}, :value {value}}}\n")
    };
    history.split(',').map(operation).collect()
}

/// Small histories whose verdicts others have published, in our own notation: where from, the model, whether it
/// is valid, and the history.
const PUBLISHED: &[(&str, &str, bool, &str)] = &[
    (
        "Knossos, README: a write without an answer is read",
        "cas-register",
        true,
        "0 invoke read nil, 1 invoke write 3, 1 info write 3, 0 ok read 3",
    ),
    (
        "Knossos, README: neither of two concurrent values is read, as RethinkDB once did",
        "cas-register",
        false,
        "0 invoke write 0, 0 ok write 0, 1 invoke read nil, 2 invoke write 4, 1 ok read 3, 2 ok write 4, \
         3 invoke read nil, 3 ok read 4",
    ),
    (
        "Knossos, data/cas-register/bad/immediate-failure: a refused write is read",
        "cas-register",
        false,
        "1 invoke read nil, 101 invoke write 3, 101 fail write 3, 1 ok read 3",
    ),
    (
        "Knossos, data/cas-register/good/cas-register-bug: a read is never answered",
        "cas-register",
        true,
        "4 invoke write 2, 4 ok write 2, 6 invoke read nil, 1 invoke write 4, 1 ok write 4, \
         14 invoke read nil, 14 ok read 4, 9 invoke write 0, 9 ok write 0, 19 invoke read nil, 19 ok read 0",
    ),
    (
        "MIT 6.824, 2017, and Porcupine: both values may be read while the write lasts",
        "register",
        true,
        "9 invoke write 0, 9 ok write 0, 0 invoke write 100, 1 invoke read nil, 2 invoke read nil, \
         2 ok read 0, 1 ok read 100, 0 ok write 100",
    ),
    (
        "MIT 6.824, 2017, and Porcupine: but not the old one after the new one",
        "register",
        false,
        "9 invoke write 0, 9 ok write 0, 0 invoke write 200, 1 invoke read nil, 1 ok read 200, \
         2 invoke read nil, 2 ok read 0, 0 ok write 200",
    ),
    (
        "Herlihy and Wing, 1990, H1: what was put in at the same time comes out in either order",
        "queue",
        true,
        "0 invoke enqueue 1, 1 invoke enqueue 2, 1 ok enqueue 2, 0 ok enqueue 1, 1 invoke dequeue nil, \
         1 ok dequeue 1, 0 invoke dequeue nil, 0 ok dequeue 2, 0 invoke enqueue 3",
    ),
    (
        "Herlihy and Wing, 1990, H4: nothing comes out twice",
        "queue",
        false,
        "0 invoke enqueue 1, 1 invoke enqueue 2, 0 ok enqueue 1, 1 ok enqueue 2, 0 invoke dequeue nil, \
         2 invoke dequeue nil, 0 ok dequeue 2, 2 ok dequeue 2",
    ),
];

#[test]
fn verdicts_are_those_that_others_have_published() {
    for (source, model, valid, history) in PUBLISHED {
        let desk = Desk::with(&[("history.edn", &edn(history))]);
        let said = desk.run(&["check-history", "history.edn", "--model", model]);
        let said = said.exits(if *valid { 0 } else { 1 });
        assert!(said.stdout.starts_with(if *valid { "pass" } else { "fail" }), "{source}: {}", said.stdout);
    }
}
