//! What a person reads who got a scenario wrong.

use super::*;

const GOOD: &str = r#"
name: etcd survives
seed: 7
fleet:
  etcd: { image: etcd, count: 3, zones: [a, b, c] }
  web: { image: web }
leader: { http: { port: 2379, path: /metrics, expect: { contains: "is_leader 1" } } }
steady:
  - { name: answers, role: etcd, on: quorum, probe: { tcp: { port: 2379 } } }
workload:
  - kind: register
    role: etcd
    client:
      http:
        port: 2379
        read: { path: "/{{ key }}" }
        write: { path: "/{{ key }}", body: "{{ value }}" }
timeline:
  - { at: 5s, for: 10s, inject: { network.partition: { shape: isolate, target: { one: etcd } } } }
  - { at: 7s, for: 5s, inject: { instance.kill: { target: { leader: etcd } } } }
expect:
  - linearizable
  - recovers_within: 15s
"#;

fn parse(text: &str) -> Result<Scenario, BadFile> {
    Scenario::parse(Path::new("s.yaml"), text.to_owned())
}

#[test]
fn a_good_scenario_runs_ten_seconds_on() {
    let scenario = parse(GOOD).unwrap_or_else(|bad| panic!("{bad}"));
    assert_eq!(scenario.duration(), Duration::from_secs(25));
    assert_eq!(scenario.schedule(Seed(7)).unwrap().len(), 2);
    assert_eq!(scenario.digest().len(), 64);
}

