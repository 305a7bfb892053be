//! The driver for `lectern conform`: wire/SPEC.md, section 14.

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lectern_emit::engine::{Clock, Datagrams, Dial, Engine, Tcp, Udp};
use lectern_emit::{AddError, Attribute, Event, Kind, TcpOptions, UdpOptions};

/// What the commands change and the emitter asks for.
struct World {
    clock: AtomicU64,
    jam: AtomicU64,
    names: Mutex<HashMap<String, String>>,
}

#[derive(Clone)]
struct Shared(Arc<World>);

impl Clock for Shared {
    fn wall(&self) -> u64 {
        self.0.clock.load(Ordering::Relaxed)
    }
    fn now(&self) -> u64 {
        self.wall()
    }
}

impl Shared {
    /// The address with a name of the dialogue resolved.
    fn resolve(&self, address: &str) -> io::Result<String> {
        let (host, port) = address
            .rsplit_once(':')
            .ok_or(io::ErrorKind::InvalidInput)?;
        let names = self.0.names.lock().unwrap();
        match names.get(host) {
            Some(to) => Ok(format!("{to}:{port}")),
            None if host.ends_with(".test") => Err(io::ErrorKind::NotFound.into()),
            None => Ok(address.into()),
        }
    }
}

/// Makes a socket as soon as it is asked for: on the loopback interface that takes no
/// time.
struct Now<S> {
    shared: Shared,
    address: String,
    make: fn(&Shared, &str) -> io::Result<S>,
}

impl<S: Send> Dial for Now<S> {
    type Socket = S;
    fn start(&mut self) {}
    fn poll(&mut self) -> Option<io::Result<S>> {
        let made = self.shared.resolve(&self.address);
        Some(made.and_then(|to| (self.make)(&self.shared, &to)))
    }
}

/// A socket that the kernel takes nothing from while it is jammed.
struct Jammed(UdpSocket, Shared);

impl Datagrams for Jammed {
    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        let jam = &self.1 .0.jam;
        if jam
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
            .is_ok()
        {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Datagrams::send(&mut self.0, datagram)
    }
}

fn udp(shared: &Shared, to: &str) -> io::Result<Jammed> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(to)?;
    socket.set_nonblocking(true)?;
    Ok(Jammed(socket, shared.clone()))
}

fn tcp(_: &Shared, to: &str) -> io::Result<TcpStream> {
    let to = to.parse().map_err(io::Error::other)?;
    let stream = TcpStream::connect_timeout(&to, Duration::from_secs(10))?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

struct Driver {
    shared: Shared,
    engine: Option<Box<dyn Engine>>,
}

type Answer = Result<String, String>;

fn number(words: &HashMap<&str, &str>, key: &str) -> Result<Option<u64>, String> {
    let parse = |v: &&str| {
        v.parse()
            .map_err(|_| format!("error {key}={v} is no number"))
    };
    words.get(key).map(parse).transpose()
}

/// The answer to a name or an attribute.
fn said(result: Result<(), AddError>) -> Result<String, String> {
    match result {
        Ok(()) => Ok("ok".into()),
        Err(AddError::Closed) => Err("no closed".into()),
        Err(AddError::Invalid(_)) => Err("no invalid".into()),
    }
}

fn unhex(hex: &str) -> Result<Vec<u8>, String> {
    (0..hex.len() / 2)
        .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16))
        .collect::<Result<_, _>>()
        .map_err(|_| "error no hex".into())
}

/// The options of `dial` that seal.
#[cfg(feature = "seal")]
fn seal<'a>(
    words: &HashMap<&str, &'a str>,
) -> Result<Option<(lectern_emit::Key, &'a str)>, String> {
    match (words.get("key"), words.get("audience")) {
        (None, None) => Ok(None),
        (Some(key), Some(audience)) => {
            let key = lectern_emit::Key::parse(key).ok_or("no invalid")?;
            Ok(Some((key, audience)))
        }
        _ => Err("no invalid".into()),
    }
}

