//! The TCP probe: a connection, and the first bytes the service sends. An open port alone says little;
//! a banner says that the service itself answers.

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

use super::{TcpProbe, excerpt};
use crate::guest::Dialer;

/// Connects once; the error says in words what was wrong.
pub(super) async fn check(probe: &TcpProbe, dialer: &dyn Dialer, deadline: Instant) -> Result<(), String> {
    let mut stream = dialer.dial(probe.port, deadline).await.map_err(|error| error.to_string())?;
    let Some(banner) = &probe.banner else { return Ok(()) };
    let wanted = banner.as_bytes();
    let mut found = Vec::with_capacity(wanted.len());
    while found.len() < wanted.len() && wanted.starts_with(&found) {
        let mut chunk = vec![0; wanted.len() - found.len()];
        let so_far = || excerpt(&String::from_utf8_lossy(&found));
        match timeout_at(deadline, stream.read(&mut chunk)).await {
            Err(_) => return Err(format!("sent `{}` and no more, expected `{banner}`", so_far())),
            Ok(Err(error)) => return Err(format!("connection lost before the banner: {error}")),
            Ok(Ok(0)) => return Err(format!("closed after `{}`, expected `{banner}`", so_far())),
            Ok(Ok(count)) => found.extend(chunk.into_iter().take(count)),
        }
    }
    match wanted == found {
        true => Ok(()),
        false => Err(format!("sent `{}`, expected `{banner}`", excerpt(&String::from_utf8_lossy(&found)))),
    }
}
