//! How much longer an image takes to upload than to be read and hashed, which is the least that EBS asks for: SHA-256
//! of each block of 512 KiB. Prints a table; `--json FILE` writes the same as JSON. Numbers to compare, never a test.
//!
//! The tool itself publishes to a small endpoint in this process, which takes blocks and forgets them. Measured is
//! from the request that starts the snapshot to the one that completes it: what comes before and after is waiting for
//! EC2. Meant for the dev profile, in which what hashes and sends is optimised and our own code is not.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a benchmark prints, and one that cannot run has nothing better to do than to say where"
)]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ovenproof::home::Home;
use ovenproof::store::{ImageId, Manifest, Store};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const BLOCK: u64 = 512 << 10;
const DISK: u64 = 2 << 30;
/// 400 MB.
const BLOCKS: u64 = 763;
/// They lie apart, with holes between.
const STRIDE: u64 = DISK / BLOCK / BLOCKS;
const ROUNDS: usize = 3;
const BAR: f64 = 1.5;

/// What the endpoint saw of one upload.
#[derive(Default)]
struct Seen {
    blocks: u64,
    bytes: u64,
    started: Option<Instant>,
    completed: Option<Instant>,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let json_file = arguments.find(|argument| argument == "--json").and_then(|_| arguments.next());
    let folder = tempfile::tempdir().expect("a folder");
    let disk = image(folder.path());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (mut read, mut upload) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        read = read.min(read_and_hash(&disk));
        upload = upload.min(publish(&runtime, folder.path()));
    }
    let ratio = upload.as_secs_f64() / read.as_secs_f64();
    let profile = if cfg!(debug_assertions) { "dev" } else { "optimised" };
    println!("400 MB in an image of 2 GiB, best of {ROUNDS}, {profile} profile");
    println!("{:>16} {:>10} {:>8} {:>8}", "read and hash", "upload", "ratio", "bar");
    println!("{:>14.2} s {:>8.2} s {ratio:>7.2}x {BAR:>7}x", read.as_secs_f64(), upload.as_secs_f64());
    if let Some(file) = json_file {
        let measured = json!({
            "profile": profile, "bytes": BLOCKS * BLOCK, "read_and_hash_s": read.as_secs_f64(),
            "upload_s": upload.as_secs_f64(), "ratio": ratio, "bar": BAR,
        });
        fs::write(file, format!("{measured:#}\n")).expect("the JSON file");
    }
}

/// An image `sparse` in a store below `home`; gives its disk.
fn image(home: &Path) -> std::path::PathBuf {
    let id = ImageId::from_hash(blake3::hash(b"sparse"));
    let store = Store::open(&Home::at(home)).expect("a store");
    let dir = store.root().join("images").join(id.as_str());
    fs::create_dir_all(&dir).expect("a folder");
    let disk = dir.join("disk.raw");
    let file = File::create(&disk).expect("a disk");
    file.set_len(DISK).expect("a length");
    for number in 0..BLOCKS {
        let block = vec![u8::try_from(number % 255).expect("a byte") + 1; BLOCK as usize];
        file.write_all_at(&block, number * STRIDE * BLOCK).expect("room for a disk");
    }
    file.sync_all().expect("the host's disk");
    File::create(dir.join("vmlinuz")).expect("a kernel");
    let mut manifest = Manifest::blank(id.clone(), "sparse");
    (manifest.disk_bytes, manifest.stored_bytes) = (DISK, BLOCKS * BLOCK);
    fs::write(dir.join("manifest.json"), serde_json::to_vec(&manifest).expect("a manifest"))
        .expect("written");
    let name = store.root().join("names/sparse");
    fs::create_dir_all(&name).expect("a folder");
    fs::write(name.join("latest"), id.as_str()).expect("written");
    disk
}

