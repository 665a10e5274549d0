//! What every fault of the catalogue, each as its manual shows it, does to a verdict.

use tokio::task::JoinSet;

use super::fake::Flaw;
use super::*;
use crate::chaos::faults::{FaultSpec, Lasts};

/// Runs the examples of all faults that `wanted` wants, each alone, on a fleet with this flaw.
async fn all(flaw: Flaw, wanted: impl Fn(&FaultSpec) -> bool) -> Vec<(&'static str, Ran)> {
    let mut running = JoinSet::new();
    for entry in FaultSpec::CATALOGUE {
        let example = entry.about.example.replace("web }", "reg }");
        let spec: FaultSpec = crate::diagnostic::parse_yaml(Path::new(entry.name), &example).unwrap();
        if !wanted(&spec) {
            continue;
        }
        let lasts = if spec.kind().lasts() == Lasts::While { ", for: 400ms" } else { "" };
        // Long enough to see how it goes on after what takes a second to be proven.
        let text = format!(
            "{HEAD}timeline:\n  - {{ at: 200ms{lasts}, inject: {{ {example} }} }}\nduration: 3s\n\
             expect:\n  - recovers_within: 1m\n"
        );
        running.spawn(async move { (entry.name, run_text(flaw, text, |_| false).await) });
    }
    running.join_all().await
}

#[tokio::test]
async fn each_is_proven_healed_and_measured() {
    for (name, ran) in all(Flaw::None, |_| true).await {
        assert_eq!(ran.result.verdict, Verdict::Pass, "{name}: {:#?}", ran.said());
        let fault = format!("f1-{name}");
        let proven = ran.position(|e| matches!(e, Event::Proven { fault: f, .. } if *f == fault));
        let healed =
            ran.position(|e| matches!(e, Event::Healed { fault: f, verified: true, .. } if *f == fault));
        assert!(proven < healed, "{name}: {:#?}", ran.said());
        let measured = ran.entries.iter().filter_map(|entry| match &entry.event {
            Event::Judged(judged) => Some(&judged.measured),
            _ => None,
        });
        let back = format!("rto_from_heal_ms.{fault}");
        assert!(measured.into_iter().any(|found| found.contains_key(&back)), "{name}: {:#?}", ran.said());
    }
}

#[tokio::test]
async fn none_without_effect_passes() {
    for (name, ran) in all(Flaw::NoEffect, |_| true).await {
        assert_eq!(ran.result.verdict, Verdict::Error, "{name}: {:#?}", ran.said());
        assert!(ran.result.reason.contains("was not proven"), "{name}: {}", ran.result.reason);
        ran.position(|e| matches!(e, Event::NotProven { .. }));
        assert!(!ran.entries.iter().any(|entry| matches!(entry.event, Event::Proven { .. })), "{name}");
    }
}

#[tokio::test]
async fn none_that_cannot_be_undone_passes() {
    for (name, ran) in all(Flaw::Sticky, |fault| fault.kind().lasts() == Lasts::While).await {
        // A crashed kernel is reset, which is not what sticks.
        if name == "instance.panic" {
            continue;
        }
        assert_eq!(ran.result.verdict, Verdict::Error, "{name}: {:#?}", ran.said());
        ran.position(|e| matches!(e, Event::Healed { verified: false, .. }));
    }
}
