//! What a recipe can say, seen in the image.

use std::io::Write;
use std::process::Stdio;

use crate::common::Said;
use crate::oven::{Kitchen, json};

#[test]
fn users_folders_environment_and_kernel_words() {
    let kitchen = Kitchen::new();
    kitchen.put("images/site/index.html", "hello\n");
    kitchen.put("images/site/bin/tool", "#!/bin/sh\necho tool\n");
    kitchen.put("images/site/etc/empty/.keep", "");
    kitchen.script("images/site/bin/tool");
    kitchen.recipe(
        "full",
        r#"
users:
  - { name: app, uid: 1500, groups: [adm], shell: /bin/sh }
  - { name: daemon-x, system: true, group: shared, home: /var/lib/x }
files:
  - { path: /srv/site, copy: site, owner: 'app:app' }
  - { path: /var/lib/x, directory: true, owner: 'daemon-x:shared', mode: '0750' }
  - { path: /etc/hello, content: hi, owner: 'app:adm', mode: '0640' }
run:
  - command: '[ "$GREETING" = "a b" ] && [ -z "${HOME_OF_HOST:-}" ] && echo "$GREETING" > /srv/greeting'
    env: { GREETING: a b }
kernel_cmdline: [quiet, oven.test=1]
services: { mask: [cron.service] }
test:
  - |
    set -x
    test "$(id app)" = "uid=1500(app) gid=1500(app) groups=1500(app),4(adm)"
    test "$(getent passwd app | cut -d: -f6,7)" = /home/app:/bin/sh
    test -d /home/app
    test "$(id -gn daemon-x)" = shared
    test "$(getent passwd daemon-x | cut -d: -f6,7)" = /var/lib/x:/usr/sbin/nologin
    stat -c '%U %G %a' /srv/site /srv/site/bin /srv/site/bin/tool /srv/site/index.html | tr '\n' , > /tmp/modes
    test "$(cat /tmp/modes)" = "app app 755,app app 755,app app 755,app app 644,"
    test "$(stat -c '%U %G %a' /var/lib/x /etc/hello | tr '\n' ,)" = "daemon-x shared 750,app adm 640,"
    test -f /srv/site/etc/empty/.keep
    test "$(/srv/site/bin/tool)" = tool
    test "$(readlink /etc/systemd/system/cron.service)" = /dev/null
    test "$(cat /srv/greeting)" = "a b"
"#,
    );
    let baked = kitchen.bake("full");
    let shown = kitchen.run(&["--json", "images", "show", "full"]).exits(0).stdout;
    assert!(shown.contains("rw quiet oven.test=1\""), "{shown}");
    // The day of the bake is not in the image.
    let disk = |run: Said| -> serde_json::Value { serde_json::from_str(&run.exits(0).stdout).expect("JSON") };
    let theirs = disk(kitchen.run_unprivileged(&["--json", "bake", "full"]));
    assert_eq!(baked["id"], theirs["id"]);
    kitchen.run(&["images", "remove", "full"]).exits(0);
    kitchen.run_unprivileged(&["images", "remove", "full"]).exits(0);
}

#[test]
fn words_for_the_kernel_reach_a_readonly_root_by_either_way_of_booting() {
    let kitchen = Kitchen::new();
    kitchen.bake("base");
    let rest = "root: readonly\npackages: [dmsetup]\nkernel_cmdline: [quiet, oven.test=1]\n";
    kitchen.recipe("fixed-words", rest);
    let disk = kitchen.bake("fixed-words")["disk"].as_str().expect("a disk").to_owned();
    let shown = json(kitchen.run(&["--json", "images", "show", "fixed-words"]));
    let words = shown["manifest"]["kernel_cmdline"].as_str().expect("a command line").to_owned();
    assert!(words.contains(" ro ovenproof.verity=") && words.ends_with(" quiet oven.test=1"), "{words}");
    // What firmware starts says the same; its partition begins after the first megabyte.
    let mut entry = std::process::Command::new("mtype");
    entry.arg("-i").arg(format!("{disk}@@1M")).arg("::/loader/entries/ovenproof.conf");
    let entry = Said::from(entry.output().expect("mtools")).exits(0).stdout;
    assert!(entry.contains(&format!("options {words} ")), "{entry}");
    kitchen.run(&["images", "remove", "fixed-words"]).exits(0);
}

#[test]
fn a_step_without_network_has_none_and_time_is_limited() {
    let kitchen = Kitchen::new();
    kitchen.recipe(
        "alone",
        r#"
run:
  - command: |
      test "$(tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ')" = lo
  - network: true
    command: |
      test "$(tail -n +3 /proc/net/dev | wc -l)" -gt 1
  - { command: 'echo begun; exec sleep 3600', timeout: 10s }
"#,
    );
    let said = kitchen.run(&["bake", "alone"]).exits(4);
    assert!(said.stderr.contains("took longer than 10s") && said.stderr.contains("begun"), "{}", said.stderr);
    assert!(said.stderr.contains("alone-run-") && said.stderr.contains(".log"), "{}", said.stderr);
}

#[test]
fn a_person_is_let_into_the_sandbox_of_a_failed_step() {
    let kitchen = Kitchen::new();
    kitchen.recipe("broken", "run:\n  - command: echo half done > /srv/state; exit 7\n");
    let mut command = kitchen.command(&["bake", "broken", "--shell"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the tool starts");
    let mut keys = child.stdin.take().expect("its input");
    keys.write_all(b"cat /srv/state; ls /home/nobody-here; exit 0\n").expect("it reads");
    drop(keys);
    let said = Said::from(child.wait_with_output().expect("its end")).exits(4);
    assert!(said.stdout.contains("half done"), "{}", said.stdout);
    assert!(said.stderr.contains("exit code 7"), "{}", said.stderr);
}
