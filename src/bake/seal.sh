# Runs in the sandbox over the finished stack; /run/out is outside the image.

rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
rm -f /root/.bash_history /root/.lesshst /root/.wget-hsts /root/.viminfo
rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret /var/lib/dbus/machine-id
rm -f /var/lib/dhcp/*.leases /var/lib/NetworkManager/*.lease /etc/.pwd.lock
rm -rf /var/lib/apt/lists /var/cache/apt /var/cache/debconf/*-old /var/cache/ldconfig
rm -rf /var/lib/dpkg/*-old /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow-
mkdir -p -m 755 /var/lib/apt/lists/partial /var/cache/apt/archives/partial
find /var/log -type f -delete
find /var/tmp -mindepth 1 -delete

# Empty, not absent: systemd then makes one at boot without treating it as a very first boot, whose presets
# would undo what the recipe enabled or masked.
: > /etc/machine-id

# Whatever still stands here was put in place by the recipe, or lies where nobody expected it.
{
    find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp \) -prune -o \
        -type f \( -name 'ssh_host_*_key' -o -name authorized_keys -o -name authorized_keys2 \
        -o -name '.*_history' -o -name 'id_rsa' -o -name 'id_ecdsa' -o -name 'id_ed25519' \
        -o -name '*.leases' -o -path '/var/lib/apt/lists/*Packages*' -o -path '/var/cache/apt/archives/*.deb' \) -print
    find /etc/machine-id -size +0 -print
} > /run/out/findings

dpkg-query --show --showformat '${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\n' > /run/out/packages

# The newest kernel. Copied inside the sandbox, where links cannot lead out of the image.
kernel=$(find /boot -maxdepth 1 -type f -name 'vmlinuz-*' | sort -V | tail -n 1)
if [ -n "$kernel" ]; then cp -- "$kernel" /run/out/vmlinuz; fi
printf '%s\n' "${kernel#/boot/vmlinuz-}" > /run/out/kernel
loader=/usr/lib/systemd/boot/efi/systemd-bootx64.efi
if [ -f "$loader" ]; then cp -- "$loader" /run/out/boot.efi; fi

# What the kernel needs before its root: drivers of disks that it has not itself, and for a read-only root
# also the means to open it.
version=${kernel#/boot/vmlinuz-}
if [ -n "$kernel" ] && [ -x /bin/busybox ] && { [ "$1" = writable ] || [ -x /sbin/dmsetup ]; }; then
    initrd=/tmp/initrd
    modules='virtio_pci virtio_blk'
    mkdir -p $initrd/bin $initrd/dev $initrd/proc $initrd/sys $initrd/root $initrd/lib/modules/"$version"
    cp /bin/busybox $initrd/bin/busybox
    mv /run/out/initrd.sh $initrd/init
    chmod 755 $initrd/init
    if [ "$1" = readonly ]; then
        modules="$modules dm_verity erofs overlay"
        mkdir -p $initrd/sbin $initrd/state
        # With the libraries that it names, by absolute path.
        for file in /sbin/dmsetup $(ldd /sbin/dmsetup | grep -o '/[^ ]*'); do
            mkdir -p "$initrd${file%/*}"
            cp -L "$file" "$initrd$file"
        done
    fi
    # Not every kernel has the disks of Xen.
    if modprobe --set-version "$version" --dry-run xen_blkfront 2> /dev/null; then
        modules="$modules xen_blkfront"
    fi
    # Word by word.
    modprobe --set-version "$version" --show-depends --all $modules |
        sed -n 's/^insmod \([^ ]*\).*/\1/p' | sort -u | while read -r module; do
            mkdir -p "$initrd${module%/*}"
            cp "$module" "$initrd$module"
        done
    cp /lib/modules/"$version"/modules.dep $initrd/lib/modules/"$version"/
    find $initrd -exec touch -h -d @"$SOURCE_DATE_EPOCH" {} +
    (cd $initrd && find . | LC_ALL=C sort | busybox cpio -o -H newc -R 0:0 --renumber-inodes --ignore-devno) > /run/out/initrd.img
    rm -rf $initrd
fi
