cat /proc/sys/kernel/random/boot_id
# Known by it, so that nothing is done to this shell and what it starts.
echo $$ > "$dir/setter"
if systemd; then
  # Whatever ends the keeper, the service manager ends the fault.
  systemd-run --quiet --collect --unit="ovenproof-$id" --property="ExecStopPost=/bin/sh $dir/end" \
    /bin/sh "$dir/keep" || fail "its timer could not be set"
else
  setsid sh "$dir/keep" > /dev/null 2>&1 < /dev/null &
fi
tries=0
until [ -e "$dir/begun" ]; do
  tries=$((tries + 1))
  [ "$tries" -le 600 ] || fail "it did not begin within a minute"
  sleep 0.1
done
cat "$dir/said"
cat "$dir/wrong" >&2
read -r code < "$dir/begun"
exit "$code"
