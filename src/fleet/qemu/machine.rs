//! The machine that a node runs on, as QEMU's command line. Pure: starts nothing.

use super::folder::{BootFiles, NodeFolder};
use crate::fleet::plan::{CLIENT_ADDRESS, NodePlan};
use crate::hypervisor::accel::Accelerator;

/// The address that QEMU's own network gives its one guest; no fault ever touches that network.
const MANAGEMENT_ADDRESS: &str = "10.0.2.15";
/// The image must not depend on what else sits on the bus, so everything has its fixed place; the names
/// of the interfaces follow from it.
const MANAGEMENT_INTERFACE: &str = "enp0s2";
const FLEET_INTERFACE: &str = "enp0s3";
/// The slots of volumes, after everything that each machine has.
const FIRST_VOLUME_SLOT: usize = 6;

/// The numbers of the sockets that QEMU inherits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sockets<'a> {
    /// On which it is to be controlled.
    pub qmp: i32,
    /// Behind the second serial port.
    pub wake: i32,
    /// Behind the root disk.
    pub root: i32,
    /// Behind each volume, in the order of the plan.
    pub volumes: &'a [i32],
}

/// What varies between the machines of one fleet.
pub(crate) struct Machine<'a> {
    pub fleet: &'a str,
    /// What its machine id is derived from.
    pub identity: &'a str,
    pub node: &'a NodePlan,
    pub boot: &'a BootFiles,
    pub accelerator: Accelerator,
    /// Memory and devices come from a snapshot instead of a boot.
    pub restored: bool,
}

impl Machine<'_> {
    /// The hardware address on the fleet's network: locally administered, ends like the IP address.
    pub(crate) fn mac(node: &NodePlan) -> [u8; 6] {
        let [a, b, c, d] = node.address.octets();
        [0x52, 0x54, a, b, c, d]
    }

    /// The arguments of QEMU.
    pub(crate) fn arguments(&self, sockets: Sockets<'_>) -> Vec<String> {
        let Sockets { qmp, wake, root, volumes } = sockets;
        let Machine { node, boot, .. } = self;
        let files = NodeFolder::new(&node.name);
        let mac = Self::mac(node).map(|byte| format!("{byte:02x}")).join(":");
        let mut arguments = Vec::new();
        let mut option = |name: &str, value: String| arguments.extend([format!("-{name}"), value]);
        option("name", format!("ovenproof-{}-{}", self.fleet, node.name));
        option("machine", "q35,usb=off,vmport=off,smbios-entry-point-type=64,memory-backend=ram".to_owned());
        let memory = format!("{}M", node.memory.0.div_ceil(1 << 20));
        option("m", memory.clone());
        option(
            "object",
            match self.restored {
                // Private: what the guest changes is its own, the rest is shared with all from this snapshot.
                true => format!(
                    "memory-backend-file,id=ram,size={memory},share=off,mem-path={}",
                    escaped(&files.saved_ram())
                ),
                // Shared: a file that we can copy, and that is gone with the process.
                false => format!("memory-backend-memfd,id=ram,size={memory},share=on"),
            },
        );
        if self.restored {
            option("incoming", "defer".to_owned());
        }
        option("smp", node.cpus.to_string());
        option("display", "none".to_owned());

        option("chardev", format!("socket,id=qmp,fd={qmp}"));
        option("mon", "chardev=qmp,mode=control".to_owned());
        option("chardev", format!("file,id=console,append=on,path={}", escaped(&files.console())));
        option("serial", "chardev:console".to_owned());
        option("chardev", format!("socket,id=wake,fd={wake}"));
        option("serial", "chardev:wake".to_owned());

        option("kernel", boot.kernel.display().to_string());
        if let Some(initrd) = &boot.initrd {
            option("initrd", initrd.display().to_string());
        }
        option("append", self.cmdline());
        option("smbios", format!("type=11,path={}", escaped(&files.authorized_key())));
        option("smbios", format!("type=11,path={}", escaped(&files.tmpfiles())));

        let disk = format!("driver=nbd,node-name=root,server.type=fd,server.str={root},discard=unmap");
        option("blockdev", disk);
        let device = match boot.initrd {
            Some(_) => "virtio-blk-pci,serial=root",
            // The kernel's own drivers are enough for this one, but QEMU cannot save its state.
            // Nor does it pass on that the guest wants a write on the disk at once, which guests rely on with
            // NVMe: so all of them are.
            None => "nvme,serial=root,write-cache=off",
        };
        // The guest itself sees what goes wrong: it is the one that is tested.
        let errors = "rerror=report,werror=report";
        let root_errors = boot.initrd.as_ref().map_or(String::new(), |_| format!(",{errors}"));
        option("device", format!("{device},drive=root,addr=0x4{root_errors}"));

        for (index, (volume, socket)) in node.volumes.iter().zip(volumes).enumerate() {
            let (name, slot) = (&volume.name, FIRST_VOLUME_SLOT + index);
            option(
                "blockdev",
                format!(
                    "driver=nbd,node-name=volume-{name},server.type=fd,server.str={socket},discard=unmap"
                ),
            );
            // The serial number is how the guest tells one from the other.
            let device = format!("virtio-blk-pci,drive=volume-{name},serial={name},addr=0x{slot:x}");
            option("device", format!("{device},{errors}"));
        }

        // Port 0: the host picks one that is free, and QEMU says which.
        option("netdev", "user,id=mgmt,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:0-:22".to_owned());
        option("device", "virtio-net-pci,netdev=mgmt,mac=52:54:00:00:00:02,addr=0x2,romfile=".to_owned());
        option(
            "netdev",
            format!(
                "stream,id=fleet,server=off,addr.type=unix,addr.path={}",
                escaped(&files.switch_socket())
            ),
        );
        option("device", format!("virtio-net-pci,netdev=fleet,mac={mac},addr=0x3,romfile="));
        option("device", "virtio-rng-pci,addr=0x5".to_owned());
        arguments.extend(["-nodefaults", "-no-user-config"].map(str::to_owned));
        arguments.extend(self.accelerator.options().map(str::to_owned));
        arguments
    }

    fn cmdline(&self) -> String {
        let NodePlan { name, address, .. } = self.node;
        let volumes = self.node.volumes.iter();
        let volumes = volumes.map(|volume| format!(" ovenproof.volume={}:{}", volume.name, volume.mount));
        let volumes: String = volumes.collect();
        // Stable over the boots of one instance, different between any two.
        let machine_id = blake3::hash(format!("{} {name}", self.identity).as_bytes()).to_hex();
        format!(
            "{}{volumes} console=ttyS0 systemd.hostname={name} systemd.machine_id={} \
             ip={MANAGEMENT_ADDRESS}:::255.255.255.0::{MANAGEMENT_INTERFACE}:off \
             ip={address}:::255.255.255.0::{FLEET_INTERFACE}:off:{CLIENT_ADDRESS}",
            self.boot.cmdline,
            machine_id.get(..32).unwrap_or_default(),
        )
    }
}

