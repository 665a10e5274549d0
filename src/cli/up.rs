//! `ovenproof up`: start a fleet and wait until it is ready.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::kind::{self, Kind};
use super::{Failure, Printer, fleets};
use crate::diagnostic::{BadFile, read_text};
use crate::fleet::plan::resolve;
use crate::fleet::spec::FleetFile;
use crate::fleet::timing::{Timing, timings};
use crate::fleet::{Fleet, FleetError, FleetPlan, FleetSpec, Launch, Lifetime, NodePlan, Provider, RoleSpec};
use crate::home::Home;
use crate::store::Store;
use crate::units::{Size, Span};

/// Start servers and wait until they are ready. They stay until `ovenproof down`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// An image (NAME, NAME:CHANNEL, or the first digits of an id), or a file that describes a fleet
    /// (its name ends in .yaml).
    #[arg(value_name = "IMAGE|FILE")]
    what: String,
    /// How many instances of the image, 1 if not given.
    #[arg(short = 'n', long, value_name = "N", value_parser = super::whole(1, 32))]
    count: Option<u64>,
    /// The fleet's name; without it, the image's name, or the one in the file.
    #[arg(long)]
    name: Option<String>,
    /// Memory of each instance, such as 512M; without it, as the image says.
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// Keep a fleet that does not become ready, instead of ending it.
    #[arg(long)]
    keep: bool,
    /// Boot every instance, even if there is a snapshot of the fleet.
    #[arg(long)]
    cold: bool,
    /// Bring the fleet up with the data of a snapshot of volumes; it must have no volumes yet.
    #[arg(long, value_name = "NAME")]
    from_volume_snapshot: Option<String>,
    /// Say where the time went: how long each stage took, in all and in each instance.
    #[arg(long)]
    timings: bool,
    /// Processors of each instance; without it, as the image says.
    #[arg(long, value_name = "N", value_parser = super::whole(1, 64))]
    cpus: Option<u64>,
}

/// For images that do not say how long they may take: a cold boot in translation takes half a minute.
const READY_WITHIN: Span = Span(Duration::from_secs(180));

impl UpArgs {
    fn cpus(&self) -> Option<u8> {
        self.cpus.and_then(|cpus| u8::try_from(cpus).ok())
    }
}

pub fn run(args: &UpArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let provider = fleets::open(printer)?;
    let plan = plan(args, &Store::open(&Home::from_env()?)?)?;
    fleets::block_on(async {
        printer.progress(format!("starting {} in the fleet `{}`", names(&plan), plan.name));
        let launch = Launch {
            plan,
            lifetime: Lifetime::UntilDown,
            warm: !args.cold,
            volumes_from: args.from_volume_snapshot.clone(),
            keep_logs: None,
            pcap: None,
        };
        let fleet = provider.create(launch).await?;
        if fleet.restored() {
            printer.progress("restored it from a snapshot; `--cold` would have booted it");
        }
        let created = Instant::now();
        let ready = match wait_for_all(&fleet, created, printer).await {
            Ok(ready) => ready,
            Err(error) if args.keep => {
                let hint = format!("the fleet still runs; `ovenproof down {}` ends it", fleet.plan().name);
                return Err(Failure::from(error).hint(hint));
            }
            Err(error) => {
                fleet.destroy().await?;
                return Err(Failure::from(error).hint("with `--keep` the fleet stays, to be looked at"));
            }
        };
        let timings = match args.timings {
            true => Some(timings(&*fleet, created, &ready).await),
            false => None,
        };
        save(&*fleet, printer).await;
        show(&fleet, &ready, timings.as_deref(), printer);
        Ok(ExitCode::SUCCESS)
    })
}

/// The next fleet of this kind need not boot; that there is no snapshot is no reason to fail.
async fn save(fleet: &dyn Fleet, printer: &Printer) {
    match fleet.save().await {
        Ok(true) => printer.progress("saved a snapshot; the next fleet like this one is restored from it"),
        Ok(false) => {}
        Err(error) => printer.progress(format!("no snapshot was saved: {error}")),
    }
}

fn names(plan: &FleetPlan) -> String {
    plan.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn plan(args: &UpArgs, store: &Store) -> Result<FleetPlan, Failure> {
    let path = Path::new(&args.what);
    if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
        return plan_of_file(args, path, store);
    }
    // Looked up here for the sake of the hints that come with a name that is not there.
    let image = store.resolve(&args.what)?;
    let role = RoleSpec {
        image: args.what.clone().into(),
        count: args.count.and_then(|count| u8::try_from(count).ok()).unwrap_or(1),
        zones: Vec::new(),
        memory: args.memory,
        cpus: args.cpus(),
        volumes: BTreeMap::new(),
    };
    let recipe = &image.manifest.name;
    let spec = FleetSpec::from([(recipe.clone(), role)]);
    let name = args.name.as_ref().unwrap_or(recipe);
    resolve(name, &spec, |reference| store.resolve(reference)).map_err(Failure::user)
}