#[test]
fn a_disk_that_a_target_does_not_have_is_complained_about_when_its_image_is_known() {
    let fits = |disk: &str| {
        let fault = format!("disk.io_error: {{ target: {{ one: etcd }}, disk: {disk} }}");
        let text = GOOD
            .replace("image: etcd,", "image: etcd, volumes: { data: { size: 64M, mount: /data } },")
            .replace("network.partition: { shape: isolate, target: { one: etcd } }", &fault);
        let scenario = parse(&text).unwrap();
        let image = |_: &str| Ok::<_, std::convert::Infallible>(check::unbaked());
        scenario.fits(&crate::fleet::plan::resolve("t", &scenario.spec.fleet, image).unwrap())
    };
    assert!(fits("root").is_ok() && fits("data").is_ok());
    insta::assert_snapshot!(fits("dta").unwrap_err(), @"
    s.yaml:19:33: etcd-1 has no disk `dta`, expected `root` or `data`
       |
    19 |   - { at: 5s, for: 10s, inject: { disk.io_error: { target: { one: etcd }, disk: dta } } }
       |                                 ^
    ");
}

/// What is replaced in the good scenario, and by what.
const MISTAKES: &[(&str, &str)] = &[
    ("name: etcd survives", "name: ''"),
    ("steady:\n", "stedy:\n"),
    ("count: 3", "count: 0"),
    ("count: 3", "count: 33"),
    ("count: 3", "count: many"),
    ("  etcd: { image", "  Etcd!: { image"),
    ("for: 10s", "for: 10"),
    ("for: 10s, ", ""),
    ("for: 10s", "for: 0s"),
    ("for: 10s", "fro: 10s"),
    ("shape: isolate", "shape: isolated"),
    ("network.partition", "network.partitoin"),
    ("{ one: etcd }", "{ one: etdc }"),
    ("{ one: etcd }", "{ any: etcd }"),
    ("{ one: etcd }", "{ nodes: [etcd-1, etcd-4] }"),
    ("{ one: etcd }", "{ nodes: [etcd-1, etcd-1] }"),
    ("{ one: etcd }", "{ nodes: [] }"),
    ("{ one: etcd }", "{ zone: d }"),
    ("{ one: etcd }", "{ minority: web }"),
    ("shape: isolate, target: { one: etcd }", "shape: majority_ring, target: { all: etcd }"),
    ("shape: isolate, target: { one: etcd }", "shape: halves, target: { all: etcd }, with_client: true"),
    ("network.partition: { shape: isolate,", "instance.kill: {"),
    ("instance.kill", "instance.reboot"),
    ("leader: {", "# {"),
    ("role: etcd, on", "role: etcdd, on"),
    ("expect:\n", "duration: 12s\nexpect:\n"),
    ("expect:\n", "duration: 25h\nexpect:\n"),
    ("  - linearizable", "  - linearisable"),
    ("  - linearizable", "  - recovers_within: 15s"),
    ("  - linearizable", "  - availability: {}"),
    ("  - linearizable", "  - availability: { probe: answrs, at_least: 99% }"),
    ("  - linearizable", "  - availability: { at_least: 0.99 }"),
    ("  - linearizable\n  - recovers_within: 15s", "  []"),
    ("seed: 7", "seed: 7\nseed: 8"),
    ("seed: 7", "seed: lucky"),
    ("kind: register", "kind: register\n    mix: { read: 1 }"),
    ("kind: register", "name: a/b\n    kind: register"),
    ("{{ value }}", "{{ valeu }}"),
    ("  - linearizable", "  - rto: { fault: instance.kil, from: heal, at_most: 1s }"),
    ("  - linearizable", "  - rto: { at_most: 1s }"),
    ("  - linearizable", "  - rto: { from: start, at_most: 1s }"),
    ("  - linearizable", "  - rpo: none"),
    ("  - linearizable", "  - rpo: -1"),
    ("  - linearizable", "  - rpo: { fault: instance.kill }"),
    ("  - linearizable", "  - rpo: { fault: instance.kil, at_most: 0 }"),
    ("  - linearizable", "  - rpo: { at_mots: 0 }"),
    ("seed: 7", "allow: [{ pattern: rcu, until: 2026-12-31, reason: known }]"),
    ("seed: 7", "allow: [{ pattern: rcu_preempt, until: 2026-12-32, reason: known }]"),
    ("seed: 7", "allow: [{ pattern: rcu_preempt, until: 2026-12-31T00:00, reason: known }]"),
    ("seed: 7", "allow: [{ pattern: rcu_preempt, until: 2026-12-31, reason: '' }]"),
    ("seed: 7", "allow: [{ pattern: rcu_preempt, reason: known }]"),
    ("seed: 7", "allow: [{ pattern: rcu_preempt, untl: 2026-12-31, reason: known }]"),
];

#[test]
fn mistakes_are_explained() {
    let mut said = String::new();
    for (from, to) in MISTAKES {
        assert!(GOOD.contains(from), "{from}");
        let bad = match parse(&GOOD.replacen(from, to, 1)) {
            Ok(_) => panic!("`{to}` was accepted"),
            Err(bad) => bad,
        };
        assert!(bad.at.is_some() || to.trim() == "[]", "no place: {bad}");
        said.push_str(&format!("{bad}\n\n"));
    }
    insta::assert_snapshot!("mistakes", said);
}

#[test]
fn parts_that_are_missing_are_explained() {
    let cut = |from: &str, to: &str| {
        let (start, end) = (GOOD.find(from).unwrap(), GOOD.find(to).unwrap());
        format!("{}{}", &GOOD[..start], &GOOD[end..])
    };
    let timeline = cut("timeline:", "expect:\n");
    let texts = [
        cut("steady:", "workload:"),
        cut("workload:", "timeline:"),
        timeline.replace("expect:\n", "duration: 5s\nexpect:\n"),
        timeline,
        String::new(),
        "fleet: [".to_owned(),
    ];
    let said: Vec<String> = texts.iter().map(|text| parse(text).err().unwrap().to_string()).collect();
    insta::assert_snapshot!(said.join("\n\n"), @"
    s.yaml:19:1: the field `steady` is missing here
       |
    19 | expect:
       | ^

    s.yaml:14:5: `linearizable` is judged from the operations of a workload, and there is none
       |
    14 |   - linearizable
       |     ^
       = add `workload:`

    s.yaml:21:5: there is no fault to recover from: `timeline` is empty
       |
    21 |   - recovers_within: 15s
       |     ^

    s.yaml: `timeline` is empty and there is no `duration`
      = a scenario that breaks nothing must say how long it runs

    s.yaml: is empty

    s.yaml:1:8: found a list, expected fields (`name: value`)
      |
    1 | fleet: [
      |        ^
    ");
}

#[test]
fn a_bomb_is_refused_at_once() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let parts = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{parts}]\n"));
    }
    assert!(parse(&bomb).is_err());
    assert!(parse(&"[".repeat(100_000)).is_err());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(at in 0..GOOD.len(), removed in 0_usize..40, put in "[ -~]{0,8}") {
        let end = (at + removed).min(GOOD.len());
        let _ = parse(&format!("{}{put}{}", &GOOD[..at], &GOOD[end..])).map_err(|bad| bad.to_string());
    }
}
