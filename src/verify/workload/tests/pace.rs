//! When operations are due and on which keys, on a clock that the test counts itself.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::verify::workload::run::Pace;

/// When each client's operations begin in one minute if each of them takes `takes`, in microseconds since the
/// workload began.
fn one_minute(settings: &str, takes: Duration) -> Vec<Vec<u64>> {
    let text = format!("kind: set\nclient: {{ redis: {{ port: 1 }} }}\n{settings}\n");
    let spec = load(&text).unwrap_or_else(|bad| panic!("{bad}")).spec;
    let (began, minute) = (Instant::now(), Duration::from_secs(60));
    let client = |number: u16| {
        let mut pace = Pace::new(&spec, number, Seed(7).stream(&format!("client {number}")), began);
        let (mut now, mut starts) = (began, Vec::new());
        loop {
            let due = pace.next(now, spec.think.unwrap_or_default().0).max(now);
            if due >= began + minute {
                return starts;
            }
            starts.push((due - began).as_micros() as u64);
            now = due + takes;
        }
    };
    (0..spec.clients.get()).map(client).collect()
}

fn gaps(starts: &[u64]) -> impl Iterator<Item = u64> {
    starts.windows(2).map(|pair| pair[1] - pair[0])
}

#[test]
fn the_rate_is_that_of_all_clients_together() {
    let done = one_minute("clients: 4\nrate: 20/s", Duration::from_millis(10));
    assert!(done.iter().all(|starts| (299..=300).contains(&starts.len())));
    for (number, starts) in done.iter().enumerate() {
        // One operation in each turn of 200 ms, in the first half of it; the turns of the clients are spread.
        for (turn, start) in starts.iter().enumerate() {
            let begins = turn as u64 * 200_000 + number as u64 * 50_000;
            assert!((begins..begins + 100_000).contains(start), "client {number}, turn {turn}: {start} us");
        }
        // Not in step either.
        assert!(gaps(starts).min() < Some(150_000) && gaps(starts).max() > Some(250_000));
    }
}

#[test]
fn turns_that_a_slow_service_costs_are_not_made_up_for() {
    let slow = one_minute("clients: 1\nrate: 10/s", Duration::from_secs(1));
    // One at a time: not ten a second but one.
    assert!((59..=60).contains(&slow[0].len()), "{slow:?}");
    // Nor does it hurry afterwards.
    let text = "kind: set\nclient: { redis: { port: 1 } }\nclients: 1\nrate: 10/s\n";
    let (spec, began) = (load(text).unwrap().spec, Instant::now());
    let mut pace = Pace::new(&spec, 0, Seed(7).stream("client 0"), began);
    let mut now = pace.next(began, Duration::ZERO) + Duration::from_secs(30);
    let mut starts = Vec::new();
    for _ in 0..20 {
        now = pace.next(now, Duration::ZERO).max(now);
        starts.push((now - began).as_micros() as u64);
    }
    assert!(starts[19] - starts[0] > 1_700_000, "{starts:?}");
}

#[test]
fn a_client_rests_after_every_answer() {
    let done = one_minute("clients: 2\nrate: 1000/s\nthink: 500ms", Duration::from_millis(100));
    for starts in &done {
        assert!(gaps(starts).all(|gap| gap == 600_000), "{starts:?}");
        assert!(starts[0] >= 500_000);
    }
    // Where the rate is slower, it is the rate that counts.
    let done = one_minute("clients: 1\nrate: 1/s\nthink: 500ms", Duration::from_millis(1));
    assert!((59..=60).contains(&done[0].len()), "{done:?}");
}

#[test]
fn keys_are_used_evenly_or_the_first_ones_most() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut shares = |spread: Spread| {
        let mut drawn = [0_usize; 8];
        for _ in 0..80_000 {
            drawn[spread.draw(8, &mut rng)] += 1;
        }
        drawn
    };
    let even = shares(Spread::Even);
    assert!(even.iter().all(|some| (9_500..=10_500).contains(some)), "{even:?}");
    let skewed = shares(Spread::Skewed);
    assert!((39_000..=41_000).contains(&skewed[0]), "half of them to the first eighth: {skewed:?}");
    assert!(skewed.iter().all(|some| *some > 1_000), "{skewed:?}");
    for spread in [Spread::Even, Spread::Skewed] {
        assert_eq!(spread.draw(1, &mut rng), 0);
    }
}

#[test]
fn a_workload_spreads_its_keys_as_it_is_told_and_a_seed_gives_the_same_again() {
    let asked = |spread: &str| {
        let settings = format!("keys: 8\nops_per_key: 100000\nspread: {spread}");
        let workload = load(&format!("kind: set\nclient: {{ redis: {{ port: 1 }} }}\n{settings}\n")).unwrap();
        let mut generator = workload.spec.kind.kind().generator(workload.setting());
        let mut rng = Seed(7).stream("operations");
        let mut next = || generator.next(0, &mut rng).unwrap();
        (0..8_000)
            .map(|_| next())
            .map(|ask| (ask.key.clone(), ask.f().to_owned(), ask.input))
            .collect::<Vec<_>>()
    };
    let first = |spread: &str| asked(spread).iter().filter(|(key, ..)| key == "set-0-0").count();
    assert!((900..=1_100).contains(&first("even")), "{}", first("even"));
    assert!((3_800..=4_200).contains(&first("skewed")), "{}", first("skewed"));
    assert_eq!(asked("skewed"), asked("skewed"));
}
