//! What an instance gets from us at boot: its host key, our key, its files.
//!
//! They travel as systemd credentials in SMBIOS strings, which needs no agent, no network and no second
//! disk: systemd itself puts the files in place before any service starts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::fleet::plan::NodePlan;
use crate::guest::KeyPair;

pub(crate) struct Credentials<'a> {
    pub node: &'a NodePlan,
    /// May log in as root.
    pub user: &'a KeyPair,
    /// The instance's own key.
    pub host: &'a KeyPair,
}

impl Credentials<'_> {
    /// The SMBIOS string that lets us in.
    pub(crate) fn authorized_key(&self) -> String {
        credential("ssh.authorized_keys.root", &self.user.public)
    }

    /// The SMBIOS string with every file of this instance, as lines of tmpfiles.d.
    pub(crate) fn tmpfiles(&self) -> String {
        let mut lines = String::new();
        // `f+` replaces a file of the same name that the image has; `~` says that the content is base64.
        let mut file = |path: &str, mode: u32, content: &str| {
            lines.push_str(&format!("f+~ {path} {mode:04o} root root - {}\n", BASE64.encode(content)));
        };
        file("/etc/ssh/ssh_host_ed25519_key", 0o600, &self.host.private);
        file("/etc/ssh/ssh_host_ed25519_key.pub", 0o644, &format!("{}\n", self.host.public));
        for rendered in &self.node.files {
            file(&rendered.path, rendered.mode, &rendered.content);
        }
        credential("tmpfiles.extra", &lines)
    }
}

fn credential(name: &str, content: &str) -> String {
    format!("io.systemd.credential.binary:{name}={}", BASE64.encode(content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::plan::RenderedFile;
    use crate::store::ImageId;
    use crate::units::Size;

    #[test]
    fn files_arrive_as_lines_that_systemd_understands() {
        let (user, host) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let node = NodePlan {
            name: "etcd-1".to_owned(),
            role: "etcd".to_owned(),
            index: 1,
            zone: "a".to_owned(),
            address: std::net::Ipv4Addr::new(10, 77, 0, 11),
            image: ImageId::from_hash(blake3::hash(b"")),
            memory: Size(512 << 20),
            cpus: 1,
            disk: Size(1 << 30),
            ready: None,
            files: vec![RenderedFile {
                path: "/etc/default/etcd".to_owned(),
                content: "A=%b\n".to_owned(),
                mode: 0o640,
            }],
            volumes: Vec::new(),
        };
        let text = Credentials { node: &node, user: &user, host: &host }.tmpfiles();
        let encoded = text.strip_prefix("io.systemd.credential.binary:tmpfiles.extra=").unwrap();
        let lines = String::from_utf8(BASE64.decode(encoded).unwrap()).unwrap();
        assert_eq!(lines.lines().count(), 3);
        assert_eq!(lines.lines().last().unwrap(), "f+~ /etc/default/etcd 0640 root root - QT0lYgo=");
    }
}
