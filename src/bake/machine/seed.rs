//! What a machine is told at its first start: a NoCloud seed, read by the cloud-init of its disk.
//!
//! Only what is needed to get in: our key, the host key by which we know it, two addresses. What cloud-init does
//! besides, to a server that is meant to stay, is left out.

use std::fs;
use std::path::Path;

use super::super::error::{At, BakeError};
use super::super::process::command;
use crate::guest::key::KeyPair;

/// By which cloud-init finds it.
const LABEL: &str = "cidata";
/// A FAT file system of the smallest size that all its readers take.
const KIB: &str = "1440";

/// The hardware addresses of the line to us and of the one to the world.
pub(super) const OUR_MAC: &str = "52:54:00:00:01:02";
pub(super) const WORLD_MAC: &str = "52:54:00:00:01:03";
pub(super) const OUR_ADDRESS: &str = "10.0.2.15";
/// The network to the world: its gateway is .2, its name server .3.
pub(super) const WORLD: &str = "10.0.3";

/// The files of a seed.
pub(super) fn files(client: &KeyPair, host: &KeyPair, instance: &str) -> [(&'static str, String); 3] {
    let indented: String = host.private.lines().map(|line| format!("    {line}\n")).collect();
    let user = format!(
        "#cloud-config\n\
         # A list replaces the one of the disk.\n\
         cloud_init_modules: [growpart, resizefs, users-groups, ssh]\n\
         cloud_config_modules: []\n\
         cloud_final_modules: []\n\
         preserve_hostname: true\n\
         users: []\n\
         disable_root: false\n\
         ssh_authorized_keys: ['{}']\n\
         ssh_deletekeys: true\n\
         ssh_keys:\n  ed25519_private: |\n{indented}  ed25519_public: {}\n",
        client.public, host.public
    );
    let network = format!(
        "version: 2\n\
         ethernets:\n  \
           ours:\n    match: {{ macaddress: '{OUR_MAC}' }}\n    set-name: ours\n    addresses: [{OUR_ADDRESS}/24]\n  \
           world:\n    match: {{ macaddress: '{WORLD_MAC}' }}\n    set-name: world\n    optional: true\n    \
             addresses: [{WORLD}.15/24]\n    gateway4: {WORLD}.2\n    \
             nameservers: {{ addresses: [{WORLD}.3] }}\n"
    );
    // Another instance each time, so that the keys are taken again from a disk that knew others.
    let meta = format!("instance-id: {instance}\n");
    [("user-data", user), ("network-config", network), ("meta-data", meta)]
}

/// Writes the seed into the file `seed.img` of `folder`.
pub(super) fn write(folder: &Path, files: &[(&str, String)]) -> Result<(), BakeError> {
    let image = folder.join("seed.img");
    let run = |command: &mut std::process::Command| -> Result<(), BakeError> {
        let said = command.current_dir(folder).output().at(folder)?;
        match said.status.success() {
            true => Ok(()),
            false => {
                let said = String::from_utf8_lossy(&said.stderr).trim().to_owned();
                Err(std::io::Error::other(format!("the seed cannot be written: {said}"))).at(&image)
            }
        }
    };
    run(command("mkfs.fat").args(["-C", "-n", LABEL, "seed.img", KIB]))?;
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text).at(&path)?;
        run(command("mcopy").args(["-i", "seed.img", name, "::"]))?;
        fs::remove_file(&path).at(&path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_who_may_come_in_and_by_which_key_the_machine_is_known() {
        let (client, host) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let files = files(&client, &host, "7");
        let value: serde_json::Value = serde_saphyr::from_str(&files[0].1).unwrap();
        assert_eq!(value["ssh_authorized_keys"][0], client.public.as_str());
        assert_eq!(value["ssh_keys"]["ed25519_public"], host.public.as_str());
        let private = value["ssh_keys"]["ed25519_private"].as_str().unwrap();
        assert_eq!(KeyPair::from_private(private).unwrap().wire, host.wire);
        let value: serde_json::Value = serde_saphyr::from_str(&files[1].1).unwrap();
        assert_eq!(value["ethernets"]["world"]["gateway4"], "10.0.3.2");
        assert_eq!(value["ethernets"]["ours"]["addresses"][0], "10.0.2.15/24");
        let value: serde_json::Value = serde_saphyr::from_str(&files[2].1).unwrap();
        assert!(value.get("instance-id").is_some());

        if !crate::bake::missing_tools().is_empty() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &files).unwrap();
        let mut list = std::process::Command::new("mdir");
        let list = list.arg("-b").arg("-i").arg(folder.path().join("seed.img")).output().unwrap();
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        assert_eq!(list.lines().count(), 3, "{list}");
        let bytes = fs::read(folder.path().join("seed.img")).unwrap();
        assert!(bytes.windows(6).any(|window| window == LABEL.as_bytes()), "it is found by its label");
    }
}
