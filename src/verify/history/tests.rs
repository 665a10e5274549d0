//! Histories as Jepsen writes them.

use proptest::prelude::*;

use super::*;
use crate::journal::Verdict;

fn verdict(text: &str, model: Model) -> (Verdict, String) {
    let loaded = load(text, model, false).unwrap_or_else(|error| panic!("{error}"));
    let finding = model.judge(&loaded, None, Budget::default());
    (finding.verdict, format!("{}\n{}", finding.message, finding.detail))
}

const STALE: &str = r#"
{:process 0, :type :invoke, :f :write, :value 1, :time 1000000}
{:process 0, :type :ok, :f :write, :value 1, :time 2000000}
{:process :nemesis, :type :info, :f :start-partition, :value nil, :time 2500000}
{:process 1, :type :invoke, :f :write, :value 2, :time 3000000}
{:process 1, :type :ok, :f :write, :value 2, :time 4000000}
{:process 2, :type :invoke, :f :cas, :value [2 3], :time 4500000}
{:process 2, :type :fail, :f :cas, :value [2 3], :time 4600000}
{:process 0, :type :invoke, :f :read, :value nil, :time 5000000}
{:process 0, :type :ok, :f :read, :value 1, :time 6000000}
"#;

#[test]
fn a_register_that_answers_from_the_past_is_found_and_drawn() {
    let loaded = load(STALE, Model::Register, false).unwrap();
    let finding = Model::Register.judge(&loaded, None, Budget::default());
    assert_eq!(finding.verdict, Verdict::Fail);
    insta::assert_snapshot!("stale_words", finding.detail);
    insta::assert_snapshot!("stale_picture", picture::svg("a <title> & \u{0}", &finding.piece));
    // In one vector, and without times, it is the same history.
    let vector = format!("[{}]", STALE.replace(", :time", " #_:time #_"));
    assert_eq!(verdict(&vector, Model::Register).0, Verdict::Fail);
    let right = STALE.replace(":f :read, :value 1", ":f :read, :value 2");
    assert_eq!(verdict(&right, Model::Register).0, Verdict::Pass);
}

#[test]
fn every_model_reads_its_own() {
    let op = |process: u8, f: &str, asked: &str, kind: &str, answered: &str| {
        format!(
            "{{:process {process}, :type :invoke, :f :{f}, :value {asked}}}\n{{:process {process}, :type :{kind}, :f :{f}, :value {answered}}}\n"
        )
    };
    let lock = op(0, "acquire", "nil", "ok", "nil") + &op(1, "acquire", "nil", "ok", "nil");
    assert_eq!(verdict(&lock, Model::Lock).0, Verdict::Fail);
    let lock = op(0, "acquire", "nil", "ok", "nil")
        + &op(0, "release", "nil", "ok", "nil")
        + &op(1, "acquire", "nil", "ok", "nil");
    assert_eq!(verdict(&lock, Model::Lock).0, Verdict::Pass);
    let set = op(0, "add", "1", "ok", "1")
        + &op(0, "add", "2", "info", "2")
        + &op(1, "read", "nil", "ok", "#{1 2}");
    assert_eq!(verdict(&set, Model::Set).0, Verdict::Pass);
    assert_eq!(verdict(&set.replace("#{1 2}", "#{2}"), Model::Set).0, Verdict::Fail);
    let txn = op(0, "txn", "[[:append 5 1] [:r 5 nil]]", "ok", "[[:append 5 1] [:r 5 [1]]]")
        + &op(1, "txn", "[[:append 5 2]]", "ok", "[[:append 5 2]]")
        + &op(1, "txn", "[[:r 5 nil]]", "ok", "[[:r 5 [1 2]]]");
    assert_eq!(verdict(&txn, Model::Append).0, Verdict::Pass);
    assert_eq!(verdict(&txn.replace("[1 2]", "[2]"), Model::Append).0, Verdict::Fail);
    let bank = op(0, "read", "nil", "ok", "{0 10, 1 90}")
        + &op(0, "transfer", "{:from 0, :to 1, :amount 5}", "ok", "nil")
        + &op(1, "read", "nil", "ok", "{0 5, 1 95}");
    assert_eq!(verdict(&bank, Model::Bank).0, Verdict::Pass);
    assert_eq!(verdict(&bank.replace("1 95", "1 90"), Model::Bank).0, Verdict::Fail);
    let counter = op(0, "add", "3", "ok", "3") + &op(1, "read", "nil", "ok", "3");
    assert_eq!(verdict(&counter, Model::Counter).0, Verdict::Pass);
    let ids = op(0, "generate", "nil", "ok", "\"a\"") + &op(1, "generate", "nil", "ok", "\"a\"");
    assert_eq!(verdict(&ids, Model::UniqueIds).0, Verdict::Fail);
    let queue = op(0, "enqueue", "1", "ok", "1")
        + &op(0, "enqueue", "2", "ok", "2")
        + &op(1, "dequeue", "nil", "ok", "2")
        + &op(1, "drain", "nil", "ok", "[1]");
    assert_eq!(verdict(&queue, Model::Queue).0, Verdict::Pass);
    assert_eq!(verdict(&queue.replace("[1]", "[]"), Model::Queue).0, Verdict::Fail);

    let keyed = STALE
        .replace(":value nil", ":value [7 nil]")
        .replace(":value 1", ":value [7 1]")
        .replace(":value 2", ":value [7 2]")
        .replace(":value [2 3]", ":value [7 [2 3]]");
    let loaded = load(&keyed, Model::Register, true).unwrap();
    assert_eq!(Model::Register.judge(&loaded, None, Budget::default()).verdict, Verdict::Fail);
    assert!(loaded.ops.iter().all(|op| op.key == "7"));
}

#[test]
fn what_proves_nothing_is_an_error_and_what_is_no_history_is_refused() {
    assert_eq!(verdict("", Model::Register).0, Verdict::Error);
    assert_eq!(verdict("[]", Model::Set).0, Verdict::Error);
    let open = "{:process 0, :type :invoke, :f :write, :value 1}";
    assert_eq!(verdict(open, Model::Register).0, Verdict::Error);
    let complain = |text: &str| load(text, Model::Register, false).unwrap_err().to_string();
    let said: Vec<String> = [
        "{:process 0, :type :invoke\n",
        "7",
        "{:process 0, :type :ok, :f :read, :value 1}",
        "\n{:process 0, :type :invoke, :value 1}",
        "{:process 0, :type :began, :f :read}",
        "{:process 0, :type :invoke, :f :read}\n{:process 0, :type :invoke, :f :read}",
        "{:process 0, :type :invoke, :f :dequeue}\n{:process 0, :type :ok, :f :dequeue}",
        "{\"at_us\": 1}\n",
        "{\"at_us\":1,\"event\":{\"note\":{\"text\":\"a\"}}}\nwords\n",
    ]
    .iter()
    .map(|text| complain(text))
    .collect();
    insta::assert_snapshot!("refusals", said.join("\n"));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(at in 0..STALE.len(), removed in 0_usize..30, put in "[ -~]{0,12}") {
        let end = (at + removed).min(STALE.len());
        let text = format!("{}{put}{}", &STALE[..at], &STALE[end..]);
        for model in [Model::Register, Model::Lock, Model::Set, Model::Append, Model::Bank, Model::Queue] {
            if let Ok(loaded) = load(&text, model, false) {
                let _ = model.judge(&loaded, Some(1), Budget::default());
            }
        }
    }
}
