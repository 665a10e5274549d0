use std::fs;
use std::process::Command;

use super::*;

fn home() -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path().join("home"));
    (dir, home)
}

fn record(home: &Home, name: &str, id: &str) -> FleetRecord {
    FleetRecord {
        id: id.to_owned(),
        name: name.to_owned(),
        folder: home.fleets().join(name),
        lifetime: Lifetime::Run,
        creator: ProcessId::current().unwrap(),
        supervisor: None,
        created_at: String::new(),
        images: Default::default(),
    }
}

/// A process that has ended.
fn dead() -> ProcessId {
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let process = ProcessId::of(child.id()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    process
}

fn names(ledger: &Ledger) -> Vec<String> {
    ledger.fleets().unwrap().into_iter().map(|fleet| fleet.name).collect()
}

#[test]
fn a_name_is_taken_until_its_fleet_is_gone() {
    let (_dir, home) = home();
    let ledger = Ledger::of(&home);
    ledger.begin(record(&home, "shop", "1")).unwrap();
    ledger.begin(record(&home, "bank", "2")).unwrap();
    assert!(matches!(ledger.begin(record(&home, "shop", "3")), Err(LedgerError::Exists(_))));
    ledger.gone("1").unwrap();
    ledger.gone("1").unwrap();
    assert_eq!(names(&ledger), ["bank"]);
    ledger.begin(record(&home, "shop", "3")).unwrap();
    // A supervisor whose fleet was given up meanwhile must not go on.
    assert!(!ledger.supervised("1", ProcessId::current().unwrap()).unwrap());
    assert!(ledger.supervised("3", ProcessId::current().unwrap()).unwrap());
    ledger.gone("2").unwrap();
    ledger.gone("3").unwrap();
    assert_eq!(fs::metadata(home.ledger()).unwrap().len(), 0);
}

#[test]
fn a_line_cut_short_by_a_crash_is_dropped_and_damage_is_named() {
    let (_dir, home) = home();
    let ledger = Ledger::of(&home);
    ledger.begin(record(&home, "shop", "1")).unwrap();
    let whole = fs::read_to_string(home.ledger()).unwrap();
    for cut in [1, 10, whole.len() - 1] {
        fs::write(home.ledger(), format!("{whole}{}", &whole[..cut])).unwrap();
        assert_eq!(names(&ledger), ["shop"]);
        ledger.begin(record(&home, "bank", "2")).unwrap();
        assert_eq!(names(&ledger), ["bank", "shop"]);
    }
    fs::write(home.ledger(), format!("{whole}{{}}\n{whole}")).unwrap();
    assert!(ledger.fleets().unwrap_err().to_string().contains("line 2"));
}

#[test]
fn many_at_once_lose_nothing() {
    let (_dir, home) = home();
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let home = home.clone();
            std::thread::spawn(move || {
                let ledger = Ledger::of(&home);
                ledger.begin(record(&home, &format!("f{n}"), &n.to_string())).unwrap();
                ledger.supervised(&n.to_string(), ProcessId::current().unwrap()).unwrap();
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let fleets = Ledger::of(&home).fleets().unwrap();
    assert_eq!(fleets.iter().filter(|fleet| fleet.supervisor.is_some()).count(), 8);
}

#[test]
fn healing_removes_what_nobody_owns_and_nothing_else() {
    let (_dir, home) = home();
    let ledger = Ledger::of(&home);
    assert!(heal(&home).unwrap().is_empty());
    let cases = [
        // Being created by a living process.
        ("creating", FleetRecord { ..record(&home, "creating", "1") }, true),
        ("orphaned", FleetRecord { creator: dead(), ..record(&home, "orphaned", "2") }, false),
        (
            "supervised",
            FleetRecord {
                creator: dead(),
                supervisor: Some(ProcessId::current().unwrap()),
                lifetime: Lifetime::UntilDown,
                ..record(&home, "supervised", "3")
            },
            true,
        ),
        ("headless", FleetRecord { supervisor: Some(dead()), ..record(&home, "headless", "4") }, false),
    ];
    for (_, record, _) in &cases {
        ledger.begin(record.clone()).unwrap();
        fs::create_dir_all(record.folder.join("nodes")).unwrap();
    }
    let said = heal(&home).unwrap();
    insta::assert_snapshot!(said.join("\n"), @"
    removed what was left of the fleet `headless`
    removed what was left of the fleet `orphaned`
    ");
    for (name, record, stays) in &cases {
        assert_eq!(record.folder.exists(), *stays, "{name}");
    }
    assert_eq!(names(&ledger), ["creating", "supervised"]);
    assert!(heal(&home).unwrap().is_empty());
}