/// A comma ends a value in QEMU's options, two are one.
fn escaped(path: &std::path::Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::path::PathBuf;

    use super::*;
    use crate::fleet::plan::VolumePlan;
    use crate::store::ImageId;
    use crate::units::Size;

    #[test]
    fn the_command_line_is_what_was_tried() {
        let node = NodePlan {
            name: "etcd-1".to_owned(),
            role: "etcd".to_owned(),
            index: 1,
            zone: "a".to_owned(),
            address: Ipv4Addr::new(10, 77, 0, 11),
            image: ImageId::from_hash(blake3::hash(b"")),
            memory: Size(512 << 20),
            cpus: 2,
            disk: Size(4 << 30),
            ready: None,
            files: Vec::new(),
            volumes: vec![VolumePlan {
                name: "data".to_owned(),
                size: Size(1 << 30),
                mount: "/var/lib/etcd".to_owned(),
            }],
        };
        let boot = BootFiles {
            disk: PathBuf::from("/s/disk.raw"),
            kernel: PathBuf::from("/s/vmlinuz"),
            initrd: Some(PathBuf::from("/s/initrd.img")),
            cmdline: "root=PARTUUID=1 rw".to_owned(),
        };
        let machine = Machine {
            fleet: "shop",
            identity: "7",
            node: &node,
            boot: &boot,
            accelerator: Accelerator::Tcg,
            restored: false,
        };
        let sockets = Sockets { qmp: 9, wake: 10, root: 11, volumes: &[12] };
        let text = machine.arguments(sockets).join(" ").replace(" -", "\n-");
        insta::assert_snapshot!(text, @"
        -name ovenproof-shop-etcd-1
        -machine q35,usb=off,vmport=off,smbios-entry-point-type=64,memory-backend=ram
        -m 512M
        -object memory-backend-memfd,id=ram,size=512M,share=on
        -smp 2
        -display none
        -chardev socket,id=qmp,fd=9
        -mon chardev=qmp,mode=control
        -chardev file,id=console,append=on,path=nodes/etcd-1/console.log
        -serial chardev:console
        -chardev socket,id=wake,fd=10
        -serial chardev:wake
        -kernel /s/vmlinuz
        -initrd /s/initrd.img
        -append root=PARTUUID=1 rw ovenproof.volume=data:/var/lib/etcd console=ttyS0 systemd.hostname=etcd-1 systemd.machine_id=23051ad8b758195361e2828c22639d8a ip=10.0.2.15:::255.255.255.0::enp0s2:off ip=10.77.0.11:::255.255.255.0::enp0s3:off:10.77.0.1
        -smbios type=11,path=nodes/etcd-1/authorized_key.credential
        -smbios type=11,path=nodes/etcd-1/tmpfiles.credential
        -blockdev driver=nbd,node-name=root,server.type=fd,server.str=11,discard=unmap
        -device virtio-blk-pci,serial=root,drive=root,addr=0x4,rerror=report,werror=report
        -blockdev driver=nbd,node-name=volume-data,server.type=fd,server.str=12,discard=unmap
        -device virtio-blk-pci,drive=volume-data,serial=data,addr=0x6,rerror=report,werror=report
        -netdev user,id=mgmt,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:0-:22
        -device virtio-net-pci,netdev=mgmt,mac=52:54:00:00:00:02,addr=0x2,romfile=
        -netdev stream,id=fleet,server=off,addr.type=unix,addr.path=nodes/etcd-1/switch.sock
        -device virtio-net-pci,netdev=fleet,mac=52:54:0a:4d:00:0b,addr=0x3,romfile=
        -device virtio-rng-pci,addr=0x5
        -nodefaults
        -no-user-config
        -accel tcg,thread=multi,tb-size=256
        -cpu max
        ");
        // A disk for which the kernel needs no help.
        let boot = BootFiles { initrd: None, ..boot.clone() };
        let text = Machine { boot: &boot, ..machine }.arguments(sockets).join(" ");
        assert!(text.contains("-device nvme,serial=root,write-cache=off,drive=root,addr=0x4 "), "{text}");
    }
}
