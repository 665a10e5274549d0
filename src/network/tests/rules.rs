//! What rules do to frames, in virtual time: the fabric alone, without sockets or threads.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::node::{frame, mac, rules};
use crate::network::fabric::{Delivery, Entry, Fabric};
use crate::network::{Bursts, Distribution, Flap, Impairment, LinkRule, NetworkError, RuleCounters, RuleSet};

const MS: Duration = Duration::from_millis(1);

/// Three nodes, and a clock that moves when told to.
struct World {
    fabric: Fabric,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let fabric = Fabric::new((1..=3).map(|index| (format!("n{index}"), mac(index))));
        World { fabric, now: Instant::now() }
    }

    fn with(set: &RuleSet) -> Self {
        let mut world = World::new();
        world.fabric.install(world.now, set).expect("rules");
        world
    }

    /// Sends a frame and returns what is delivered at once, as port and payload.
    fn send(&mut self, from: u8, to: u8, payload: &[u8]) -> Vec<(usize, Vec<u8>)> {
        let frame = frame(mac(to), mac(from), payload);
        let mut out = Vec::new();
        assert_eq!(self.fabric.enter(self.now, usize::from(from) - 1, &frame, &mut out), Entry::Taken);
        payloads(out)
    }

    /// Lets time pass and returns what is delivered by then.
    fn pass(&mut self, time: Duration) -> Vec<(usize, Vec<u8>)> {
        self.now += time;
        let mut out = Vec::new();
        self.fabric.expire(self.now, &mut out);
        payloads(out)
    }

    fn remove(&mut self, fault: &str) -> (Vec<(usize, Vec<u8>)>, RuleCounters) {
        let mut out = Vec::new();
        let counters = self.fabric.remove(self.now, fault, &mut out).expect("installed rules");
        (payloads(out), counters)
    }
}

fn payloads(out: Vec<Delivery<'_>>) -> Vec<(usize, Vec<u8>)> {
    out.into_iter().map(|delivery| (delivery.to, delivery.frame[14..].to_vec())).collect()
}

fn to_n2(payload: &[u8]) -> Vec<(usize, Vec<u8>)> {
    vec![(1, payload.to_vec())]
}

fn delay(time: Duration) -> Impairment {
    Impairment { delay: time, ..Impairment::default() }
}

#[test]
fn a_cut_is_one_way_and_for_one_link() {
    let mut world =
        World::with(&rules("cut", &[("n1", "n2")], &Impairment { cut: true, ..Impairment::default() }));
    assert_eq!(world.send(1, 2, b"there"), []);
    assert_eq!(world.send(2, 1, b"back"), [(0, b"back".to_vec())]);
    assert_eq!(world.send(1, 3, b"aside"), [(2, b"aside".to_vec())]);
    let (released, counters) = world.remove("cut");
    assert_eq!(released, []);
    assert_eq!(counters, RuleCounters { seen: 1, dropped: 1, ..RuleCounters::default() });
    assert_eq!(world.send(1, 2, b"there"), to_n2(b"there"));
}

#[test]
fn a_broadcast_meets_the_rules_of_each_link() {
    let mut world =
        World::with(&rules("cut", &[("n1", "n2")], &Impairment { cut: true, ..Impairment::default() }));
    let frame = frame([0xff; 6], mac(1), b"all");
    let mut out = Vec::new();
    world.fabric.enter(world.now, 0, &frame, &mut out);
    assert_eq!(payloads(out), [(2, b"all".to_vec())]);
}

#[test]
fn unicast_for_nobody_and_frames_that_are_none_go_nowhere() {
    let mut world = World::new();
    let mut out = Vec::new();
    let (stray, own) = (frame([2; 6], mac(1), b""), frame(mac(1), mac(1), b""));
    assert_eq!(world.fabric.enter(world.now, 0, &stray, &mut out), Entry::Unknown);
    assert_eq!(world.fabric.enter(world.now, 0, &own, &mut out), Entry::Unknown);
    assert_eq!(world.fabric.enter(world.now, 0, &[0xff; 13], &mut out), Entry::Malformed);
    assert_eq!(out, []);
}

#[test]
fn a_delay_holds_frames_for_exactly_so_long_and_in_order() {
    let mut world = World::with(&rules("slow", &[("n1", "n2")], &delay(10 * MS)));
    assert_eq!(world.send(1, 2, b"1"), []);
    assert_eq!(world.pass(4 * MS), []);
    assert_eq!(world.send(1, 2, b"2"), []);
    assert_eq!(world.pass(6 * MS - Duration::from_nanos(1)), []);
    assert_eq!(world.pass(Duration::from_nanos(1)), to_n2(b"1"));
    assert_eq!(world.pass(4 * MS), to_n2(b"2"));
    let (_, counters) = world.remove("slow");
    assert_eq!(counters, RuleCounters { seen: 2, delayed: 2, ..RuleCounters::default() });
}

