use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;

/// Draws a number for a numbering that begins. Where the system's generator cannot
/// be read, it comes from the keys that the standard library draws for its maps.
pub(crate) fn draw() -> u64 {
    let mut b = [0; 8];
    match File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut b)) {
        Ok(()) => u64::from_le_bytes(b),
        Err(_) => RandomState::new().hash_one((std::process::id(), std::time::SystemTime::now())),
    }
}
