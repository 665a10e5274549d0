# Known to every script of a fault in a guest. Needs sh and coreutils.
fail() { printf '%s\n' "$*" >&2; exit 1; }

systemd() { [ -d /run/systemd/system ] && command -v systemd-run > /dev/null; }

# Hundredths of a second on a clock that nobody sets.
ticks() { read -r up rest < /proc/uptime; echo "${up%.*}${up#*.}"; }

# Reads /proc/PID/stat into `state`, `group`, `used` (hundredths of a second of CPU) and `since` (when it
# started, by which a pid that is used again is found out).
examine() {
  { read -r stat < "/proc/$1/stat"; } 2> /dev/null || return 1
  set -- ${stat##*) }
  state=$1 group=$3 used=$((${12} + ${13})) since=${20}
}

# Whether PID:SINCE is still that process.
alive() { examine "${1%:*}" && [ "$since" = "${1#*:}" ] && [ "$state" != Z ]; }

# The processes of $service, or those called $process, as PID:SINCE; never those of a fault.
processes() {
  ours=$(cat /run/ovenproof/*/group /run/ovenproof/*/keeper /run/ovenproof/*/setter 2> /dev/null)
  if [ -n "$service" ]; then
    cgroup=$(systemctl show --property ControlGroup --value -- "$service") && [ -n "$cgroup" ] || return 0
    find "/sys/fs/cgroup$cgroup" "/sys/fs/cgroup/systemd$cgroup" -name cgroup.procs -exec cat {} + 2> /dev/null
  else
    for comm in /proc/[0-9]*/comm; do
      { read -r name < "$comm"; } 2> /dev/null || continue
      [ "$name" = "$process" ] || continue
      comm=${comm%/comm} && echo "${comm#/proc/}"
    done
  fi | sort -nu | while read -r pid; do
    examine "$pid" && [ "$state" != Z ] || continue
    case " $(echo $ours) " in *" $group "*) continue ;; esac
    echo "$pid:$since"
  done
}

# KIND FIELD: kilobytes of memory.
memory() { while read -r name value rest; do [ "$name" != "$1:" ] || echo "$value"; done < /proc/meminfo; }

# Milliseconds from the clock that nobody sets to the one that tells the time; the best of some readings,
# because a slow guest is interrupted between two of them.
offset() {
  best=
  for try in 1 2 3; do
    before=$(ticks)
    now=$(date +%s%3N)
    after=$(ticks)
    case $now in *[!0-9]*) fail 'its `date` cannot tell milliseconds' ;; esac
    took=$((after - before))
    [ -n "$best" ] && [ "$took" -ge "$best" ] || { best=$took found=$((now - (before + after) * 5)); }
    [ "$best" -gt 5 ] || break
  done
  echo "$found"
}

# OFFSET: sets the time of day.
set_clock() {
  time=$(($(ticks) * 10 + $1))
  date -s "@$((time / 1000)).$(printf %03d $((time % 1000)))" > /dev/null
}

# Stops what would set the clock right at once, and says what that was.
leave_clock() {
  systemd || return 0
  systemctl list-units --plain --no-legend --state=active systemd-timesyncd.service chrony.service \
    chronyd.service ntp.service ntpd.service ntpsec.service openntpd.service |
    while read -r name rest; do echo "$name" >> "$dir/stopped" && systemctl stop "$name" && echo "$name"; done
}

# Sets the clock as it was, and lets those who keep it go on.
return_clock() {
  set_clock "$(cat "$dir/offset")"
  [ ! -e "$dir/stopped" ] || while read -r name; do systemctl start --no-block "$name"; done < "$dir/stopped"
}
