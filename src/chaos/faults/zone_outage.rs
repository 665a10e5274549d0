//! `instance.zone_outage`: every machine of a zone vanishes at the same moment.
//!
//! Proof: as for `instance.kill`, of every instance in the zone.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::instance::down_fault;
use super::{About, Documented, Ec2};
use crate::chaos::target::Target;
use crate::diagnostic::Located;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ZoneOutage {
    /// The zone that is lost, whatever runs in it.
    #[serde(rename = "zone", serialize_with = "write_zone", deserialize_with = "read_zone")]
    #[schemars(with = "String")]
    pub target: Target,
}

fn read_zone<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Target, D::Error> {
    Located::<String>::deserialize(deserializer).map(Target::Zone)
}

fn write_zone<S: Serializer>(target: &Target, serializer: S) -> Result<S::Ok, S::Error> {
    match target {
        Target::Zone(zone) => zone.serialize(serializer),
        other => other.serialize(serializer),
    }
}

impl Documented for ZoneOutage {
    const ABOUT: About = About {
        details: "As when a data centre loses its power or its network: whatever runs in the zone is gone at \
                  once and without a goodbye. Whether a service survives depends on how its members are dealt \
                  out to zones: a majority in one of them cannot do without it.",
        example: "instance.zone_outage: { zone: a }",
        local: "The hypervisors of all instances in the zone are killed together.",
        ec2: Ec2::By("All instances in the availability zone are stopped by force, in one call."),
        proof: "The provider no longer has any of the machines; afterwards it counts another boot of each, and \
                each guest has another boot id.",
        undo: "The machines boot from their own disks and must get ready. When the tool dies, the fleet of a \
               run goes with it.",
    };
}

down_fault!(ZoneOutage, Kill, Kill);