/// The least that can be done: one thread that knows where the data is.
fn read_and_hash(disk: &Path) -> Duration {
    let began = Instant::now();
    let file = File::open(disk).expect("the disk");
    let (mut block, mut all) = (vec![0; BLOCK as usize], Sha256::new());
    for number in 0..BLOCKS {
        file.read_exact_at(&mut block, number * STRIDE * BLOCK).expect("a block");
        all.update(Sha256::digest(&block));
    }
    std::hint::black_box(all.finalize());
    began.elapsed()
}

/// Publishes once to an endpoint that has never seen the image.
fn publish(runtime: &tokio::runtime::Runtime, home: &Path) -> Duration {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let seen = Arc::new(Mutex::new(Seen::default()));
    let shared = seen.clone();
    let serving = runtime.spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(serve(connection, shared.clone()));
        }
    });
    let said = Command::new(env!("CARGO_BIN_EXE_ovenproof"))
        .args(["images", "publish", "sparse", "--on", "ec2", "--region", "eu-north-1"])
        .env("OVENPROOF_HOME", home)
        .env("AWS_ENDPOINT_URL", url)
        .env("AWS_ACCESS_KEY_ID", "AKIAFAKEFAKEFAKEFAKE")
        .env("AWS_SECRET_ACCESS_KEY", "fake")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .output()
        .expect("the tool starts");
    serving.abort();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let seen = seen.lock().expect("what was seen");
    assert_eq!((seen.blocks, seen.bytes), (BLOCKS, BLOCKS * BLOCK), "all of it went up");
    seen.completed.expect("completed") - seen.started.expect("started")
}

/// Answers the calls of one connection until it is closed.
async fn serve(connection: TcpStream, seen: Arc<Mutex<Seen>>) -> std::io::Result<()> {
    let mut connection = BufReader::with_capacity(256 << 10, connection);
    let mut line = String::new();
    while connection.read_line(&mut line).await? > 0 {
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut length = 0;
        loop {
            line.clear();
            connection.read_line(&mut line).await?;
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().expect("a length");
                }
                Some(_) => {}
                None => break,
            }
        }
        line.clear();
        let mut content = (&mut connection).take(length);
        let mut body = Vec::new();
        if path.contains("/blocks/") {
            tokio::io::copy_buf(&mut content, &mut tokio::io::sink()).await?;
        } else {
            content.read_to_end(&mut body).await?;
        }
        let text =
            answer(&path, &String::from_utf8_lossy(&body), length, &mut seen.lock().expect("what was seen"));
        let kind = if path == "/" { "text/xml" } else { "application/json" };
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", text.len());
        connection.get_mut().write_all(format!("{head}{text}").as_bytes()).await?;
    }
    Ok(())
}

/// What EBS and EC2 would say; of the AMI only that it is there once it is registered.
fn answer(path: &str, body: &str, length: u64, seen: &mut Seen) -> String {
    if path == "/snapshots" {
        seen.started = Some(Instant::now());
        return json!({ "SnapshotId": "snap-1", "Status": "pending", "BlockSize": BLOCK }).to_string();
    }
    if path.starts_with("/snapshots/completion/") {
        seen.completed = Some(Instant::now());
        return json!({ "Status": "completed" }).to_string();
    }
    if path != "/" {
        seen.blocks += 1;
        seen.bytes += length;
        return "{}".to_owned();
    }
    let action = body.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or_default();
    let inside = match action {
        "DescribeSnapshots" => {
            "<snapshotSet><item><snapshotId>snap-1</snapshotId><status>completed</status></item></snapshotSet>"
        }
        "RegisterImage" => "<imageId>ami-1</imageId>",
        "DescribeImages" if body.contains("ImageId.1=ami-1") => {
            "<imagesSet><item><imageId>ami-1</imageId><imageState>available</imageState></item></imagesSet>"
        }
        "DescribeImages" => "<imagesSet/>",
        _ => "<return>true</return>",
    };
    format!("<{action}Response>{inside}</{action}Response>")
}
