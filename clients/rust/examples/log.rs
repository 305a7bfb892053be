//! Sends the events on its standard input: one a line, parted by tabs, of Unix
//! milliseconds, kind, text of the content, text of the reader.
//!
//!     log udp|tcp HOST:PORT STREAM

use std::io::{self, BufRead};
use std::time::Duration;

use lectern_emit::{AddError, Attribute, Emitter, Event, Kind, TcpOptions, UdpOptions};

/// The event of a line, and the text of its content.
fn parse(line: &str) -> Option<(Event, &str)> {
    let mut words = line.split('\t');
    let time = words.next()?.parse().ok()?;
    let kind = match words.next()? {
        "open" => Kind::Open,
        "read" => Kind::Read,
        "finish" => Kind::Finish,
        "save" => Kind::Save,
        "share" => Kind::Share,
        "impression" => Kind::Impression,
        "click" => Kind::Click,
        _ => return None,
    };
    let (content, user) = (words.next()?, words.next()?);
    Some((Event::new(kind, content, user).at(time), content))
}

/// Says what a content is called, and what every client's log says of it.
fn named(emitter: &Emitter, content: &str) -> Result<(), AddError> {
    emitter.name(content)?;
    let title = format!("Title of {content}");
    for attribute in [
        Attribute::Title(&title),
        Attribute::Section("Log"),
        Attribute::Author("A. Writer"),
        Attribute::Published(Some(1_767_225_600_000)),
        Attribute::Words(Some(1200)),
    ] {
        emitter.describe(content, attribute)?;
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [way, address, stream] = args.as_slice() else {
        return Err(io::Error::other("usage: log udp|tcp HOST:PORT STREAM"));
    };
    let stream = stream.parse().map_err(io::Error::other)?;
    let emitter = match way.as_str() {
        "udp" => Emitter::udp(address, UdpOptions::new(stream))?,
        "tcp" => Emitter::tcp(address, TcpOptions::new(stream))?,
        _ => return Err(io::Error::other(format!("{way} is neither udp nor tcp"))),
    };
    for (i, line) in io::stdin().lock().lines().enumerate() {
        let line = line?;
        let (event, content) =
            parse(&line).ok_or_else(|| io::Error::other(format!("line {}: {line}", i + 1)))?;
        emitter.add(&event).map_err(io::Error::other)?;
        named(&emitter, content).map_err(io::Error::other)?;
        if way == "udp" && (i + 1) % 200 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let s = emitter.close(Duration::from_secs(60));
    println!(
        "ok added={} sent={} acked={} buffered={} queue={} socket={} closed={} refused={} unsure={}",
        s.added, s.sent, s.acked, s.buffered, s.queue, s.socket, s.closed, s.refused, s.unsure
    );
    Ok(())
}
