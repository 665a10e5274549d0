#!/bin/busybox sh
# First process of a kernel that was booted directly from a virtio disk: load its driver, go on from there.
# The kernel alone has drivers for NVMe and ext4, so firmware and clouds boot without any of this.
#
# `ovenproof.root=DEVICE` is the root. `ovenproof.volume=NAME:DIRECTORY`, any number of times, is the file
# system on the disk with the serial number NAME; it is in its place before anything of the image runs.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
$b modprobe -a virtio_pci virtio_blk
volumes=
for word in $($b cat /proc/cmdline); do
    case $word in
        ovenproof.root=*) root=${word#ovenproof.root=} ;;
        ovenproof.volume=*) volumes="$volumes ${word#ovenproof.volume=}" ;;
    esac
done
# An instance without its data must not run: it would begin anew, and look well.
give_up() {
    echo "initrd: cannot mount $1"
    exec $b poweroff -f
}
# Prints the disk with the serial number $1.
disk() {
    for block in /sys/block/vd*; do
        if [ -e "$block/serial" ] && [ "$($b cat "$block/serial")" = "$1" ]; then
            echo "/dev/${block##*/}"
        fi
    done
}
# Disks are announced a moment after their driver is loaded.
tries=0
while [ ! -b "$root" ] && [ $tries -lt 200 ]; do
    $b usleep 20000
    tries=$((tries + 1))
done
$b mount -t ext4 -o rw "$root" /root || give_up "ovenproof.root=$root"
for volume in $volumes; do
    name=${volume%%:*}
    place=/root${volume#*:}
    while [ -z "$(disk "$name")" ] && [ $tries -lt 200 ]; do
        $b usleep 20000
        tries=$((tries + 1))
    done
    $b mkdir -p "$place"
    $b mount -t ext4 -o rw "$(disk "$name")" "$place" || give_up "ovenproof.volume=$volume"
done
$b umount /sys
$b umount /proc
$b mount -o move /dev /root/dev
exec $b switch_root /root /sbin/init
