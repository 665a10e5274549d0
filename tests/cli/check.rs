//! `ovenproof check`, `schema` and the refusals of `run`, as a user meets them.

use std::path::PathBuf;

use assert_cmd::Command;
use tempfile::TempDir;

fn ovenproof(home: &TempDir) -> Command {
    let mut command = Command::cargo_bin("ovenproof").unwrap();
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("OVENPROOF_HOME", home.path());
    command
}

fn scenarios(dir: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(dir)).unwrap();
    let files = files.map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}

#[test]
fn every_scenario_here_is_good_and_checking_touches_nothing() {
    let home = tempfile::tempdir().unwrap();
    let good = scenarios("scenarios");
    assert!(!good.is_empty());
    ovenproof(&home).arg("check").args(&good).assert().success();
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn the_same_seed_prints_the_same_schedule() {
    let home = tempfile::tempdir().unwrap();
    let check = |seed: &str| {
        let args = ["--json", "check", "scenarios/etcd-kill-leader.yaml", "--seed", seed];
        ovenproof(&home).args(args).output().unwrap().stdout
    };
    assert_eq!(check("7"), check("7"));
    let found: serde_json::Value = serde_json::from_slice(&check("7")).unwrap();
    assert_eq!(found[0]["schedule"][0]["inject_at_us"], 4_000_000);
    let able = serde_json::json!([
        { "fault": "instance.kill", "skipped": null },
        { "fault": "network.delay", "skipped": null },
    ]);
    assert_eq!(found[0]["provider"], serde_json::json!({ "name": "qemu", "faults": able }));
}

#[test]
fn faults_are_explained() {
    let home = tempfile::tempdir().unwrap();
    let said = |args: &[&str]| ovenproof(&home).args(args).assert().success().get_output().stdout.clone();
    insta::assert_snapshot!(String::from_utf8(said(&["faults", "process.kill"])).unwrap());
    let all: serde_json::Value = serde_json::from_slice(&said(&["--json", "faults"])).unwrap();
    assert!(all.as_array().is_some_and(|pages| pages.iter().any(|page| page["name"] == "clock.skew")));
    let markdown = String::from_utf8(said(&["faults", "--markdown"])).unwrap();
    assert_eq!(markdown, std::fs::read_to_string("scenarios/FAULTS.md").unwrap());
    let output =
        ovenproof(&home).args(["faults", "proces.kill"]).assert().code(2).get_output().stderr.clone();
    let said = String::from_utf8(output).unwrap();
    assert!(said.contains("did you mean `process.kill`?"), "{said}");
}

#[test]
fn a_bad_file_is_refused_with_its_place_before_anything_is_started() {
    let home = tempfile::tempdir().unwrap();
    for command in ["check", "run"] {
        let bad = "scenarios/controls/no-such-target.yaml";
        let output = ovenproof(&home).args([command, bad]).assert().code(2).get_output().stderr.clone();
        let said = String::from_utf8(output).unwrap();
        assert!(said.contains("no-such-target.yaml:8:66: the fleet has no role `wbe`"), "{said}");
        assert!(said.contains("did you mean `web`?"), "{said}");
    }
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn an_image_that_is_not_there_or_a_pin_that_fits_nothing_is_a_mistake_of_the_user() {
    let home = tempfile::tempdir().unwrap();
    let run = |more: &[&str]| {
        let mut command = ovenproof(&home);
        command.args(["run", "scenarios/web-kill-one.yaml"]).args(more).assert().code(2).get_output().clone()
    };
    assert!(String::from_utf8(run(&[]).stderr).unwrap().contains("no image `web`"));
    let said = String::from_utf8(run(&["--image", "wbe=abcd"]).stderr).unwrap();
    assert!(said.contains("did you mean `web`?"), "{said}");
    run(&["--shard", "2/2"]);
    run(&["--shard", "3/2"]);
}

#[test]
fn schemas_are_for_editors() {
    let home = tempfile::tempdir().unwrap();
    for kind in ["scenario", "recipe", "fleet"] {
        let output = ovenproof(&home).args(["schema", kind]).assert().success().get_output().stdout.clone();
        let schema: serde_json::Value = serde_json::from_slice(&output).unwrap();
        assert!(schema["properties"]["name"].is_object());
    }
}
