[ -z "$boot" ] || [ "$(cat /proc/sys/kernel/random/boot_id)" = "$boot" ] || { echo "a new boot ended it"; exit 0; }
[ ! -d "$dir" ] || fail "it is still held"
! grep -qs "$dir/[b]egin" /proc/[0-9]*/cmdline || fail "its processes still run"
[ -n "$boot" ] || { echo "it did not begin"; exit 0; }
