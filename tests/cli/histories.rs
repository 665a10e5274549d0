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
