//! Connections of the node `client`, against a TCP stack behind a port.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::node::{PATIENCE, Site, address, rules};
use super::server::{BUFFER, DEAF, ECHO, HELLO, RESET, Server};
use crate::guest::{DialError, Stream};
use crate::network::{Impairment, Switch};

fn limit() -> Instant {
    Instant::now() + PATIENCE
}

async fn connect(switch: &Switch, port: u16) -> Box<dyn Stream> {
    switch.dial(address(1), port, limit()).await.expect("a connection")
}

fn both_ways(fault: &str, impairment: &Impairment) -> crate::network::RuleSet {
    rules(fault, &[("client", "n1"), ("n1", "client")], impairment)
}

/// Sends `bytes` to the echo service and returns what came back, reading and writing at the same time.
async fn echo(stream: Box<dyn Stream>, bytes: Vec<u8>) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let sending = tokio::spawn(async move {
        writer.write_all(&bytes).await.expect("an open connection");
        writer.shutdown().await.expect("an open connection");
    });
    let mut back = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut back));
    reading.await.expect("an end in time").expect("an open connection");
    sending.await.expect("a writer");
    back
}

fn pattern(length: u32) -> Vec<u8> {
    (0..length).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[tokio::test]
async fn a_port_where_nothing_listens_refuses() {
    let site = Site::new(1);
    let (switch, _server) = (site.start(), Server::start(site.port(1)));
    assert_eq!(switch.dial(address(1), 1, limit()).await.err(), Some(DialError::Refused));
}

#[tokio::test]
async fn an_address_of_no_port_is_unreachable() {
    let site = Site::new(1);
    let switch = site.start();
    let nowhere = Ipv4Addr::new(10, 77, 0, 99);
    assert_eq!(switch.dial(nowhere, 80, limit()).await.err(), Some(DialError::Unreachable));
}

#[tokio::test]
async fn a_cut_node_times_out_at_the_deadline_and_answers_after_the_heal() {
    let site = Site::new(1);
    let (switch, _server) = (site.start(), Server::start(site.port(1)));
    let cut = Impairment { cut: true, ..Impairment::default() };
    switch.install(rules("cut", &[("n1", "client")], &cut)).expect("rules");

    let asked = Duration::from_millis(300);
    let begun = Instant::now();
    assert_eq!(switch.dial(address(1), ECHO, begun + asked).await.err(), Some(DialError::TimedOut));
    assert!(begun.elapsed() >= asked);

    let counters = switch.remove("cut").expect("counters");
    assert!(counters.dropped >= 1, "the answer was dropped: {counters:?}");
    assert_eq!(echo(connect(&switch, ECHO).await, b"again".to_vec()).await, b"again");
}

#[tokio::test]
async fn a_node_that_is_not_there_times_out() {
    let site = Site::new(1);
    let switch = site.start();
    let deadline = Instant::now() + Duration::from_millis(200);
    assert_eq!(switch.dial(address(1), ECHO, deadline).await.err(), Some(DialError::TimedOut));
    assert!(switch.stats("n1").expect("stats").absent >= 1);
}

#[tokio::test]
async fn a_mebibyte_comes_back_intact_over_a_bad_link() {
    let site = Site::new(1);
    let (switch, _server) = (site.start(), Server::start(site.port(1)));
    let bad = Impairment {
        delay: Duration::from_millis(2),
        jitter: Duration::from_millis(1),
        loss: 0.005,
        duplicate: 0.01,
        reorder: 0.01,
        corrupt: 0.002,
        ..Impairment::default()
    };
    switch.install(both_ways("bad", &bad)).expect("rules");
    let bytes = pattern(1 << 20);
    assert!(echo(connect(&switch, ECHO).await, bytes.clone()).await == bytes);

    let counters = switch.remove("bad").expect("counters");
    assert!(counters.seen > 1_000, "{counters:?}");
    assert!(counters.dropped > 0 && counters.delayed > 0 && counters.duplicated > 0, "{counters:?}");
}

#[tokio::test]
async fn a_reset_by_the_node_is_an_error_and_not_an_end() {
    let site = Site::new(1);
    let (switch, _server) = (site.start(), Server::start(site.port(1)));
    let mut stream = connect(&switch, RESET).await;
    stream.write_all(b"x").await.expect("an open connection");
    let error = stream.read(&mut [0; 16]).await.expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let error = stream.write(b"x").await.expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn what_the_node_sent_before_it_closed_is_read_to_its_end() {
    let site = Site::new(1);
    let (switch, _server) = (site.start(), Server::start(site.port(1)));
    let mut text = String::new();
    connect(&switch, HELLO).await.read_to_string(&mut text).await.expect("an end");
    assert_eq!(text, "hello");
}

#[tokio::test]
async fn a_node_that_does_not_read_stops_the_writer_and_nobody_else() {
    let site = Site::new(1);
    let (switch, _server) = (site.start(), Server::start(site.port(1)));
    let mut deaf = connect(&switch, DEAF).await;
    let chunk = vec![0; 16 << 10];
    let mut taken = 0;
    // Full once a write is not done while another connection did a whole exchange.
    while let Some(count) = tokio::select! {
        biased;
        count = deaf.write(&chunk) => Some(count.expect("an open connection")),
        back = async { echo(connect(&switch, ECHO).await, b"meanwhile".to_vec()).await } => {
            assert_eq!(back, b"meanwhile");
            None
        }
    } {
        taken += count;
        assert!(taken <= 2 * BUFFER, "what the two ends buffer is all that is taken");
    }
    assert!(taken >= BUFFER, "{taken}");
}

#[tokio::test]
async fn hundreds_of_connections_in_sequence_and_dozens_at_once() {
    let site = Site::new(1);
    let (switch, _server) = (site.start(), Server::start(site.port(1)));
    for round in 0..300_u32 {
        let bytes = round.to_be_bytes().to_vec();
        assert_eq!(echo(connect(&switch, ECHO).await, bytes.clone()).await, bytes);
    }
    let mut exchanges = tokio::task::JoinSet::new();
    for index in 0..32_u32 {
        let switch = switch.clone();
        exchanges.spawn(async move {
            let bytes = pattern(10_000 + index);
            assert!(echo(connect(&switch, ECHO).await, bytes.clone()).await == bytes);
        });
    }
    exchanges.join_all().await;
}

#[tokio::test]
async fn connections_end_with_the_switch() {
    let site = Site::new(1);
    let (switch, _server) = (site.start(), Server::start(site.port(1)));
    let mut stream = connect(&switch, ECHO).await;
    let reading = tokio::spawn(async move { stream.read(&mut [0; 16]).await });
    drop(switch);
    let error = reading.await.expect("a reader").expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(!site.port(1).socket.exists(), "the switch takes its sockets with it");
}
