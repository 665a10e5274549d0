//! The way in for fuzz targets: bytes on the control socket.

use tokio::io::AsyncWriteExt;

use super::control::{Connection, Reply, Request};

/// Survives `bytes`, as a client or a supervisor could send them.
pub fn on_the_control_socket(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.unwrap_or_else(|error| panic!("{error}"));
    runtime.block_on(async {
        let pair = || tokio::io::duplex(bytes.len() + 1);
        let ((mut one, asked), (mut other, answered)) = (pair(), pair());
        // There is room for all of it.
        let _ = (one.write_all(bytes).await, other.write_all(bytes).await);
        drop((one, other));
        let mut asked = Connection::new(asked);
        while let Ok(Some(request)) = asked.receive::<Request>().await {
            // What was understood is understood again when it is passed on.
            let again = serde_json::to_string(&request).map(|text| serde_json::from_str::<Request>(&text));
            assert!(matches!(again, Ok(Ok(_))), "{request:?}");
        }
        let mut answered = Connection::new(answered);
        while let Ok(Some(reply)) = answered.receive::<Reply>().await {
            drop(reply);
        }
    });
}
