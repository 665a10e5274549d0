//! Publishing to two regions, killed at moments that nobody chose.

use std::thread;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::images::{account, home, run};
use crate::killed::{PUBLISH, clear, killed_when};
use crate::moto::{Moto, ovenproof_at};
use crate::proxy::{Fate, Proxy};

/// Pairs of regions that know nothing of each other, each with a home of its own: most of the time is waiting.
const LANES: [[&str; 2]; 5] = [
    ["eu-north-1", "us-west-2"],
    ["eu-west-1", "us-east-2"],
    ["eu-central-1", "ap-south-1"],
    ["eu-west-2", "us-west-1"],
    ["eu-west-3", "us-east-1"],
];
const KILLS: usize = 10;

#[test]
#[expect(clippy::print_stdout, reason = "with the seed the same moments come again")]
fn killed_at_fifty_random_moments_it_leaves_nothing_or_one_whole_ami() {
    let seed = std::env::var("OVENPROOF_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("OVENPROOF_TEST_SEED={seed}");
    let moto = Moto::start();
    thread::scope(|scope| {
        for (lane, regions) in LANES.iter().enumerate() {
            let random = ChaCha8Rng::seed_from_u64(seed.wrapping_add(lane as u64));
            let moto = &moto;
            scope.spawn(move || kill_often(moto, *regions, random));
        }
    });
}

fn kill_often(moto: &Moto, regions: [&str; 2], mut random: ChaCha8Rng) {
    let (home, _) = home(6);
    let arguments = [&PUBLISH[..], &["--region", regions[0], "--region", regions[1]]].concat();
    let proxy = Proxy::before(&moto.url, |_, _| Fate::Pass);
    let whole = ovenproof_at(&proxy.url, home.path()).args(&arguments).output().expect("the tool starts");
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));
    let calls = proxy.calls().len();
    regions.iter().for_each(|region| clear(moto, region));

    let mut kills = 0;
    while kills < KILLS {
        let at = random.random_range(0..calls);
        let fate = [Fate::LoseCall, Fate::LoseAnswer, Fate::PassAndTell][random.random_range(0..3)];
        let killed =
            killed_when(moto, home.path(), &arguments, move |number, _| (number >= at).then_some(fate));
        kills += usize::from(killed);
        run(moto, home.path(), &["gc", "--ec2"]).exits(0);
        for region in regions {
            let (images, snapshots) = account(moto, region);
            let whole =
                images.iter().all(|ami| ami.tags().iter().all(|tag| tag.key() != Some("ovenproof:expires")));
            let seen = format!("{region}, killed at call {at}, {fate:?}: {images:#?} {snapshots:#?}");
            assert!(whole && images.len() <= 1, "{seen}");
            let under: Vec<_> = images.iter().flat_map(|ami| ami.block_device_mappings()).collect();
            let under: Vec<_> = under.iter().filter_map(|device| device.ebs()?.snapshot_id()).collect();
            let there: Vec<_> = snapshots.iter().filter_map(|snapshot| snapshot.snapshot_id()).collect();
            assert_eq!(under, there, "{seen}");
        }
        // The next one finds the first AMI now and then, and is killed while it copies.
        if !killed || random.random_bool(0.5) {
            regions.iter().for_each(|region| clear(moto, region));
        }
    }
}
