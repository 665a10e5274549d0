//! Mistakes in scenarios.

use crate::refusal::{Desk, variations};

const GOOD: &str = "\
name: web survives
fleet:
  web: { image: web, count: 3, zones: [a, b] }
steady:
  - name: page
    role: web
    every: 500ms
    probe: { http: { port: 80 } }
timeline:
  - { at: 4s, for: 8s, inject: { instance.kill: { target: { one: web } } } }
duration: 20s
expect:
  - availability: { probe: page, at_least: 99% }
  - recovers_within: 5s
";

fn said(text: &str) -> String {
    Desk::with(&[("s.yaml", text)]).refused(&["check", "s.yaml"])
}

#[test]
fn the_good_one_is_good() {
    Desk::with(&[("s.yaml", GOOD)]).run(&["check", "s.yaml"]).exits(0);
}

#[test]
fn words_and_quantities() {
    let all = variations(
        GOOD,
        &[
            ("duration:", "duratoin:"),
            ("every: 500ms", "evry: 500ms"),
            ("duration: 20s", "duration: 20"),
            ("duration: 20s", "duration: 20 seconds"),
            ("duration: 20s", "duration: -5s"),
            ("duration: 20s", "duration: 25h"),
            ("duration: 20s", "duration: 0s"),
            ("duration: 20s", "duration: [20s]"),
            ("duration: 20s", "duration: { s: 20 }"),
            ("duration: 20s", "duration: 10s"),
            ("every: 500ms", "every: 0ms"),
            ("99%", "0.99"),
            ("99%", "101%"),
            ("port: 80", "port: http"),
            ("port: 80", "port: 70000"),
            ("port: 80", "port: [80]"),
            ("duration: 20s", "duration: 20s\nseed: lucky"),
            ("duration: 20s", "duration: 20s\nseed: -1"),
            (
                "duration: 20s",
                "duration: 20s\nworkload: [{ kind: register, rate: fast, client: { http: { port: 1 } } }]",
            ),
            ("duration: 20s", "duration: 20s\nworkload: [{ kind: registre, client: { http: { port: 1 } } }]"),
            ("name: web survives", "name: [web]"),
            ("name: web survives", "name:"),
            ("name: web survives", ""),
            ("name: web survives", "name: { text: web }"),
            ("{ http: { port: 80 } }", "http"),
            ("{ http: { port: 80 } }", "{ htpt: { port: 80 } }"),
            ("{ http: { port: 80 } }", "{ http: { port: 80 }, tcp: { port: 80 } }"),
            ("{ http: { port: 80 } }", "[http]"),
            ("{ http: { port: 80 } }", ""),
        ],
        said,
    );
    insta::assert_snapshot!(all);
}

#[test]
fn who_and_what() {
    let all = variations(
        GOOD,
        &[
            ("count: 3", "count: 0"),
            ("count: 3", "count: 33"),
            ("count: 3", "count: 300"),
            ("count: 3", "count: three"),
            ("count: 3", "count: 1.5"),
            ("zones: [a, b]", "zones: a"),
            ("zones: [a, b]", "zones: [A]"),
            ("  web: {", "  Web: {"),
            ("  web: {", "  client: {"),
            ("  web: { image: web, count: 3, zones: [a, b] }", "  web: web"),
            ("  web: { image: web, count: 3, zones: [a, b] }", "  web: { count: 3 }"),
            ("  web: {", "  web-1: { image: web }\n  web: {"),
            ("  web: {", "  web: { image: db }\n  web: {"),
            ("  web: { image: web, count: 3, zones: [a, b] }", "  {}"),
            ("  web: { image: web, count: 3, zones: [a, b] }", "  - web"),
            ("role: web", "role: wbe"),
            ("one: web", "one: wbe"),
            ("one: web", "nodes: [web-4]"),
            ("one: web", "nodes: web-1"),
            ("one: web", "nodes: []"),
            ("one: web", "zone: c"),
            ("one: web", "leader: web"),
            ("{ one: web }", "web"),
            ("{ one: web }", "{ one: web, all: web }"),
            ("{ target: { one: web } }", ""),
            ("instance.kill: { target: { one: web } }", "instance.explode: { target: { one: web } }"),
            (
                "instance.kill: { target: { one: web } }",
                "instance.kill: { target: { one: web } }, instance.stop: { target: { one: web } }",
            ),
            ("for: 8s, ", ""),
            ("at: 4s, ", ""),
            ("for: 8s", "for: 80s"),
            (
                "timeline:\n",
                "timeline:\n  - { at: 5s, for: 5s, inject: { instance.stop: { target: { all: web } } } }\n",
            ),
        ],
        said,
    );
    insta::assert_snapshot!(all);
}

