//! `service.stop`: a service is not there, and nobody can start it.
//!
//! Proof: its state in the guest's service manager.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inside::{Held, SAME, Work, leased};
use super::processes::{check_unit, unit};
use super::{About, Documented, Fault, FaultKind, Scene, Takes};
use crate::chaos::target::{Roster, Target};
use crate::fleet::Capability;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceStop {
    pub target: Target,
    /// A unit of systemd, such as `nginx` or `etcd.service`. It must be active.
    pub service: String,
}

const SETUP: &str = "dropin=/run/systemd/system/$service.d\n";

const BEGIN: &str = r#"
systemd || fail "it has no systemd"
state=$(systemctl is-active -- "$service")
[ "$state" = active ] || fail "$service is $state, not active"
# Says to whoever starts it that a condition is not met; unlike a mask, also to units of /etc.
mkdir -p "$dropin" || exit 1
printf '[Unit]\nConditionPathExists=!%s\n' "$dir" > "$dropin/ovenproof-$id.conf" || exit 1
chmod -R a+rX "$dropin"
systemctl daemon-reload && systemctl stop --no-block -- "$service"
"#;

const LOOK: &str = r#"
state=$(systemctl is-active -- "$service")
echo "$service is $state"
case $state in inactive | failed) ;; *) exit 1 ;; esac
"#;

const END: &str = r#"
dropin=/run/systemd/system/$service.d
if [ -e "$dropin/ovenproof-$id.conf" ]; then
  rm -f "$dropin/ovenproof-$id.conf"
  rmdir "$dropin" 2> /dev/null
  systemctl daemon-reload
  systemctl start --no-block -- "$service"
fi
"#;

const GONE: &str = r#"
[ ! -e "$dropin/ovenproof-$id.conf" ] || fail "$service is still kept from starting"
tries=0
while
  state=$(systemctl is-active -- "$service")
  [ "$state" = inactive ]
do
  # Its turn may still be to come.
  tries=$((tries + 1))
  [ "$tries" -le 40 ] || fail "$service was not started again"
  sleep 0.25
done
echo "$service is $state again"
"#;

impl Documented for ServiceStop {
    const ABOUT: About = About {
        details: "As when somebody stops the wrong service, or an update fails half way. It ends in order, and neither \
                  the service manager nor a socket or a timer starts it meanwhile.",
        example: "service.stop: { target: { one: web }, service: nginx }",
        local: "`systemctl stop` in the guest, and a condition below /run by which nobody can start it.",
        ec2: SAME,
        proof: "The guest's service manager says that the service is inactive.",
        undo: leased!(
            "The condition is removed and the service is started. That it comes up is the image's part."
        ),
    };
}

impl FaultKind for ServiceStop {
    fn target(&self) -> &Target {
        &self.target
    }

    fn needs(&self) -> Capability {
        Capability::Session
    }

    fn takes(&self) -> Takes {
        Takes::Part("processes")
    }

    fn check(&self, _: &[String], _: &Roster) -> Result<(), String> {
        check_unit(&self.service)
    }

    fn arm(&self, scene: Scene) -> Box<dyn Fault> {
        let vars = vec![("service", unit(&self.service))];
        Held::new(scene, Work { vars, setup: SETUP, begin: BEGIN, look: LOOK, end: END, gone: GONE })
    }
}
