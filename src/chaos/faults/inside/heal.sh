# Nothing of it outlives the boot in which it began.
[ -z "$boot" ] || [ "$(cat /proc/sys/kernel/random/boot_id)" = "$boot" ] || exit 0
tries=0
while [ -d "$dir" ]; do
  tries=$((tries + 1))
  [ "$tries" -le 400 ] || fail "it does not end"
  keeper=$(cat "$dir/keeper" 2> /dev/null)
  if [ -n "$keeper" ] && grep -qs "$dir/keep" "/proc/$keeper/cmdline"; then
    kill -TERM "$keeper"
  elif ! grep -qs "$dir/[e]nd" /proc/[0-9]*/cmdline; then
    sh "$dir/end"
  fi
  sleep 0.1
done