#[test]
fn expectations() {
    let all = variations(
        GOOD,
        &[
            ("  - recovers_within: 5s\n", "  - linearizable\n"),
            ("  - recovers_within: 5s\n", "  - no_acknowledged_write_lost\n"),
            ("  - recovers_within: 5s\n", "  - linearisable\n"),
            ("  - recovers_within: 5s\n", "  - linearizable: true\n"),
            ("  - recovers_within: 5s\n", "  - recovers_within\n"),
            ("  - recovers_within: 5s\n", "  - recovers_within:\n"),
            ("  - recovers_within: 5s\n", "  - recovers_within: 5s\n  - recovers_within: 5s\n"),
            ("  - recovers_within: 5s\n", "  - recovers_within: 5s\n    linearizable: true\n"),
            ("probe: page", "probe: pgae"),
            ("probe: page, ", ""),
            (", at_least: 99%", ""),
            ("  - availability: { probe: page, at_least: 99% }\n  - recovers_within: 5s\n", "  []\n"),
            (
                "expect:\n  - availability: { probe: page, at_least: 99% }\n  - recovers_within: 5s\n",
                "expect: linearizable\n",
            ),
            (
                "expect:\n  - availability: { probe: page, at_least: 99% }\n  - recovers_within: 5s\n",
                "expect:\n  availability: { at_least: 99% }\n",
            ),
            (
                "expect:\n  - availability: { probe: page, at_least: 99% }\n  - recovers_within: 5s\n",
                "expect:\n",
            ),
            ("expect:\n  - availability: { probe: page, at_least: 99% }\n  - recovers_within: 5s\n", ""),
            (
                "steady:\n  - name: page\n    role: web\n    every: 500ms\n    probe: { http: { port: 80 } }\n",
                "steady: []\n",
            ),
            ("every: 500ms\n", "mode: during\n"),
            ("every: 500ms\n", "mode: before\n"),
            ("every: 500ms\n", "mode: around\n"),
            ("every: 500ms\n", "mode: sometimes\n"),
            ("http: { port: 80 }", "http: { port: 80, expect: { numbers: { /lag: { at_most: few } } } }"),
            ("http: { port: 80 }", "exec: { command: 'true', number: {} }"),
            ("http: { port: 80 }", "exec: { command: 'true', number: { at_least: 2, at_most: 1 } }"),
            ("http: { port: 80 }", "redis: { number: { at_leats: 2 } }"),
        ],
        said,
    );
    insta::assert_snapshot!(all);
}

#[test]
fn faults_of_the_network() {
    let fault = |text: &'static str| ("instance.kill: { target: { one: web } }", text);
    let all = variations(
        GOOD,
        &[
            fault("network.delay: { target: { one: web }, delay: 0s }"),
            fault("network.delay: { target: { one: web }, delay: 1s, distribution: gauss }"),
            fault("network.loss: { target: { one: web } }"),
            fault("network.loss: { target: { one: web }, bursts: { enter: 1% } }"),
            fault("network.duplicate: { target: { one: web }, share: 0% }"),
            fault("network.reorder: { target: { one: web }, share: 5%, delay: 0s }"),
            fault("network.rate: { target: { one: web }, rate: 10 }"),
            fault("network.rate: { target: { one: web }, rate: 1Mbit/s, queue: 10 }"),
            fault("network.flap: { target: { one: web }, down: 1s, up: 0s }"),
            fault("network.dns: { target: { one: web }, answer: never }"),
            fault("network.dns: { target: { one: web }, answer: { address: here } }"),
            fault("network.dns: { target: { one: web }, answer: timeout, names: [\"a..b\"] }"),
            fault("network.port_block: { target: { one: web }, port: 0 }"),
            fault("network.port_block: { target: { one: web }, port: 80, protocol: sctp }"),
            fault("network.reset: { target: { one: web }, peers: [web-9] }"),
            fault("network.reset: { target: { one: web }, direction: sideways }"),
            fault("network.corrupt: { target: { all: web }, share: 1%, peers: [web-1], with_client: true }"),
        ],
        said,
    );
    insta::assert_snapshot!(all);
}

#[test]
fn faults_inside_a_guest() {
    let fault = |text: &'static str| ("instance.kill: { target: { one: web } }", text);
    let all = variations(
        GOOD,
        &[
            fault("resource.cpu: { target: { one: web }, load: 0% }"),
            fault("resource.cpu: { target: { one: web }, cores: 0 }"),
            fault("resource.cpu: { target: { one: web }, load: 2 }"),
            fault("resource.memory: { target: { one: web } }"),
            fault("resource.memory: { target: { one: web }, fill: 5% }"),
            fault("resource.memory: { target: { one: web }, fill: 90%, victim: nobody }"),
            fault("disk.fill: { target: { one: web }, path: /var }"),
            fault("disk.fill: { target: { one: web }, path: /var, fill: 90%, leave: 1M }"),
            fault("disk.fill: { target: { one: web }, path: var, leave: 1M }"),
            fault("clock.skew: { target: { one: web }, by: 1ms }"),
            fault("clock.skew: { target: { one: web }, by: -2h }"),
            fault("clock.strobe: { target: { one: web }, by: 1h, every: 1ms }"),
            fault("process.kill: { target: { one: web }, which: { name: nginx } }"),
            fault("process.kill: { target: { one: web }, which: { name: nginx }, every: 0s }"),
            fault("process.pause: { target: { one: web }, which: nginx }"),
            fault("process.pause: { target: { one: web }, which: { name: /usr/sbin/nginx } }"),
            fault("process.pause: { target: { one: web }, which: { service: \"a b\" } }"),
            fault("service.stop: { target: { one: web }, service: -f }"),
            fault("file.corrupt: { target: { one: web }, path: /a, flips: 0 }"),
            fault("file.corrupt: { target: { one: web }, path: /a, truncate: 1G }"),
        ],
        said,
    );
    insta::assert_snapshot!(all);
}
