#!/bin/busybox sh
# First process, whether the kernel was booted directly or by firmware: loads the drivers of disks that the
# kernel has not itself, opens the root and goes on from there.
#
# `root=PARTUUID=ID` is the root: the partition that is called like its id, on whatever disk. With
# `ovenproof.verity=DIGEST:BLOCKS:SALT` it cannot be written to, and its blocks are verified as they are read; what
# is written elsewhere lasts until the next boot. `ovenproof.volume=NAME:DIRECTORY`, any number of times, is the
# file system on the disk with the serial number NAME; it is in its place before anything of the image runs.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
$b modprobe -a virtio_pci virtio_blk
volumes=
verity=
for word in $($b cat /proc/cmdline); do
    case $word in
        root=PARTUUID=*) root=${word#root=PARTUUID=} ;;
        ovenproof.verity=*) verity=${word#ovenproof.verity=} ;;
        ovenproof.volume=*) volumes="$volumes ${word#ovenproof.volume=}" ;;
    esac
done
# An instance without its data must not run: it would begin anew, and look well.
give_up() {
    echo "initrd: cannot mount $1"
    exec $b poweroff -f
}
# Prints the partition that is called $1.
partition() {
    for block in /sys/class/block/*; do
        if $b grep -qx "PARTNAME=$1" "$block/uevent"; then
            echo "/dev/${block##*/}"
            return
        fi
    done
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
device=$(partition "$root")
while [ -z "$device" ] && [ $tries -lt 200 ]; do
    # Only looked for when nothing else was found at once.
    if [ $tries = 10 ]; then $b modprobe xen_blkfront 2> /dev/null; fi
    $b usleep 20000
    tries=$((tries + 1))
    device=$(partition "$root")
done
[ -n "$device" ] || give_up "root=PARTUUID=$root, there is no such partition"
if [ -n "$verity" ]; then
    $b modprobe -a dm_verity erofs overlay
    digest=${verity%%:*}
    salt=${verity##*:}
    blocks=${verity#*:}
    blocks=${blocks%:*}
    # Blocks of 4096 bytes, and the tree of their digests behind them.
    dmsetup create root --readonly --noudevsync --table \
        "0 $((blocks * 8)) verity 1 $device $device 4096 4096 $blocks $blocks sha256 $digest $salt" ||
        give_up "ovenproof.verity=$verity"
    $b mount -t erofs -o ro /dev/dm-0 /root || give_up "ovenproof.verity=$verity"
    $b mount -t tmpfs -o mode=755 state /state
    for place in etc var root home srv; do
        $b mkdir -p /state/$place/upper /state/$place/work
        # The directory itself will be the upper one.
        $b chmod "$($b stat -c %a /root/$place)" /state/$place/upper
        $b mount -t overlay -o "lowerdir=/root/$place,upperdir=/state/$place/upper,workdir=/state/$place/work" \
            overlay /root/$place || give_up "/$place"
    done
    $b umount /state
    $b mount -t tmpfs -o mode=1777 tmp /root/tmp
else
    $b mount -t ext4 -o rw "$device" /root || give_up "root=PARTUUID=$root"
fi
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
