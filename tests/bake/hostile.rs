//! Those who mean it ill: packages and steps that reach for the host, recipes that reach out of their folder.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::{Command, Stdio};

use crate::oven::{Kitchen, home};

/// Tries everything, and says what it could do. Run as root of the sandbox by a package being installed.
const ATTACK: &str = r#"#!/bin/sh
say() { echo "REACHED: $1" >> /srv/reached; }
: > /srv/reached
[ -e "@MARK@" ] && say "a file of the host"
ls /proc/[0-9]*/cmdline | while read -r line; do grep -q "@PROCESS@" "$line" 2> /dev/null && say "a process of the host"; done
(echo > /dev/tcp/127.0.0.1/@PORT@) 2> /dev/null && say "the network of the host"
perl -MSocket -e 'socket(S, PF_INET, SOCK_STREAM, 0); exit !connect(S, sockaddr_in(@PORT@, inet_aton("127.0.0.1")))' && say "a port of the host"
mount -t tmpfs none /mnt 2> /dev/null && say "mounting"
mount --bind / /mnt 2> /dev/null && say "binding"
mknod /srv/disk b @MAJOR@ @MINOR@ 2> /dev/null && head -c 1 /srv/disk > /dev/null 2>&1 && say "the disk of the host"
rm -f /srv/disk
# Opened alone: should it be possible, nothing is done with it.
(: >> /proc/sys/kernel/core_pattern) 2> /dev/null && say "the kernel's settings"
(: >> /proc/sysrq-trigger) 2> /dev/null && say "the kernel's keys"
chroot /proc/1/root test -e "@MARK@" 2> /dev/null && say "the root of process 1"
perl -e 'open(F, "<", "/dev/tty") and exit 0; exit 1' 2> /dev/null && say "the terminal"
env | grep -q OVENPROOF_TEST_TELLTALE && say "the environment of the host"
# Any file by its number, from whatever lies on a file system of the host: syscall 304 is open_by_handle_at.
perl -e 'open(D, "<", "/run/stage") or open(D, "<", "/etc/resolv.conf") or exit 1;
    my $handle = pack("IiIIx120", 8, 1, 2, 0); exit !(syscall(304, fileno(D), $handle, 0) >= 0)' 2> /dev/null && say "the file system of the host"
exit 0
"#;

#[test]
fn a_hostile_package_reaches_nothing_of_the_host() {
    let kitchen = Kitchen::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let mark = kitchen.path("mark");
    fs::write(&mark, "of the host").expect("a file");
    let marker = format!("31415{}.9", std::process::id());
    let mut process = Command::new("sleep").arg(&marker).stdin(Stdio::null()).spawn().expect("sleep");
    // The first bake makes the home.
    kitchen.run(&["bake", "base"]).exits(0);
    let device = fs::metadata(home()).expect("a folder").dev();
    let attack = ATTACK
        .replace("@MARK@", mark.to_str().expect("a plain path"))
        .replace("@PROCESS@", &marker)
        .replace("@PORT@", &port.to_string())
        .replace("@MAJOR@", &rustix::fs::major(device).to_string())
        .replace("@MINOR@", &rustix::fs::minor(device).to_string());
    let package = kitchen.path("package");
    fs::create_dir_all(package.join("DEBIAN")).expect("a folder");
    let control = "Package: intruder\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <nobody@localhost>\nDescription: reaches\n";
    fs::write(package.join("DEBIAN/control"), control).expect("a file");
    kitchen.put("package/DEBIAN/postinst", &attack);
    kitchen.script("package/DEBIAN/postinst");
    let deb = kitchen.path("images/intruder.deb");
    let built =
        Command::new("dpkg-deb").args(["--build", "--root-owner-group"]).args([&package, &deb]).output();
    assert!(built.expect("dpkg-deb").status.success());
    kitchen.recipe(
        "invaded",
        "files:\n  - { path: /srv/intruder.deb, copy: intruder.deb }\n\
         run:\n  - command: dpkg --install /srv/intruder.deb\n\
         test:\n  - cat /srv/reached; test -e /srv/reached && ! grep REACHED /srv/reached\n",
    );
    let mut bake = kitchen.command(&["bake", "invaded"]);
    let said = bake.env("OVENPROOF_TEST_TELLTALE", "x").output().expect("the tool starts");
    process.kill().expect("it runs");
    process.wait().expect("its end");
    crate::common::Said::from(said).exits(0);
    kitchen.run_unprivileged(&["bake", "invaded"]).exits(0);
    kitchen.run(&["images", "remove", "invaded"]).exits(0);
    kitchen.run_unprivileged(&["images", "remove", "invaded"]).exits(0);
}