#[test]
fn removing_a_delay_delivers_what_it_held() {
    let mut world = World::with(&rules("slow", &[("n1", "n2")], &delay(10 * MS)));
    world.send(1, 2, b"1");
    world.send(1, 2, b"2");
    assert_eq!(world.remove("slow").0, [to_n2(b"1"), to_n2(b"2")].concat());
    assert_eq!(world.pass(Duration::from_secs(1)), []);
}

#[test]
fn delays_of_two_faults_add_up_and_each_heals_by_itself() {
    let mut world = World::with(&rules("one", &[("n1", "n2")], &delay(10 * MS)));
    world.fabric.install(world.now, &rules("two", &[("n1", "n2")], &delay(5 * MS))).expect("rules");
    world.send(1, 2, b"both");
    assert_eq!(world.pass(10 * MS), []);
    assert_eq!(world.pass(5 * MS), to_n2(b"both"));
    world.send(1, 2, b"half");
    assert_eq!(world.pass(2 * MS), []);
    assert_eq!(world.remove("one").0, [], "the other fault still holds it");
    assert_eq!(world.pass(5 * MS - Duration::from_nanos(1)), []);
    assert_eq!(world.pass(Duration::from_nanos(1)), to_n2(b"half"));
}

#[test]
fn a_cut_also_stops_what_an_earlier_delay_holds() {
    let mut world = World::with(&rules("slow", &[("n1", "n2")], &delay(10 * MS)));
    world.send(1, 2, b"late");
    world
        .fabric
        .install(
            world.now,
            &rules("cut", &[("n1", "n2")], &Impairment { cut: true, ..Impairment::default() }),
        )
        .expect("rules");
    assert_eq!(world.pass(20 * MS), []);
    assert_eq!(world.remove("cut").1.dropped, 1);
}

#[test]
fn duplicates_are_two_of_the_same() {
    let mut world =
        World::with(&rules("twice", &[("n1", "n2")], &Impairment { duplicate: 1.0, ..delay(MS) }));
    assert_eq!(world.send(1, 2, b"x"), []);
    assert_eq!(world.pass(MS), [to_n2(b"x"), to_n2(b"x")].concat());
    assert_eq!(world.remove("twice").1.duplicated, 1);
}

#[test]
fn corruption_flips_one_bit_and_leaves_the_header() {
    let mut world =
        World::with(&rules("noise", &[("n1", "n2")], &Impairment { corrupt: 1.0, ..Impairment::default() }));
    for _ in 0..200 {
        let sent = frame(mac(2), mac(1), &[0x55; 40]);
        let mut out = Vec::new();
        world.fabric.enter(world.now, 0, &sent, &mut out);
        let got = &out[0].frame;
        assert_eq!(got[..14], sent[..14]);
        assert_eq!(got.iter().zip(&sent).map(|(got, sent)| (got ^ sent).count_ones()).sum::<u32>(), 1);
    }
    assert_eq!(world.remove("noise").1.corrupted, 200);
}

#[test]
fn a_rate_spaces_frames_and_its_queue_overflows() {
    // 1000 bytes take 10 ms; two of them may wait.
    let rate = Impairment { rate: Some(100_000), queue_bytes: Some(2_000), ..Impairment::default() };
    let mut world = World::with(&rules("rate", &[("n1", "n2")], &rate));
    let payload = |tag: u8| [&[tag][..], &[0; 985]].concat();
    for tag in 1..=4 {
        assert_eq!(world.send(1, 2, &payload(tag)), []);
    }
    assert_eq!(world.pass(10 * MS), to_n2(&payload(1)));
    assert_eq!(world.pass(10 * MS), to_n2(&payload(2)));
    assert_eq!(world.pass(Duration::from_secs(1)), [], "the rest found the queue full");
    assert_eq!(world.remove("rate").1.dropped, 2);
}

#[test]
fn some_frames_overtake_when_asked() {
    let mut world =
        World::with(&rules("mix", &[("n1", "n2")], &Impairment { reorder: 0.5, ..delay(10 * MS) }));
    let at_once = (0..100).filter(|index| !world.send(1, 2, &[*index]).is_empty()).count();
    let later = world.pass(10 * MS).len();
    assert_eq!(at_once + later, 100);
    assert!((20..80).contains(&at_once), "{at_once}");
    // All but those that had nothing before them.
    assert!((at_once - 10..=at_once).contains(&(world.remove("mix").1.reordered as usize)));
}

