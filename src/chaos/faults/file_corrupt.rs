//! `file.corrupt`: bits of a file are flipped, or its end is cut off.
//!
//! Proof: what the guest reads from the file afterwards.

use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inside::{Held, SAME, Work, absolute, leased};
use super::{About, Documented, Fault, FaultKind, Scene, Takes};
use crate::chaos::target::{Roster, Target};
use crate::fleet::Capability;
use crate::units::Size;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileCorrupt {
    pub target: Target,
    /// The file. With `*` or `?`, the last in order of name of those that fit: with most logs the newest.
    pub path: String,
    /// How many bits are flipped, each in another byte, at places that the seed chooses; 1 to 64.
    #[serde(default = "sixteen")]
    pub flips: u16,
    /// Where the part begins in which bits are flipped.
    #[serde(default)]
    pub from: Size,
    /// How long that part is; without it, to the end of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<Size>,
    /// Instead of flips: how many bytes are cut off at the end, at most 8M.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncate: Option<Size>,
    /// Whether what is still damaged at the end is mended then. What the service has written over since is left
    /// alone in any case.
    #[serde(default = "yes")]
    pub restore: bool,
}

fn sixteen() -> u16 {
    16
}

fn yes() -> bool {
    true
}

const MOST_FLIPS: u16 = 64;
/// It is kept in the guest's memory.
const LONGEST_TAIL: u64 = 8 << 20;

const SETUP: &str = r#"
# OFFSET: the byte there, as a number.
byte() { od -An -v -tu1 -j "$1" -N 1 -- "$file" 2> /dev/null | tr -d ' '; }
# OFFSET VALUE
write() { printf "\\$(printf %03o "$2")" | dd of="$file" bs=1 seek="$1" conv=notrunc 2> /dev/null; }
length_now() { stat -c %s -- "$file" 2> /dev/null; }
"#;

const BEGIN: &str = r#"
file=
old_ifs=$IFS
IFS=
for fits in $path; do [ ! -f "$fits" ] || file=$fits; done
IFS=$old_ifs
[ -n "$file" ] || fail "there is no file $path"
printf %s "$file" > file
size=$(length_now) || exit 1
if [ -n "$truncate" ]; then
  [ "$size" -gt "$truncate" ] || fail "$file is only $size bytes long"
  cut=$((size - truncate))
  tail -c "$truncate" -- "$file" > tail && echo "$cut" > cut || exit 1
  truncate -s "$cut" -- "$file" && sync -- "$file"
  echo "$(stat -c %i -- "$file") $size"
  exit
fi
[ -n "$length" ] && [ $((from + length)) -le "$size" ] || length=$((size - from))
[ "$length" -ge "$flips" ] || fail "$file has only $size bytes, and $flips are to be damaged from byte $from on"
: > flips
for draw in $draws; do
  at=$((from + ${draw%:*} % length))
  # The next one that is whole: there are enough.
  while grep -q "^$at " flips; do at=$((from + (at - from + 1) % length)); done
  was=$(byte "$at") is=$(($(byte "$at") ^ ${draw#*:}))
  echo "$at $is $was" >> flips
  write "$at" "$is" || exit 1
done
sync -- "$file"
printf '%s ' "$(stat -c %i -- "$file")"
while read -r at is was; do printf '%s:%s ' "$at" "$is"; done < flips
"#;

const LOOK: &str = r#"
file=$(cat file)
shift
if [ -e cut ]; then
  read -r cut < cut
  now=$(length_now)
  echo "$file is $now bytes long, $1 before"
  [ "$now" -eq "$cut" ]
  exit
fi
damaged=0
for flip; do [ "$(byte "${flip%:*}")" != "${flip#*:}" ] || damaged=$((damaged + 1)); done
echo "$file reads differently in $damaged of $# bytes, the first at ${1%:*}"
[ "$damaged" -gt 0 ]
"#;

const END: &str = r#"
[ "$restore" = true ] && [ -e file ] && file=$(cat file) && [ -f "$file" ] && {
  if [ -e cut ]; then
    # If it is as we left it, nobody has written to it.
    [ "$(length_now)" -ne "$(cat cut)" ] || cat tail >> "$file"
    rm cut
  fi
  [ ! -e flips ] || while read -r at is was; do
    [ "$(byte "$at")" != "$is" ] || write "$at" "$was"
  done < flips
  sync -- "$file"
}
"#;

const GONE: &str = r#"
[ "$restore" = true ] || { echo "the damage stays, as the scenario says"; exit 0; }
file= inode=$1
shift
IFS=
for fits in $path; do [ "$(stat -c %i -- "$fits" 2> /dev/null)" != "$inode" ] || file=$fits; done
[ -n "$file" ] || { echo "the service has another file in its place"; exit 0; }
if [ -n "$truncate" ]; then
  [ "$(length_now)" -ne $(($1 - truncate)) ] || fail "$file is still too short"
  echo "$file is $(length_now) bytes long"
  exit
fi
for flip; do [ "$(byte "${flip%:*}")" != "${flip#*:}" ] || fail "byte ${flip%:*} of $file is still damaged"; done
echo "no byte of $file is damaged any more"
"#;

impl Documented for FileCorrupt {
    const ABOUT: About = About {
        details: "As when a disk or its cable lies. The service reads something else than it wrote, unless it keeps \
                  it in its own memory: combine it with `process.kill` or `instance.kill` to have it read again. A \
                  boot of the instance makes the damage final.",
        example: "file.corrupt: { target: { one: web }, path: /var/www/html/index.html, flips: 4 }",
        local: "Bytes are written over in the guest, past the service; what they were is kept in memory.",
        ec2: SAME,
        proof: "The guest reads other bytes from the file, or finds it shorter.",
        undo: leased!(
            "With `restore`, bytes that are still as damaged get their old value, and an end that is still \
                       missing is put back; what was written meanwhile is never touched. Without it, the damage \
                       stays."
        ),
    };
}

impl FaultKind for FileCorrupt {
    fn target(&self) -> &Target {
        &self.target
    }

    fn needs(&self) -> Capability {
        Capability::Session
    }

    fn takes(&self) -> Takes {
        Takes::Part("files")
    }

    fn check(&self, _: &[String], _: &Roster) -> Result<(), String> {
        if !(1..=MOST_FLIPS).contains(&self.flips) {
            return Err(format!("`flips` is a number from 1 to {MOST_FLIPS}"));
        }
        if self.truncate.is_some_and(|cut| cut.0 == 0 || cut.0 > LONGEST_TAIL) {
            return Err(format!("`truncate` is a size from 1B to {}", Size(LONGEST_TAIL)));
        }
        absolute(&self.path)
    }

    fn arm(&self, scene: Scene) -> Box<dyn Fault> {
        let mut lot = scene.seed.stream(&format!("flips {}", scene.fault));
        let draws: Vec<String> = (0..self.flips)
            .map(|_| format!("{}:{}", lot.next_u64() >> 2, 1 << (lot.next_u32() % 8)))
            .collect();
        let size = |size: Option<Size>| size.map(|size| size.0.to_string()).unwrap_or_default();
        let vars = vec![
            ("path", self.path.clone()),
            ("flips", self.flips.to_string()),
            ("draws", draws.join(" ")),
            ("from", self.from.0.to_string()),
            ("length", size(self.length)),
            ("truncate", size(self.truncate)),
            ("restore", self.restore.to_string()),
        ];
        Held::new(scene, Work { vars, setup: SETUP, begin: BEGIN, look: LOOK, end: END, gone: GONE })
    }
}
