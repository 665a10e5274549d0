//! What the commands about fleets have in common: opening the provider, finding a fleet or a node by what
//! was typed.

use std::sync::Arc;

use super::{Failure, Printer};
use crate::fleet::qemu::Qemu;
use crate::fleet::{Fleet, FleetError, Provider, ledger};
use crate::home::Home;
use crate::store::Store;

/// The provider on this machine, after what dead processes left behind was healed.
pub(crate) fn open(printer: &Printer) -> Result<Qemu, Failure> {
    let home = Home::from_env()?;
    for deed in ledger::heal(&home).map_err(FleetError::from)? {
        printer.progress(deed);
    }
    let store = Store::open(&home)?;
    // Half snapshots of clients that died. One that cannot be removed now keeps nobody from working.
    if let Err(error) = store.sweep() {
        tracing::warn!("unfinished work stays in the store: {error}");
    }
    Ok(Qemu::new(home, store))
}

/// Runs `work` to its end.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

/// The fleet called `name`, or the only one there is.
pub(crate) async fn find_fleet(provider: &Qemu, name: Option<&str>) -> Result<Arc<dyn Fleet>, Failure> {
    if let Some(name) = name {
        return Ok(provider.attach(name).await?);
    }
    let names = provider.list().await?;
    match names.as_slice() {
        [only] => Ok(provider.attach(only).await?),
        [] => Err(Failure::user("there is no fleet").hint("`ovenproof up IMAGE` starts one")),
        several => Err(Failure::user("there are several fleets; name the one you mean")
            .hint(format!("there are `{}`", several.join("`, `")))),
    }
}

/// The node that `reference` means: `FLEET/NODE`, or `NODE` if only one fleet has such a node. A fleet of
/// one node is as good as its node.
pub(crate) async fn find_node(provider: &Qemu, reference: &str) -> Result<(Arc<dyn Fleet>, String), Failure> {
    if let Some((fleet, node)) = reference.split_once('/') {
        let fleet = provider.attach(fleet).await?;
        let known = fleet.plan().nodes.iter().any(|known| known.name == node);
        return if known { Ok((fleet, node.to_owned())) } else { Err(no_node(&[fleet], node)) };
    }
    let mut fleets = Vec::new();
    for name in provider.list().await? {
        // One that is just being created, or going away, has no nodes yet, or no more.
        fleets.extend(provider.attach(&name).await);
    }
    let mut found: Vec<(Arc<dyn Fleet>, String)> = Vec::new();
    for fleet in &fleets {
        let plan = fleet.plan();
        match (plan.nodes.iter().find(|node| node.name == reference), plan.nodes.as_slice()) {
            (Some(node), _) => found.push((fleet.clone(), node.name.clone())),
            (None, [only]) if plan.name == reference => found.push((fleet.clone(), only.name.clone())),
            _ => {}
        }
    }
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(_), false) => Err(Failure::user(format!("several fleets have a node `{reference}`"))
            .hint(format!("name the fleet too: `FLEET/{reference}`"))),
        (None, _) => Err(no_node(&fleets, reference)),
    }
}

fn no_node(fleets: &[Arc<dyn Fleet>], node: &str) -> Failure {
    let failure = Failure::from(FleetError::NoSuchNode(node.to_owned()));
    let names: Vec<String> = fleets
        .iter()
        .flat_map(|fleet| {
            let plan = fleet.plan();
            plan.nodes.iter().map(|node| format!("{}/{}", plan.name, node.name))
        })
        .collect();
    match names.as_slice() {
        [] => failure.hint("there is no fleet; `ovenproof up IMAGE` starts one"),
        names => failure.hint(format!("there are {}", names.join(", "))),
    }
}

/// Rows as columns of equal width, two spaces apart.
pub(crate) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let lines = table(&[row(["NODE", "STATE", ""]), row(["etcd-1", "running", "x"])]);
        assert_eq!(lines, ["NODE    STATE", "etcd-1  running  x"]);
    }
}
