//! `ovenproof cp`: a file to or from a node.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::Instant;

use super::{Failure, Printer, fleets};
use crate::units::Size;

/// Copy a file to a server or from it.
#[derive(Debug, Args)]
pub struct CpArgs {
    /// A file here, or NODE:/PATH, or FLEET/NODE:/PATH.
    from: String,
    /// The same; exactly one of the two is on a server.
    to: String,
}

/// For the whole file: slow guests take a megabyte a second.
const WITHIN: Duration = Duration::from_secs(600);

pub fn run(args: &CpArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let deadline = Instant::now() + WITHIN;
    let (reference, remote, upload) = match (on_server(&args.from), on_server(&args.to)) {
        (None, Some((node, path))) => (node, path, true),
        (Some((node, path)), None) => (node, path, false),
        _ => {
            return Err(Failure::user("exactly one of the two must be on a server")
                .hint("a path on a server is written NODE:/PATH"));
        }
    };
    let provider = fleets::open(printer)?;
    fleets::block_on(async {
        let (fleet, node) = fleets::find_node(&provider, reference).await?;
        let session = fleet.session(&node);
        let failed = |error| Failure::infrastructure(format!("{node}: {error}"));
        let bytes = if upload {
            let unreadable = |error| Failure::user(format!("{}: {error}", args.from));
            let mode = fs::metadata(&args.from).map_err(unreadable)?.permissions().mode() & 0o7777;
            let bytes = fs::read(&args.from).map_err(unreadable)?;
            session.put(remote, &bytes, mode, deadline).await.map_err(failed)?;
            bytes.len()
        } else {
            let bytes = session.get(remote, deadline).await.map_err(failed)?;
            fs::write(&args.to, &bytes).map_err(|error| Failure::user(format!("{}: {error}", args.to)))?;
            bytes.len()
        };
        printer.line(format!("copied {}", Size(bytes as u64)));
        printer.json(&json!({ "node": node, "bytes": bytes }));
        Ok(ExitCode::SUCCESS)
    })
}

/// `NODE:/PATH` taken apart; a path here that has such a form can be written with `./` before it.
fn on_server(text: &str) -> Option<(&str, &str)> {
    let (node, path) = text.split_once(':')?;
    (path.starts_with('/') && !node.starts_with(['.', '/'])).then_some((node, path))
}

#[cfg(test)]
mod tests {
    use super::on_server;

    #[test]
    fn only_a_node_and_an_absolute_path_mean_a_server() {
        assert_eq!(on_server("shop/etcd-1:/etc/x"), Some(("shop/etcd-1", "/etc/x")));
        assert_eq!(on_server("etcd-1:relative"), None);
        assert_eq!(on_server("./odd:/name"), None);
        assert_eq!(on_server("/tmp/odd:/name"), None);
    }
}