fn plan_of_file(args: &UpArgs, path: &Path, store: &Store) -> Result<FleetPlan, Failure> {
    let text = read_text(path)?;
    let file = FleetFile::parse(path, &text).map_err(|bad| kind::explain(bad, &text, Kind::Fleet))?;
    if args.count.is_some() {
        return Err(Failure::user("`--count` is for an image; a fleet file says how many it wants")
            .hint(format!("change `count` in {}", path.display())));
    }
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    let name = args.name.clone().or(file.name).unwrap_or(stem);
    let mut spec = file.fleet;
    for role in spec.values_mut() {
        role.memory = args.memory.or(role.memory);
        role.cpus = args.cpus().or(role.cpus);
    }
    resolve(&name, &spec, |reference| store.resolve(reference)).map_err(|error| match error.at {
        None if args.name.is_some() => Failure::user(error.message),
        None => {
            let field = if spec.is_empty() { "fleet" } else { "name" };
            BadFile::at_field(path, &text, field, error.message).into()
        }
        at => BadFile::at(path, &text, at, error.message).into(),
    })
}

/// Waits for every node at once; how long each took.
async fn wait_for_all(
    fleet: &Arc<dyn Fleet>,
    started: Instant,
    printer: &Printer,
) -> Result<BTreeMap<String, Duration>, FleetError> {
    let mut waiting = JoinSet::new();
    for node in fleet.plan().nodes.clone() {
        let fleet = fleet.clone();
        waiting.spawn(async move {
            let within = node.ready.as_ref().map_or(READY_WITHIN, |(_, within)| *within);
            fleet.wait_ready(&node, started + within.0).await.map(|()| node.name)
        });
    }
    let mut ready = BTreeMap::new();
    while let Some(done) = waiting.join_next().await {
        let node = done.map_err(|error| FleetError::Provider(error.to_string()))??;
        printer.progress(format!("{node} is ready after {:.1} s", started.elapsed().as_secs_f64()));
        ready.insert(node, started.elapsed());
    }
    Ok(ready)
}

fn show(
    fleet: &Arc<dyn Fleet>,
    ready: &BTreeMap<String, Duration>,
    timings: Option<&[Timing]>,
    printer: &Printer,
) {
    let plan = fleet.plan();
    let took = |node: &NodePlan| ready.get(&node.name).copied().unwrap_or_default();
    let nodes = plan.nodes.iter().map(|node| {
        json!({
            "name": node.name, "role": node.role, "zone": node.zone, "address": node.address,
            "image": node.image, "ready_after_ms": took(node).as_millis() as u64,
        })
    });
    let mut document =
        json!({ "fleet": plan.name, "restored": fleet.restored(), "nodes": nodes.collect::<Vec<_>>() });
    if let (Some(timings), Some(document)) = (timings, document.as_object_mut()) {
        document.insert("timings".to_owned(), json!(timings));
    }
    printer.json(&document);
    let mut rows = vec![["NODE", "ADDRESS", "ZONE", "IMAGE", "READY AFTER"].map(str::to_owned).to_vec()];
    rows.extend(plan.nodes.iter().map(|node| {
        let took = format!("{:.1} s", took(node).as_secs_f64());
        vec![
            node.name.clone(),
            node.address.to_string(),
            node.zone.clone(),
            node.image.short().to_owned(),
            took,
        ]
    }));
    for line in fleets::table(&rows) {
        printer.line(line);
    }
    if let Some(timings) = timings {
        printer.line("");
        let mut rows = vec![["STAGE", "NODE", "TOOK"].map(str::to_owned).to_vec()];
        rows.extend(timings.iter().map(|timing| {
            let node = timing.node.clone().unwrap_or_else(|| "all".to_owned());
            vec![timing.stage.to_string(), node, format!("{:.2} s", timing.took().as_secs_f64())]
        }));
        for line in fleets::table(&rows) {
            printer.line(line);
        }
    }
    if let Some(node) = plan.nodes.first() {
        printer.progress(format!(
            "`ovenproof ssh {}/{}` opens a shell, `ovenproof down {}` ends the fleet",
            plan.name, node.name, plan.name
        ));
    }
}
