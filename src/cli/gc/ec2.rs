//! What is left in an account on EC2: found in every region that this home has used, shown, removed.

use std::collections::BTreeSet;

use crate::aws::remains::{self, Leftover, Remains};
use crate::aws::{Aws, AwsError};
use crate::bake::ami::leftovers::{Amis, Snapshots, regions};
use crate::cli::Failure;
use crate::home::Home;

/// Everything that a command can leave there, in the order in which it can go.
pub(crate) const KINDS: &[&dyn Remains] = &[&Amis, &Snapshots];

/// Clients for `asked`, else for the region of the environment and all that this home has used.
pub(crate) async fn clients(asked: &[String], home: &Home) -> Result<Vec<Aws>, Failure> {
    let mut wanted: BTreeSet<String> = asked.iter().cloned().collect();
    if asked.is_empty() {
        wanted.extend(regions(home)?);
        match Aws::connect(None).await {
            Ok(aws) => drop(wanted.insert(aws.region().to_owned())),
            Err(AwsError::NoRegion) if !wanted.is_empty() => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut clients = Vec::new();
    for region in &wanted {
        clients.push(Aws::connect(Some(region)).await?);
    }
    Ok(clients)
}

/// Removes what dead commands left there, or only says what would go.
pub(super) async fn collect(asked: &[String], dry_run: bool, home: &Home) -> Result<Vec<Leftover>, Failure> {
    let mut all = Vec::new();
    for aws in clients(asked, home).await? {
        let found = remains::find(KINDS, &aws, home).await?;
        if !dry_run {
            remains::remove(KINDS, &aws, &found).await?;
        }
        all.extend(found);
    }
    Ok(all)
}

/// One line for a person.
pub(crate) fn sentence(leftover: &Leftover, dry_run: bool) -> String {
    let Leftover { kind, id, region, because } = leftover;
    let verb = if dry_run { "would remove" } else { "removed" };
    format!("{verb} the {kind} {id} in {region}: {because}")
}