impl Driver {
    fn answer(&mut self, line: &str) -> Answer {
        let words: Vec<&str> = line.split(' ').collect();
        let pairs = words.iter().filter_map(|w| w.split_once('=')).collect();
        let word = |i: usize| {
            words
                .get(i)
                .copied()
                .ok_or(format!("error {line} lacks a word"))
        };
        let integer = |i: usize| word(i)?.parse::<u64>().map_err(|_| format!("error {line}"));
        match words[0] {
            "hello" => Ok(format!(
                "ok client=rust/{} has=udp,tcp,resolve,jam,names,attributes{}",
                env!("CARGO_PKG_VERSION"),
                if cfg!(feature = "seal") {
                    ",sealed"
                } else {
                    ""
                }
            )),
            "resolve" => {
                self.shared
                    .0
                    .names
                    .lock()
                    .unwrap()
                    .insert(word(1)?.into(), word(2)?.into());
                Ok("ok".into())
            }
            "dial" => self.dial(word(1)?, word(2)?, &pairs),
            "add" => self.add(word(1)?, integer(2)?, integer(3)?, &pairs),
            "name" => {
                let text = unhex(words.get(1).copied().unwrap_or(""))?;
                let text = String::from_utf8(text).map_err(|_| "no invalid")?;
                said(self.engine.as_mut().ok_or("no closed")?.name(&text))
            }
            "describe" => {
                let text = unhex(words.get(3).copied().unwrap_or(""))?;
                let text = String::from_utf8(text).map_err(|_| "no invalid")?;
                let number = match text.as_str() {
                    "" => Ok(None),
                    text => text.parse().map(Some).map_err(|_| "no invalid"),
                };
                let attribute = match word(2)? {
                    "title" => Attribute::Title(&text),
                    "section" => Attribute::Section(&text),
                    "author" => Attribute::Author(&text),
                    "published" => Attribute::Published(number?),
                    _ => Attribute::Words(number?),
                };
                let engine = self.engine.as_mut().ok_or("no closed")?;
                said(engine.describe(integer(1)?.into(), attribute))
            }
            "flush" => {
                self.open()?.flush();
                Ok("ok".into())
            }
            "poll" => Ok("ok".into()),
            "clock" => {
                self.shared
                    .0
                    .clock
                    .fetch_add(integer(1)?, Ordering::Relaxed);
                self.quiet();
                Ok(if self.engine.as_ref().is_some_and(|e| e.closed()) {
                    "ok closed"
                } else {
                    "ok"
                }
                .into())
            }
            "stats" => Ok(self.stats()),
            "close" => {
                let patience = integer(1)?;
                self.open()?.close(patience);
                self.quiet();
                Ok(if self.open().is_err() {
                    "ok closed"
                } else {
                    "ok closing"
                }
                .into())
            }
            #[cfg(feature = "seal")]
            "key" => {
                let key = lectern_emit::Key::parse(word(1)?).ok_or("no invalid")?;
                self.open()?.key(&key);
                Ok("ok".into())
            }
            "jam" => {
                self.shared.0.jam.store(integer(1)?, Ordering::Relaxed);
                Ok("ok".into())
            }
            "hash" => {
                let bytes = unhex(words.get(1).copied().unwrap_or(""))?;
                Ok(format!("ok id={}", lectern_emit::id_bytes(&bytes)))
            }
            _ => Err(format!("error unknown command: {line}")),
        }
    }

    /// The emitter, if it is not closed.
    fn open(&mut self) -> Result<&mut Box<dyn Engine>, String> {
        self.engine
            .as_mut()
            .filter(|e| !e.closed())
            .ok_or("no closed".into())
    }

    /// Lets the emitter do all that needs no time.
    fn quiet(&mut self) {
        let Some(e) = &mut self.engine else { return };
        e.step();
        for _ in 0..100_000 {
            if e.closed() || e.due() > e.now() {
                return;
            }
            e.step();
        }
    }

