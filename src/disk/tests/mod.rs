//! The disk as its users see it.

mod cache;
pub(crate) mod client;
mod model;
mod server;
mod troubles;

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use self::client::{Client, READ};
use super::{Disk, Keeping, Layer, Serving};

/// A new disk of so many bytes on nothing.
fn disk(bytes: u64) -> (tempfile::TempDir, Arc<Disk>) {
    let folder = tempfile::tempdir().unwrap();
    let layer = Layer::create(&folder.path().join("layer"), bytes).unwrap();
    (folder, Arc::new(Disk::new(bytes, Vec::new(), layer, Keeping::Guest).unwrap()))
}

fn connect(disk: &Arc<Disk>) -> (Serving, Client<UnixStream>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let serving = disk.serve(ours).unwrap();
    let (client, size) = Client::connect(theirs).unwrap();
    assert_eq!(size, disk.size());
    (serving, client)
}

impl Client<UnixStream> {
    fn ask(&mut self, command: u16, offset: u64, length: u32, data: &[u8]) -> u32 {
        self.send(command, 77, offset, length, data).unwrap();
        let (handle, error) = self.answer().unwrap();
        assert_eq!(handle, 77);
        error
    }

    fn read(&mut self, offset: u64, length: u32) -> Result<Vec<u8>, u32> {
        use std::io::Read;
        match self.ask(READ, offset, length, &[]) {
            0 => {
                let mut data = vec![0; length as usize];
                self.stream.read_exact(&mut data).unwrap();
                Ok(data)
            }
            error => Err(error),
        }
    }
}
