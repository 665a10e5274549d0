//! `disk.fill`: a file system has no room left.
//!
//! Proof: what the file system says is free.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inside::{Held, SAME, Work, leased};
use super::{About, Documented, Fault, FaultKind, Scene, Takes};
use crate::chaos::target::{Roster, Target};
use crate::fleet::Capability;
use crate::units::{Share, Size};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskFill {
    pub target: Target,
    /// A folder on the file system that is filled.
    pub path: String,
    /// How much of it is in use then, what is reserved for root counted as free. Either this or `leave`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fill: Option<Share>,
    /// How many bytes stay free, for root too; `0B` leaves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leave: Option<Size>,
}

const SETUP: &str = r#"
free() { echo $(($(stat -f -c '%f * %S' -- "$path"))); }
measure() {
  size=$(stat -f -c %S -- "$path") || fail "there is no folder $path"
  whole=$(($(stat -f -c '%b * %S' -- "$path")))
  [ -n "$leave" ] || leave=$((whole * (100 - percent) / 100))
}
"#;

const BEGIN: &str = r#"
[ -d "$path" ] || fail "there is no folder $path"
measure
before=$(free)
take=$((before - leave))
[ "$take" -gt 0 ] || fail "only $((before / 1048576)) MiB are free in $path, and $((leave / 1048576)) are to stay free"
# Without a name, it is gone when its holder is, also after a crash.
file="$path/.ovenproof-$id"
exec 3> "$file" && rm -f -- "$file" || exit 1
at=0 step=$take
while [ "$at" -lt "$take" ] && [ "$step" -ge "$size" ]; do
  [ $((at + step)) -le "$take" ] || step=$((take - at))
  if fallocate -o "$at" -l "$step" /proc/self/fd/3 2> /dev/null; then at=$((at + step)); else step=$((step / 2)); fi
done
# Not every file system gives room in advance.
[ "$at" -gt 0 ] || head -c "$take" /dev/zero >&3 2> /dev/null
sleep 2147483647 > /dev/null 2>&1 &
echo "$! $before"
"#;

const LOOK: &str = r#"
measure
[ -e "/proc/$1" ] || fail "what held the room is gone"
free=$(free)
echo "$((free / 1048576)) MiB are free in $path, $(($2 / 1048576)) were before"
# Ext4 keeps up to 2% or 16 MiB for itself, and calls them free.
kept=$((whole / 50))
[ "$kept" -le 16777216 ] || kept=16777216
[ "$free" -le $((leave + kept + 1048576)) ]
"#;

const GONE: &str = r#"
measure
# It is there until all that it held is free again, which takes a slow guest a while.
tries=0
while [ -e "/proc/$1" ]; do
  tries=$((tries + 1))
  [ "$tries" -le 200 ] || fail "what held the room is still there"
  sleep 0.1
done
free=$(free)
[ "$free" -gt $((leave + ($2 - leave) / 4)) ] || fail "only $((free / 1048576)) MiB are free in $path"
echo "$((free / 1048576)) MiB are free in $path"
"#;

impl Documented for DiskFill {
    const ABOUT: About = About {
        details: "As when logs or a backup fill a disk: what writes gets ENOSPC, also as root, because nothing \
                  is left of what a file system reserves. In a file system in memory it takes memory.",
        example: "disk.fill: { target: { one: web }, path: /var, leave: 0B }",
        local: "A process in the guest holds a file without a name that takes the room.",
        ec2: SAME,
        proof: "The file system says that no more is free than `leave` or `fill` leaves.",
        undo: leased!("The process is killed, and the room is free; a crash of the guest frees it as well."),
    };
}

impl FaultKind for DiskFill {
    fn target(&self) -> &Target {
        &self.target
    }

    fn needs(&self) -> Capability {
        Capability::Session
    }

    fn takes(&self) -> Takes {
        Takes::Part("disk space")
    }

    fn check(&self, _: &[String], _: &Roster) -> Result<(), String> {
        if self.fill.is_some() == self.leave.is_some() {
            return Err(
                "say either how full it gets (`fill: 95%`) or what stays free (`leave: 0B`)".to_owned()
            );
        }
        super::inside::absolute(&self.path)
    }

    fn arm(&self, scene: Scene) -> Box<dyn Fault> {
        let vars = vec![
            ("path", self.path.clone()),
            ("percent", self.fill.map(|fill| format!("{:.0}", fill.0 * 100.0)).unwrap_or_default()),
            ("leave", self.leave.map(|size| size.0.to_string()).unwrap_or_default()),
        ];
        Held::new(scene, Work { vars, setup: SETUP, begin: BEGIN, look: LOOK, end: "", gone: GONE })
    }
}