#[test]
fn a_bad_set_is_refused_whole() {
    let mut world = World::new();
    let good = LinkRule { from: "n1".into(), to: "n2".into(), impairment: delay(MS) };
    let mut refuse = |rule: LinkRule| {
        let set = RuleSet { fault: "f".into(), seed: 1, rules: vec![good.clone(), rule] };
        let error = world.fabric.install(world.now, &set).expect_err("a refusal");
        assert_eq!(world.fabric.faults(), Vec::<String>::new());
        assert_eq!(world.send(1, 2, b"x"), to_n2(b"x"));
        error
    };
    assert!(
        matches!(refuse(LinkRule { to: "n9".into(), ..good.clone() }), NetworkError::NoSuchPort(name) if name == "n9")
    );
    assert!(matches!(refuse(LinkRule { to: "n1".into(), ..good.clone() }), NetworkError::SelfLink(_)));
    for loss in [-0.1, 1.1, f64::NAN] {
        let impairment = Impairment { loss, ..Impairment::default() };
        assert!(matches!(
            refuse(LinkRule { impairment, ..good.clone() }),
            NetworkError::Chance { what: "loss", .. }
        ));
    }
    let set = rules("f", &[("n1", "n2")], &delay(MS));
    world.fabric.install(world.now, &set).expect("rules");
    assert!(matches!(world.fabric.install(world.now, &set), Err(NetworkError::FaultInstalled(_))));
}

/// What link n1 -> n2 does to `count` frames, one every 100 microseconds, while n3 sends `noise` to n2 and n1.
fn trace(set: &RuleSet, count: u8, noise: &[bool]) -> Vec<(Duration, Vec<u8>)> {
    let mut world = World::with(set);
    let begun = world.now;
    let mut seen = Vec::new();
    let step = Duration::from_micros(100);
    for index in 0..count {
        seen.extend(
            world.send(1, 2, &[1, index, 0, 0]).into_iter().map(|(_, payload)| (world.now - begun, payload)),
        );
        if noise.get(usize::from(index)) == Some(&true) {
            world.send(3, 2, &[3]);
            world.send(3, 1, &[3]);
        }
        seen.extend(world.pass(step).into_iter().map(|(_, payload)| (world.now - begun, payload)));
    }
    for _ in 0..1_000 {
        seen.extend(world.pass(step).into_iter().map(|(_, payload)| (world.now - begun, payload)));
    }
    seen.retain(|(_, payload)| payload.len() == 4);
    seen
}

