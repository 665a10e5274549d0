//! A small archive of Debian packages on this machine, which moves on when a test wants it to.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

pub(crate) struct Archive {
    folder: tempfile::TempDir,
    port: u16,
    /// Files that were asked for.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Archive {
    pub(crate) fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (root, log) = (folder.path().to_owned(), Arc::clone(&asked));
        // Ends with the process: it waits for callers as long as there may be any.
        std::thread::spawn(move || {
            for caller in listener.incoming().flatten() {
                serve(&root, caller, &log);
            }
        });
        Archive { folder, port, asked }
    }

    /// The line of a `sources.list` that names it.
    pub(crate) fn source(&self) -> String {
        format!("deb [trusted=yes] http://127.0.0.1:{}/ ./", self.port)
    }

    /// Has these packages from now on, and no others.
    pub(crate) fn publish(&self, packages: &[(&str, &str)]) {
        let root = self.folder.path();
        for entry in fs::read_dir(root).expect("a folder").flatten() {
            if entry.path().is_file() {
                fs::remove_file(entry.path()).expect("a file");
            }
        }
        let mut index = String::new();
        for (name, version) in packages {
            let control = format!(
                "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Nobody <nobody@localhost>\nDescription: for a test\n"
            );
            let (tree, deb) = (root.join("tree"), format!("{name}_{version}_all.deb"));
            fs::create_dir_all(tree.join("DEBIAN")).expect("a folder");
            fs::write(tree.join("DEBIAN/control"), &control).expect("a file");
            let path = root.join(&deb);
            run("dpkg-deb", &["--build", "--root-owner-group"], &[&tree, &path]);
            let digest = run("sha256sum", &[], &[&path]);
            let digest = digest.split(' ').next().expect("a digest").to_owned();
            let bytes = fs::metadata(&path).expect("a file").len();
            index.push_str(&format!("{control}Filename: ./{deb}\nSize: {bytes}\nSHA256: {digest}\n\n"));
        }
        fs::write(root.join("Packages"), index).expect("a file");
    }

    /// Packages that were downloaded since this was asked last.
    pub(crate) fn downloaded(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.asked.lock().expect("nobody panics with it"));
        asked.retain(|name| name.ends_with(".deb"));
        asked
    }
}

fn run(program: &str, options: &[&str], paths: &[&PathBuf]) -> String {
    let output = Command::new(program).args(options).args(paths).output().expect(program);
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Answers one caller's questions until it leaves.
fn serve(root: &Path, mut caller: TcpStream, log: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(caller.try_clone().expect("a socket")).lines();
    while let Some(Ok(first)) = lines.next() {
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        let name =
            first.split(' ').nth(1).unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned();
        let answer = match fs::read(root.join(&name)) {
            Ok(bytes) => {
                log.lock().expect("nobody panics with it").push(name);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
                [head.into_bytes(), bytes].concat()
            }
            Err(_) => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
        };
        if caller.write_all(&answer).is_err() {
            return;
        }
    }
}
