//! A disk that somebody else made, with cloud-init in it, is baked in a machine and becomes an image like any other.

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::machines::{
    Running, assert_nothing_runs, baked, copy_base, eventually, home, machines, run, unfinished,
};

/// One of each kind of step.
const RECIPE: &str = r#"
name: clouded
from: file:cloud.qcow2
users:
  - { name: agent, system: true }
files:
  - path: /etc/agent.conf
    content: level 3
    mode: "0640"
    owner: root:agent
run:
  - name: enrol
    command: |
      id -u agent > /srv/enrolled
      wc -c < /run/secrets/token >> /srv/enrolled
      cat /run/secrets/token
      ! getent hosts deb.debian.org
    secrets: [token]
packages: [busybox-static, sl]
services:
  mask: [fstrim.timer]
test:
  - systemctl is-active ssh.service && echo only a test > /srv/tested
  - test "$(stat -c %a:%G /etc/agent.conf)" = 640:agent
kernel_cmdline: [quiet]
instance:
  memory: 384M
"#;

#[test]
fn a_cloud_image_is_baked_in_a_machine_and_serves_like_any_other() {
    baked(&["base"]);
    let folder = tempfile::tempdir().expect("a folder");
    copy_base(folder.path());
    let at = |name: &str| folder.path().join(name).to_str().expect("a plain path").to_owned();
    // Another disk each time, so that nothing is there that an earlier test has made of it.
    let made = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_nanos();
    let cloudy = format!(
        "name: cloudy\nfrom: base\npackages: [cloud-init]\nfiles:\n  - {{ path: /etc/made, content: '{made}' }}\n"
    );
    fs::write(at("cloudy.yaml"), cloudy).expect("a recipe");
    run(&["bake", &at("cloudy.yaml")]).exits(0);
    run(&["images", "export", "cloudy", "-o", &at("cloud.qcow2")]).exits(0);
    run(&["images", "remove", "cloudy"]).exits(0);
    fs::write(at("clouded.yaml"), RECIPE).expect("a recipe");
    let secret = "correct-horse-battery";
    fs::write(at("token"), secret).expect("a secret");
    let (recipe, given) = (at("clouded.yaml"), format!("token={}", at("token")));
    let bake = ["--json", "bake", recipe.as_str(), "--secret", given.as_str()];

    // Killed where its step begins: what the machine has finished stays, the machine does not.
    let mut killed = Running::start(&bake);
    killed.wait_for("clouded    files");
    assert_eq!(machines().len(), 1);
    killed.signal("KILL");
    killed.end();
    eventually("the machine ends with the bake", Duration::from_secs(30), || machines().is_empty());

    let said = run(&bake).exits(0);
    let progress = |kind: &str| {
        let line = said.stderr.lines().find(|line| line.starts_with(&format!("{:<10} {kind} ", "clouded")));
        line.unwrap_or_else(|| panic!("no `{kind}` in\n{}", said.stderr)).trim_end().ends_with("reused")
    };
    assert!(["base", "packages", "users", "files"].into_iter().all(progress), "{}", said.stderr);
    assert!(!progress("run"), "{}", said.stderr);
    assert_eq!(unfinished(), [""; 0].map(std::path::PathBuf::from));
    let image: Value = serde_json::from_str(&said.stdout).expect("JSON");
    let layers = image["layers"].as_array().expect("layers").iter().filter_map(Value::as_str);
    let mut search = Command::new("grep");
    search.args(["--recursive", "--files-with-matches", "--text", "--devices=skip", secret]);
    search.args(layers.map(|layer| home().join("store/layers").join(layer)));
    search.arg(image["disk"].as_str().expect("a disk")).arg(home().join("cache/logs"));
    let found = search.output().expect("grep");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "the secret is found");

    let again: Value = serde_json::from_str(&run(&bake).exits(0).stdout).expect("JSON");
    assert_eq!((&again["id"], &again["reused"]), (&image["id"], &Value::Bool(true)));
    let shown = run(&["--json", "images", "show", "clouded"]).exits(0);
    assert!(shown.stdout.contains("\"busybox-static\"") && shown.stdout.contains("\"cloud-init\""));

    run(&["up", "clouded", "--cold"]).exits(0);
    let look = "stat -c %U:%G /etc/agent.conf && wc -l < /srv/enrolled && ls /srv && ls /usr/games && \
                readlink /etc/systemd/system/fstrim.timer && cat /proc/cmdline && test ! -e /var/lib/cloud/instance";
    let said = run(&["exec", "clouded/clouded-1", "--", "sh", "-c", look]).exits(0).stdout;
    for line in ["root:agent", "2", "enrolled", "sl", "/dev/null"] {
        assert!(said.lines().any(|said| said == line), "`{line}` is missing in\n{said}");
    }
    assert!(said.contains(" quiet ") && !said.contains("tested"), "{said}");
    run(&["down", "clouded"]).exits(0);
    assert_nothing_runs();
    run(&["images", "remove", "clouded"]).exits(0);
    // The snapshot of its start has gone with it.
    run(&["images", "fsck"]).exits(0);
    run(&["images", "gc"]).exits(0);
}