prop_compose! {
    fn impairments()(
        delay in 0_u64..20, jitter in 0_u64..10, chances in prop::array::uniform4(0.0..=1.0_f64), rated: bool, burst: bool,
        distribution in prop::sample::select(vec![Distribution::Uniform, Distribution::Normal, Distribution::Pareto]),
    ) -> Impairment {
        let [loss, duplicate, reorder, corrupt] = chances;
        Impairment {
            delay: MS * delay as u32, jitter: MS * jitter as u32, loss, duplicate, reorder, corrupt,
            rate: rated.then_some(100_000), distribution, bursts: burst.then_some(Bursts { enter: 0.1, leave: 0.3, loss: 0.9 }),
            ..Impairment::default()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_link_meets_the_same_choices_whatever_others_do(
        impairment in impairments(), noise in prop::collection::vec(any::<bool>(), 50), seed: u64,
    ) {
        let links = [("n1", "n2"), ("n3", "n2"), ("n3", "n1")];
        let set = RuleSet { seed, ..rules("f", &links, &impairment) };
        let alone = RuleSet { seed, ..rules("f", &links[..1], &impairment) };
        prop_assert_eq!(trace(&set, 50, &noise), trace(&alone, 50, &[]));
    }

    #[test]
    fn jitter_alone_keeps_the_order_and_loses_nothing(delay in 0_u64..20, jitter in 0_u64..20, seed: u64) {
        let impairment =
            Impairment { delay: MS * delay as u32, jitter: MS * jitter as u32, ..Impairment::default() };
        let set = RuleSet { seed, ..rules("f", &[("n1", "n2")], &impairment) };
        let order: Vec<u8> = trace(&set, 100, &[]).iter().map(|(_, payload)| payload[1]).collect();
        prop_assert_eq!(order, (0..100).collect::<Vec<u8>>());
    }

    #[test]
    fn every_frame_is_delivered_or_counted(impairment in impairments(), seed: u64) {
        let mut world = World::with(&RuleSet { seed, ..rules("f", &[("n1", "n2")], &impairment) });
        let mut delivered: usize = (0..100).map(|index| world.send(1, 2, &[index; 30]).len()).sum();
        delivered += world.pass(5 * MS).len();
        let (released, counters) = world.remove("f");
        delivered += released.len();
        prop_assert_eq!(counters.seen, 100);
        prop_assert_eq!(delivered as u64, counters.seen + counters.duplicated - counters.dropped);
    }

    #[test]
    fn any_bytes_and_any_rule_are_survived(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..40),
        delay: Duration, jitter: Duration, rate: Option<u64>, queue_bytes: Option<u64>,
    ) {
        let impairment = Impairment { delay, jitter, rate, queue_bytes, corrupt: 1.0, duplicate: 1.0, ..Impairment::default() };
        let mut world = World::with(&rules("f", &[("n1", "n2"), ("n1", "n3")], &impairment));
        for mut bytes in frames {
            if let Some(first) = bytes.first_mut() {
                *first |= 1;
            }
            let mut out = Vec::new();
            world.fabric.enter(world.now, 0, &bytes, &mut out);
        }
        world.pass(Duration::from_secs(1));
        world.remove("f");
    }
}

#[test]
fn bursts_lose_many_frames_in_a_row_and_as_many_in_all_as_they_should() {
    let bursts = Some(Bursts { enter: 0.01, leave: 0.1, loss: 1.0 });
    let mut world =
        World::with(&rules("b", &[("n1", "n2")], &Impairment { bursts, ..Impairment::default() }));
    let lost: Vec<bool> = (0..20_000).map(|_| world.send(1, 2, b"x").is_empty()).collect();
    let (total, runs) = (
        lost.iter().filter(|lost| **lost).count(),
        lost.chunk_by(|one, other| one == other).filter(|run| run[0]).count(),
    );
    // A share of 1/11, in bursts of 10; seeded, so this never flickers.
    assert!((1_400..2_300).contains(&total), "{total}");
    assert!((7..14).contains(&(total / runs)), "{total} in {runs} bursts");
}

#[test]
fn a_flapping_link_is_down_and_up_in_turns_in_both_directions_at_once() {
    let flap = Some(Flap { down: 10 * MS, up: 20 * MS });
    let links = [("n1", "n2"), ("n2", "n1")];
    let mut world = World::with(&rules("flap", &links, &Impairment { flap, ..Impairment::default() }));
    let mut up = Vec::new();
    for _ in 0..3_000 {
        let there = !world.send(1, 2, b"x").is_empty();
        assert_eq!(there, !world.send(2, 1, b"x").is_empty());
        up.push(there);
        world.pass(MS);
    }
    assert!(!up[0], "it begins with being down");
    for run in up.chunk_by(|one, other| one == other).rev().skip(1) {
        let (shortest, longest) = if run[0] { (9, 31) } else { (4, 16) };
        assert!((shortest..=longest).contains(&run.len()), "{} ms", run.len());
    }
    let down = up.iter().filter(|up| !**up).count();
    assert!((800..1_200).contains(&down), "{down} of 3000 ms");
}

#[test]
fn delays_are_distributed_as_asked_for() {
    // Far apart, so that no frame waits for the one before it.
    let seen = |distribution| {
        let shape = Impairment { jitter: 100 * MS, distribution, ..delay(500 * MS) };
        let mut world = World::with(&rules("d", &[("n1", "n2")], &shape));
        let mut delays: Vec<f64> = (0..2_000)
            .map(|_| {
                world.send(1, 2, b"x");
                let due = world.fabric.next_due().expect("a held frame") - world.now;
                world.pass(Duration::from_secs(1_000));
                due.as_secs_f64()
            })
            .collect();
        delays.sort_by(f64::total_cmp);
        let mean = delays.iter().sum::<f64>() / 2_000.0;
        let spread = delays.iter().map(|delay| (delay - mean).powi(2)).sum::<f64>() / 2_000.0;
        (mean, spread.sqrt(), delays[0], delays[1_000], delays[1_999])
    };
    let near = |found: f64, wanted: f64| (found - wanted).abs() < 0.02;
    let (mean, spread, least, _, most) = seen(Distribution::Uniform);
    assert!(near(mean, 0.5) && near(spread, 0.1 / 3.0_f64.sqrt()) && least >= 0.4 && most <= 0.6);
    let (mean, spread, _, median, most) = seen(Distribution::Normal);
    assert!(
        near(mean, 0.5) && near(spread, 0.1) && near(median, 0.5) && most > 0.7,
        "{mean} {spread} {most}"
    );
    let (mean, spread, least, median, most) = seen(Distribution::Pareto);
    assert!(near(mean, 0.5) && spread < 0.2 && least > 0.44 && median < 0.49 && most > 1.0, "{mean} {most}");
}

#[test]
fn loss_is_close_to_what_was_asked_for() {
    let mut world =
        World::with(&rules("loss", &[("n1", "n2")], &Impairment { loss: 0.1, ..Impairment::default() }));
    let delivered: usize = (0..10_000).map(|_| world.send(1, 2, b"x").len()).sum();
    let counters = world.remove("loss").1;
    assert_eq!(counters.dropped as usize, 10_000 - delivered);
    // Seeded, so this never flickers; six standard deviations would be 180.
    assert!((820..1_180).contains(&counters.dropped), "{counters:?}");
}
