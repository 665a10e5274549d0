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