    fn dial(&mut self, way: &str, address: &str, words: &HashMap<&str, &str>) -> Answer {
        let shared = &self.shared;
        let invalid = |e: io::Error| {
            if e.kind() == io::ErrorKind::InvalidInput {
                "no invalid".into()
            } else {
                format!("error {e}")
            }
        };
        let stream = number(words, "stream")?
            .and_then(|n| n.try_into().ok())
            .ok_or("no invalid")?;
        let engine: Box<dyn Engine> = if way == "udp" {
            let mut o = UdpOptions::new(stream);
            o.flush_age = number(words, "flush")?.unwrap_or(o.flush_age);
            o.datagram_size = number(words, "datagram")?.map_or(o.datagram_size, |n| n as usize);
            o.socket_age = number(words, "age")?.unwrap_or(o.socket_age);
            #[cfg(feature = "seal")]
            if let Some((key, audience)) = seal(words)? {
                o = o.sealed(key, audience);
            }
            o.check().map_err(invalid)?;
            let first = shared
                .resolve(address)
                .and_then(|to| udp(shared, &to))
                .map_err(|e| format!("error {e}"))?;
            let dial = Now {
                shared: shared.clone(),
                address: address.into(),
                make: udp,
            };
            Box::new(Udp::new(o, first, dial, shared.clone()).map_err(invalid)?)
        } else {
            let mut o = TcpOptions::new(stream);
            o.flush_age = number(words, "flush")?.unwrap_or(o.flush_age);
            o.frame_size = number(words, "frame")?.map_or(o.frame_size, |n| n as usize);
            o.buffer_size = number(words, "buffer")?.map_or(o.buffer_size, |n| n as usize);
            #[cfg(feature = "seal")]
            if let Some((key, audience)) = seal(words)? {
                o = o.sealed(key, audience);
            }
            let dial = Now {
                shared: shared.clone(),
                address: address.into(),
                make: tcp,
            };
            Box::new(Tcp::new(o, dial, shared.clone()).map_err(invalid)?)
        };
        self.engine = Some(engine);
        Ok("ok".into())
    }

    fn add(&mut self, kind: &str, content: u64, user: u64, words: &HashMap<&str, &str>) -> Answer {
        let kind = match kind {
            "open" => Kind::Open,
            "read" => Kind::Read,
            "finish" => Kind::Finish,
            "save" => Kind::Save,
            "share" => Kind::Share,
            "impression" => Kind::Impression,
            "click" => Kind::Click,
            _ => return Err("no invalid".into()),
        };
        let mut e = Event::new(kind, content, user).at(number(words, "at")?.unwrap_or(0));
        e.dwell = number(words, "dwell")?.map_or(0, |n| n.min(u32::MAX.into()) as u32);
        e.progress = number(words, "progress")?.map(|n| n.min(255) as u8);
        let n = number(words, "n")?.unwrap_or(1);
        let engine = self.engine.as_mut().ok_or("no closed")?;
        for _ in 0..n {
            match engine.add(&e) {
                Ok(()) => {}
                Err(AddError::Closed) => return Err("no closed".into()),
                Err(AddError::Invalid(_)) => return Err("no invalid".into()),
            }
            e.user = e.user.wrapping_add(1);
        }
        Ok("ok".into())
    }

    fn stats(&self) -> String {
        let s = self.engine.as_ref().map(|e| e.stats()).unwrap_or_default();
        format!(
            "ok added={} sent={} acked={} buffered={} queue={} socket={} closed={} refused={} unsure={}",
            s.added, s.sent, s.acked, s.buffered, s.queue, s.socket, s.closed, s.refused, s.unsure
        )
    }
}

fn main() -> io::Result<()> {
    let world = World {
        clock: AtomicU64::new(1_767_225_600_000),
        jam: AtomicU64::new(0),
        names: Mutex::default(),
    };
    let mut driver = Driver {
        shared: Shared(Arc::new(world)),
        engine: None,
    };
    for line in io::stdin().lock().lines() {
        let line = line?;
        if line.starts_with('#') {
            continue;
        }
        // What came before the command is read before it, and what it makes due is done.
        driver.quiet();
        let answer = driver.answer(&line).unwrap_or_else(|e| e);
        driver.quiet();
        let mut out = io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
