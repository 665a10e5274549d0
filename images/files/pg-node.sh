#!/bin/sh
# One PostgreSQL server of a pair: first start, failover, and the way back of a primary that was replaced.
#
# - The first node makes the database; the other copies it and follows.
# - A standby that was in step takes over when the primary has not answered for FAILOVER_AFTER seconds. Nobody
#   fences the old primary: with synchronous replication it acknowledges nothing alone, which is what keeps a
#   second primary harmless. Without it, whatever it acknowledges alone is lost.
# - Of two primaries the one with the older timeline throws its data away and copies the other's.
# - A new primary has nobody to wait for until a standby is in step; from then on it waits for one, for ever.
set -u

. /etc/pg-node/node
. /etc/pg-node/mode

BIN=/usr/lib/postgresql/15/bin
DATA=/var/lib/postgresql/fleet
LOCAL=/var/run/postgresql
server=

say() { echo "$NAME: $*"; }

sql() { # HOST STATEMENT
    PGCONNECT_TIMEOUT=2 timeout 4 psql -h "$1" -U postgres -d postgres -XAtq -c "$2" 2>/dev/null
}

# Seconds since the machine started: a wall clock may jump.
seconds() { read -r up _ </proc/uptime && echo "${up%.*}"; }

answers() { pg_isready -q -t 1 -h "$1" -d postgres -U postgres; } # HOST

# The timeline of a primary; nothing from a standby, and nothing from who does not answer.
timeline() { # HOST
    sql "$1" "select ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int where not pg_is_in_recovery()"
}

# How many standbys receive what the primary writes, as it writes it.
followers() { # HOST CONDITION
    sql "$1" "select count(*) from pg_stat_replication where state = 'streaming' and $2"
}

begin() {
    rm -f "$DATA/postmaster.pid"
    "$BIN/postgres" -D "$DATA" -c config_file=/etc/pg-node/postgresql.conf &
    server=$!
    until answers $LOCAL; do
        kill -0 $server 2>/dev/null || { say "the server did not start"; exit 1; }
        sleep 0.2
    done
}

end() { # SIGNAL
    if [ -n "$server" ]; then
        kill "-$1" "$server" 2>/dev/null
        wait "$server"
        server=
    fi
}

trap 'end INT; exit 0' TERM INT

make() {
    say "makes the database"
    rm -rf "$DATA"
    "$BIN/initdb" -D "$DATA.new" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --wal-segsize=4 >/dev/null || exit 1
    mv "$DATA.new" "$DATA"
}

copy() {
    say "copies the database of $PEER"
    rm -rf "$DATA" "$DATA.new"
    until [ -n "$(timeline "$PEER")" ] &&
        "$BIN/pg_basebackup" -D "$DATA.new" -d "host=$PEER user=postgres application_name=$NAME connect_timeout=3" \
            -R -X stream -c fast; do
        rm -rf "$DATA.new"
        sleep 1
    done
    # As a primary it will have nobody to wait for.
    echo "synchronous_standby_names = ''" >> "$DATA.new/postgresql.auto.conf"
    mv "$DATA.new" "$DATA"
}

follow() { # looks after a standby until it is a primary
    misses=0
    heard=$(seconds)
    in_step=0
    wanted=true
    [ "$SYNCHRONOUS" = true ] && wanted="sync_state = 'sync'"
    while kill -0 "$server" 2>/dev/null; do
        sleep 1 &
        wait $!
        if answers "$PEER"; then
            misses=0
            heard=$(seconds)
            # A standby is in step when the primary has waited for it, or sent to it, for two looks.
            if [ $in_step -lt 2 ]; then
                case "$(followers "$PEER" "$wanted")" in
                    '' | 0) in_step=0 ;;
                    *) in_step=$((in_step + 1)) ;;
                esac
            fi
            continue
        fi
        misses=$((misses + 1))
        silent=$(($(seconds) - heard))
        # Twice at least: a machine that itself stood still has heard nobody either.
        if [ $silent -ge "$FAILOVER_AFTER" ] && [ $misses -ge 2 ] && [ $in_step -ge 2 ]; then
            say "takes over: $PEER has not answered for $silent s"
            sql $LOCAL "select pg_promote(true, 30)" >/dev/null && return
        fi
    done
    exit 1
}

lead() { # looks after a primary until there is a newer one
    waits=false
    [ "$(sql $LOCAL 'show synchronous_standby_names')" = '*' ] && waits=true
    while kill -0 "$server" 2>/dev/null; do
        sleep 1 &
        wait $!
        [ -n "$PEER" ] && answers "$PEER" || continue
        other=$(timeline "$PEER")
        if [ -n "$other" ] && [ "$other" -gt "$(timeline $LOCAL || echo "$other")" ]; then
            say "was replaced by $PEER, on timeline $other"
            end QUIT
            copy
            return
        fi
        if [ "$SYNCHRONOUS" = true ] && [ $waits = false ] && [ "$(followers $LOCAL true)" = 1 ]; then
            sql $LOCAL "alter system set synchronous_standby_names = '*'" &&
                sql $LOCAL "select pg_reload_conf()" >/dev/null && waits=true
            say "waits for its standby from now on"
        fi
    done
    exit 1
}

if [ ! -e $DATA/PG_VERSION ]; then
    if [ "$INDEX" = 1 ] && ! { [ -n "$PEER" ] && answers "$PEER"; }; then make; else copy; fi
elif [ ! -e $DATA/standby.signal ] && [ -n "$PEER" ] && [ -n "$(timeline "$PEER")" ]; then
    # It was a primary and another one is there now.
    copy
fi
while :; do
    begin
    if [ -e $DATA/standby.signal ]; then
        follow
    fi
    lead
done
