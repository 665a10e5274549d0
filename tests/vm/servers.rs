//! Ordering servers, day to day.

use std::fs;

use crate::machines::{assert_nothing_runs, baked, copy_base, run};

#[test]
fn servers_come_answer_and_go() {
    baked(&["web"]);
    let up = run(&["up", "web", "-n", "2", "--name", "shop"]).exits(0);
    assert!(up.stdout.contains("web-1") && up.stdout.contains("web-2"), "{}", up.stdout);

    let list = run(&["list"]).exits(0);
    assert!(list.stdout.contains("shop"), "{}", list.stdout);
    let page = run(&["exec", "shop/web-1", "--", "curl", "-s", "http://web-2/"]).exits(0);
    assert!(page.stdout.contains("This is web-2"), "{}", page.stdout);
    let status = run(&["exec", "web-2", "--", "sh", "-c", "echo said; exit 7"]).exits(7);
    assert_eq!(status.stdout, "said\n");
    let logs = run(&["logs", "web-1"]).exits(0);
    assert!(logs.stdout.contains("web-1"), "{}", logs.stdout);

    let again = run(&["up", "web", "-n", "2", "--name", "shop"]).exits(2);
    assert!(again.stderr.contains("the fleet `shop` exists already"), "{}", again.stderr);
    run(&["down", "shop"]).exits(0);
    assert_nothing_runs();
    run(&["down", "shop"]).exits(2);
}

#[test]
fn a_server_that_never_becomes_ready_is_an_error_with_its_console_and_goes() {
    baked(&["base"]);
    let folder = tempfile::tempdir().expect("a folder");
    copy_base(folder.path());
    let recipe = folder.path().join("deaf.yaml");
    let ready = "instance: { ready: { within: 6s, probe: { tcp: { port: 9, timeout: 1s } } } }";
    fs::write(&recipe, format!("name: deaf\nfrom: base\n{ready}\n")).expect("a recipe");
    run(&["bake", recipe.to_str().expect("a plain path")]).exits(0);

    let said = run(&["up", "deaf", "--cold"]).exits(4);
    assert!(said.stderr.contains("deaf-1 was not ready within"), "{}", said.stderr);
    let console = said.stderr.lines().filter(|line| line.starts_with("    ")).count();
    assert!(console >= 5, "the console is not shown: {}", said.stderr);
    assert_nothing_runs();
    run(&["images", "remove", "deaf"]).exits(0);
}
