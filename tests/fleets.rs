//! The commands about fleets where there is none: what they say, and how they exit.

#![expect(clippy::unwrap_used, reason = "a test")]

use assert_cmd::Command;

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Home(tempfile::tempdir().unwrap())
    }

    /// Exit code, standard output, standard error.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::cargo_bin("ovenproof").unwrap();
        command.args(arguments).env("OVENPROOF_HOME", self.0.path().join("home")).current_dir(self.0.path());
        let output = command.env("NO_COLOR", "1").output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

#[test]
fn an_empty_home_is_no_error() {
    let home = Home::new();
    assert_eq!(home.run(&["list"]), (0, "there is no fleet\n".to_owned(), String::new()));
    assert_eq!(home.run(&["list", "--json"]), (0, "[]\n".to_owned(), String::new()));
    assert_eq!(home.run(&["heal"]).1, "there was nothing to heal\n");
    assert_eq!(home.run(&["down", "--all"]).0, 0);
}

#[test]
fn what_is_not_there_is_named_with_a_way_out() {
    let home = Home::new();
    let (code, _, said) = home.run(&["exec", "etcd-1", "--", "true"]);
    assert_eq!(code, 2);
    insta::assert_snapshot!(said, @"
    error: there is no node `etcd-1`
    hint: there is no fleet; `ovenproof up IMAGE` starts one
    ");
    let (code, _, said) = home.run(&["down", "shop"]);
    assert_eq!(code, 2);
    insta::assert_snapshot!(said, @"
    error: there is no fleet `shop`
    hint: `ovenproof list` shows the fleets that exist
    ");
    let (code, _, said) = home.run(&["up", "etcd"]);
    assert_eq!(code, 2);
    assert!(said.contains("there is no image `etcd`"), "{said}");
    let (code, _, said) = home.run(&["cp", "a", "b"]);
    assert_eq!(code, 2);
    assert!(said.contains("NODE:/PATH"), "{said}");
}

#[test]
fn a_bad_fleet_file_is_complained_about_at_its_place() {
    let home = Home::new();
    let file = home.0.path().join("shop.yaml");
    std::fs::write(&file, "fleet:\n  etcd: { image: etcd, cuont: 3 }\n").unwrap();
    let (code, _, said) = home.run(&["up", "shop.yaml"]);
    assert_eq!(code, 2);
    assert!(said.contains("shop.yaml:2:24: unknown field `cuont`"), "{said}");
    std::fs::write(&file, "fleet:\n  etcd: { image: etcd, count: 3 }\n").unwrap();
    let (code, _, said) = home.run(&["up", "shop.yaml"]);
    assert_eq!(code, 2);
    insta::assert_snapshot!(said, @"
    error: shop.yaml:2:18: role `etcd`: there is no image `etcd`
      |
    2 |   etcd: { image: etcd, count: 3 }
      |                  ^
    ");
}

#[test]
fn doctor_says_how_servers_will_run() {
    let (code, said, _) = Home::new().run(&["doctor", "--json"]);
    assert!(code == 0 || code == 4);
    let checks: Vec<serde_json::Value> = serde_json::from_str(&said).unwrap();
    assert!(checks.iter().any(|check| check["name"] == "accelerator"));
    // Whatever is missing comes with the package that has it.
    let missing = |check: &&serde_json::Value| check["detail"].as_str().unwrap().starts_with("not found");
    assert!(checks.iter().filter(missing).all(|check| check["package"].is_string()));
}
