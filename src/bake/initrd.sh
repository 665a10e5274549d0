#!/bin/busybox sh
# First process of a kernel that was booted directly from a virtio disk: load its driver, go on from there.
# The kernel alone has drivers for NVMe and ext4, so firmware and clouds boot without any of this.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t devtmpfs dev /dev
$b modprobe -a virtio_pci virtio_blk
for word in $($b cat /proc/cmdline); do
    case $word in ovenproof.root=*) root=${word#ovenproof.root=} ;; esac
done
# The disk is announced a moment after its driver is loaded.
tries=0
while [ ! -b "$root" ] && [ $tries -lt 200 ]; do
    $b usleep 20000
    tries=$((tries + 1))
done
if ! $b mount -t ext4 -o rw "$root" /root; then
    echo "initrd: cannot mount ovenproof.root=$root"
    exec $b poweroff -f
fi
$b umount /proc
$b mount -o move /dev /root/dev
exec $b switch_root /root /sbin/init
