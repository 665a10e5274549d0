//! Against a real OpenSSH server on the loopback address; without `/usr/sbin/sshd` there is nothing to test.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::guest::{ExitStatus, KeyPair};

const SSHD: &str = "/usr/sbin/sshd";

struct Server {
    child: Child,
    address: SocketAddr,
    user: KeyPair,
    host: KeyPair,
    dir: tempfile::TempDir,
}

#[async_trait]
impl Endpoint for SocketAddr {
    async fn address(&self) -> Result<SocketAddr, String> {
        Ok(*self)
    }
}

impl Server {
    /// `None` where no server is installed.
    fn start() -> Option<Server> {
        if !Path::new(SSHD).exists() {
            return None;
        }
        // Made by the service manager where the server runs as a service; only root needs it.
        let _ = std::fs::create_dir_all("/run/sshd");
        let dir = tempfile::tempdir().unwrap();
        let (user, host) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        write_private(&dir.path().join("host"), &host.private);
        write_private(&dir.path().join("authorized"), &user.public);
        // The server takes the port over; nobody else gets it in between, as connecting retries.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let d = dir.path().display();
        let config = format!(
            "ListenAddress {address}\nHostKey {d}/host\nAuthorizedKeysFile {d}/authorized\nPidFile none\n\
             UsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n"
        );
        std::fs::write(dir.path().join("config"), config).unwrap();
        let child = Command::new(SSHD)
            .args(["-D", "-e", "-f"])
            .arg(dir.path().join("config"))
            .stderr(std::fs::File::create(dir.path().join("log")).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Some(Server { child, address, user, host, dir })
    }

    fn session(&self) -> SshSession {
        self.session_with(&self.host)
    }

    fn session_with(&self, host: &KeyPair) -> SshSession {
        let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
        let identity = Identity { user, private_key: self.user.private.clone(), host_key: host.wire.clone() };
        SshSession::new(Arc::new(self.address), Arc::new(identity))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_private(path: &Path, text: &str) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn within(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

#[tokio::test]
async fn codes_signals_and_both_streams_come_back() {
    let Some(server) = Server::start() else { return };
    let session = server.session();
    let output = session.exec("echo out; echo err >&2; exit 7", within(20)).await.unwrap();
    assert_eq!(output.status, ExitStatus::Code(7));
    assert_eq!((output.text().as_str(), output.stderr.as_slice()), ("out", b"err\n".as_slice()));
    let output = session.exec("kill -KILL $$", within(20)).await.unwrap();
    assert_eq!(output.status, ExitStatus::Signal("KILL".to_owned()));
    let flood = "head -c 8388608 /dev/zero >&2; head -c 8388608 /dev/zero";
    let output = session.exec(flood, within(20)).await.unwrap();
    assert_eq!((output.stdout.len(), output.stderr.len()), (8 << 20, 8 << 20));
}

#[tokio::test]
async fn a_deadline_holds_for_silent_and_for_chatty_commands() {
    let Some(server) = Server::start() else { return };
    let session = server.session();
    assert!(session.exec("true", within(20)).await.unwrap().success());
    for command in ["sleep 30", "while true; do echo chatter; sleep 0.05; done", "yes"] {
        let started = Instant::now();
        let error = session.exec(command, started + Duration::from_millis(700)).await.unwrap_err();
        assert_eq!(error, SessionError::TimedOut, "{command}");
        assert!(started.elapsed() < Duration::from_secs(3), "{command}: {:?}", started.elapsed());
        // The session is usable again at once.
        assert_eq!(session.exec("echo back", within(20)).await.unwrap().text(), "back");
    }
}

#[tokio::test]
async fn another_host_key_is_refused() {
    let Some(server) = Server::start() else { return };
    let session = server.session_with(&KeyPair::generate().unwrap());
    assert_eq!(session.exec("true", within(20)).await.unwrap_err(), SessionError::HostKey);
}

#[tokio::test]
async fn files_go_there_and_back() {
    let Some(server) = Server::start() else { return };
    let session = server.session();
    let path = server.dir.path().join("it's here");
    let path = path.to_str().unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 3) as u8).collect();
    session.put(path, b"old", 0o600, within(20)).await.unwrap();
    session.put(path, &bytes, 0o640, within(20)).await.unwrap();
    assert_eq!(session.get(path, within(20)).await.unwrap(), bytes);
    assert_eq!(session.exec(&format!("stat -c %a \"{path}\""), within(20)).await.unwrap().text(), "640");
    assert!(matches!(session.get("/no/such/file", within(20)).await, Err(SessionError::File(_))));
    assert!(matches!(
        session.put("/no/such/dir/x", b"", 0o600, within(20)).await,
        Err(SessionError::File(_))
    ));
}

#[tokio::test]
async fn a_lost_server_is_found_again_and_a_dead_one_waited_for() {
    let Some(mut server) = Server::start() else { return };
    let session = server.session();
    assert!(session.exec("true", within(20)).await.unwrap().success());
    // Ends the server and every connection that it served.
    let killed = session.exec("kill -KILL $PPID", within(20)).await;
    assert!(killed.is_err() || !killed.unwrap().success());
    assert_eq!(session.exec("echo again", within(20)).await.unwrap().text(), "again");
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let waiting = server.session();
    let started = Instant::now();
    let error = waiting.exec("true", started + Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, SessionError::Connect(_)), "{error}");
    assert!(started.elapsed() >= Duration::from_millis(900));
}

#[tokio::test]
async fn dropping_a_call_ends_its_command_and_frees_the_session() {
    let Some(server) = Server::start() else { return };
    let session = server.session();
    assert!(session.exec("true", within(20)).await.unwrap().success());
    let dropped =
        tokio::time::timeout(Duration::from_millis(300), session.exec("sleep 60", within(60))).await;
    assert!(dropped.is_err());
    let started = Instant::now();
    assert_eq!(session.exec("echo free", within(20)).await.unwrap().text(), "free");
    assert!(started.elapsed() < Duration::from_secs(5));
}
