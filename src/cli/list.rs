//! `ovenproof list`: the fleets that exist.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Failure, Printer, fleets};
use crate::fleet::{InstanceState, Provider};

/// List the fleets and their servers.
#[derive(Debug, Args)]
pub struct ListArgs {}

pub fn run(_: &ListArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let provider = fleets::open(printer)?;
    fleets::block_on(async {
        let mut rows =
            vec![["FLEET", "NODE", "ADDRESS", "ZONE", "STATE", "BOOTS"].map(str::to_owned).to_vec()];
        let mut documents = Vec::new();
        for name in provider.list().await? {
            let Ok(fleet) = provider.attach(&name).await else {
                // Being created, or going away.
                rows.push(vec![name.clone()]);
                documents.push(json!({ "fleet": name, "nodes": [] }));
                continue;
            };
            let mut nodes = Vec::new();
            for node in &fleet.plan().nodes {
                let status = fleet.status(&node.name).await;
                let (state, boots) = match &status {
                    Ok(status) => (word(status.state).to_owned(), status.boots),
                    Err(_) => ("unknown".to_owned(), 0),
                };
                nodes.push(json!({
                    "name": node.name, "address": node.address, "zone": node.zone, "image": node.image,
                    "state": state, "boots": boots,
                }));
                let address = node.address.to_string();
                rows.push(vec![
                    name.clone(),
                    node.name.clone(),
                    address,
                    node.zone.clone(),
                    state,
                    boots.to_string(),
                ]);
            }
            documents.push(json!({ "fleet": name, "nodes": nodes }));
        }
        printer.json(&documents);
        if documents.is_empty() {
            printer.line("there is no fleet");
        } else {
            fleets::table(&rows).iter().for_each(|line| printer.line(line));
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn word(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Running => "running",
        InstanceState::Frozen => "frozen",
        InstanceState::Stopped => "stopped",
        InstanceState::Destroyed => "destroyed",
    }
}
