//! A reader's visit, over UDP and then over TCP, to a daemon on 127.0.0.1:8420.

use lectern_emit::{Emitter, Event, TcpOptions, UdpOptions};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8420".into());

    let emitter = Emitter::udp(&address, UdpOptions::new(1))?;
    emitter.open("/articles/42", "reader-9");
    emitter.read("/articles/42", "reader-9", 10_000);
    emitter.finish("/articles/42", "reader-9", 18_500);
    println!("udp: {:?}", emitter.close(Duration::from_secs(5)));

    let emitter = Emitter::tcp(&address, TcpOptions::new(1))?;
    emitter.add(&Event::read("/articles/42", "reader-9", 10_000).progress(75))?;
    emitter.share("/articles/42", "reader-9");
    println!("tcp: {:?}", emitter.close(Duration::from_secs(5)));
    if let Some(trouble) = emitter.trouble() {
        eprintln!("{trouble}");
    }
    Ok(())
}
