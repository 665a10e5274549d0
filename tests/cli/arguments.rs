//! Mistakes on the command line itself.

use crate::refusal::Desk;

const SCENARIO: &str = "name: s\nfleet: { web: { image: web } }\nsteady: [{ name: p, probe: { tcp: { port: 80 } } }]\nduration: 5s\nexpect: [{ availability: { probe: p, at_least: 99% } }]\n";

fn said(commands: &[&[&str]]) -> String {
    let desk = Desk::with(&[("s.yaml", SCENARIO)]);
    commands.iter().map(|command| desk.refused(command)).collect::<Vec<_>>().join("\n")
}

#[test]
fn of_run_and_gate() {
    let all = said(&[
        &["rnu", "s.yaml"],
        &["run"],
        &["check"],
        &["run", "s.yaml", "--sede", "1"],
        &["run", "s.yaml", "--seed", "lucky"],
        &["run", "s.yaml", "--seed", "-1"],
        &["run", "s.yaml", "--seed"],
        &["run", "s.yaml", "--repeat", "0"],
        &["run", "s.yaml", "--repeat", "1001"],
        &["run", "s.yaml", "--shard", "2"],
        &["run", "s.yaml", "--shard", "0/2"],
        &["run", "s.yaml", "--shard", "3/2"],
        &["run", "s.yaml", "--shard", "2/2"],
        &["run", "s.yaml", "--image", "web"],
        &["run", "s.yaml", "--image", "wbe=abcd"],
        &["run", "s.yaml", "--image", "web=nothing"],
        &["run", "s.yaml", "--replay", "x", "--seed", "1"],
        &["run", "s.yaml", "--replay", "x"],
        &["run", "s.yaml"],
        &["gate", "web"],
        &["gate", "web", "--scenario", "s.yaml"],
    ]);
    insta::assert_snapshot!(all);
}

#[test]
fn of_images_and_fleets() {
    let all = said(&[
        &["bake"],
        &["bake", "web"],
        &["bake", ""],
        &["images", "show"],
        &["images", "show", "web"],
        &["images", "show", "web:stable"],
        &["images", "show", "web:"],
        &["images", "show", "../etc:stable"],
        &["images", "show", "ab"],
        &["images", "show", ""],
        &["images", "remove", "web"],
        &["up", "web"],
        &["up", "web", "-n", "0"],
        &["up", "web", "-n", "33"],
        &["up", "web", "-n", "many"],
        &["up", "web", "--memory", "256"],
        &["up", "web", "--cpus", "0"],
        &["down"],
        &["down", "shop"],
        &["down", "shop", "--all"],
        &["ssh", "web-1"],
        &["exec", "web-1"],
        &["exec", "web-1", "--", "true"],
        &["exec", "shop/web-1", "--", "true"],
        &["exec", "web-1", "--within", "5", "--", "true"],
        &["logs", "web-1"],
        &["logs", "web-1", "--json"],
        &["cp", "s.yaml", "t.yaml"],
        &["cp", "web-1:/a", "web-2:/b"],
        &["cp", "missing", "web-1:/a"],
        &["cp", "s.yaml", "web-1:/a"],
        &["schema", "novel"],
        &["completions", "csh"],
    ]);
    insta::assert_snapshot!(all);
}