/// What a step leaves where the bake itself will look must not lead the bake to the host's files.
#[test]
fn links_that_a_step_leaves_lead_nowhere_on_the_host() {
    let kitchen = Kitchen::new();
    let mark = kitchen.path("mark");
    fs::write(&mark, "untouched").expect("a file");
    let outside = mark.to_str().expect("a plain path");
    let traps = [
        ("a file through a link", format!("ln -sfn {outside} /srv/link"), "files:\n  - { path: /srv/link, content: evil }\n"),
        (
            "a file in a folder that is a link",
            format!("ln -sfn {} /srv/folder", kitchen.path("").display()),
            "files:\n  - { path: /srv/folder/mark, content: evil }\n",
        ),
        ("a kernel that is a link", format!("rm /boot/vmlinuz-*; ln -s {outside} /boot/vmlinuz-9"), ""),
        ("a status that is a link", format!("mv /var/lib/dpkg/status /srv; ln -s {outside} /var/lib/dpkg/status"), ""),
        (
            "tools that write links",
            "mv /bin/cp /bin/cp.real; printf '#!/bin/sh\\nexec ln -sf @OUT@ /run/out/vmlinuz\\n' > /bin/cp; chmod 755 /bin/cp"
                .replace("@OUT@", outside),
            "",
        ),
    ];
    for (what, step, rest) in traps {
        // The trap lies in a recipe below, so that files come after it.
        kitchen.recipe("trap", &format!("run:\n  - command: |\n      {step}\n"));
        kitchen.put("images/trapped.yaml", &format!("name: trapped\nfrom: trap\n{rest}"));
        let said = kitchen.run(&["bake", "trapped"]);
        assert!(!said.stdout.contains("untouched") && !said.stderr.contains("untouched"), "{what}");
        assert_eq!(fs::read_to_string(&mark).expect("it is there"), "untouched", "{what}");
        if said.code == Some(0) {
            let shown = kitchen.run(&["--json", "images", "show", "trapped"]).exits(0).stdout;
            assert!(!shown.contains("untouched"), "{what}: {shown}");
            kitchen.run(&["images", "remove", "trapped"]).exits(0);
        }
    }
}

#[test]
fn a_recipe_reads_nothing_outside_its_folder() {
    let kitchen = Kitchen::new();
    kitchen.put("outside", "secret");
    kitchen.put("images/tree/inside", "fine");
    kitchen.put("images/good/file", "fine");
    symlink(kitchen.path("outside"), kitchen.path("images/tree/out")).expect("a link");
    symlink("..", kitchen.path("images/good/up")).expect("a link");
    symlink(kitchen.path(""), kitchen.path("images/away")).expect("a link");
    for copy in ["../outside", "/etc/passwd", "tree", "good", "away/outside", "away", "tree/../../outside"] {
        kitchen.recipe("curious", &format!("files:\n  - {{ path: /srv/x, copy: {copy} }}\n"));
        let said = kitchen.run(&["bake", "curious"]).exits(2);
        assert!(said.stderr.contains("curious.yaml:4:"), "{copy}: {}", said.stderr);
    }
}
