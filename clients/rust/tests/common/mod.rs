//! What the tests share: a decoder that has nothing in common with the encoder, and
//! random numbers with a seed.
#![allow(dead_code)]

use lectern_emit::{Event, Kind};

/// A frame as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub size: usize,
    pub stream: u16,
    pub time: u64,
    pub source: u64,
    pub sequence: u64,
    pub position: u64,
    pub events: Vec<Event>,
    /// What is said of contents: attribute, id and text.
    pub names: Vec<(u8, u64, String)>,
}

fn number(b: &mut &[u8], n: usize) -> u64 {
    let (head, rest) = b.split_at(n);
    *b = rest;
    head.iter().rev().fold(0, |n, &b| n * 256 + u64::from(b))
}

/// Reads one frame byte by byte, and panics where it is not one.
pub fn decode(b: &mut &[u8]) -> Frame {
    let whole = b.len();
    assert_eq!(number(b, 2), 0x454C);
    let kind = number(b, 1);
    assert_eq!(kind / 16, 1);
    let flags = number(b, 1) as u8;
    let size = number(b, 2) as usize;
    let count = number(b, 2);
    let mut f = Frame {
        kind: (kind % 16) as u8,
        flags,
        size,
        stream: number(b, 2) as u16,
        time: number(b, 6),
        source: number(b, 8),
        sequence: number(b, 8),
        position: number(b, 8),
        events: vec![],
        names: vec![],
    };
    while f.kind == 5 && whole - b.len() < size {
        let attribute = number(b, 1) as u8;
        let length = number(b, 2) as usize;
        let content = number(b, 8);
        let (text, rest) = b.split_at(length);
        *b = rest;
        f.names
            .push((attribute, content, String::from_utf8(text.into()).unwrap()));
    }
    let (mut content, mut user) = (0, 0);
    for i in 0..count {
        let lengths = number(b, 1) as usize;
        let shape = number(b, 1) as usize;
        assert!(
            i > 0 || lengths / 16 > 0 && lengths % 16 > 0,
            "the first event inherits"
        );
        if lengths / 16 > 0 {
            content = number(b, lengths / 16);
        }
        if lengths % 16 > 0 {
            user = number(b, lengths % 16);
        }
        let at = number(b, shape / 8 % 4);
        let dwell = number(b, shape / 32 % 4) as u32;
        let progress = (shape >= 128).then(|| number(b, 1) as u8);
        let kind = [
            Kind::Open,
            Kind::Read,
            Kind::Finish,
            Kind::Save,
            Kind::Share,
            Kind::Impression,
            Kind::Click,
        ][shape % 8];
        f.events.push(Event {
            kind,
            content,
            user,
            time: f.time + at,
            dwell,
            progress,
        });
    }
    assert_eq!(whole - b.len(), size, "count or size are wrong");
    f
}

pub fn decode_all(mut b: &[u8]) -> Vec<Frame> {
    let mut list = vec![];
    while !b.is_empty() {
        list.push(decode(&mut b));
    }
    list
}

/// Numbers from a seed (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn odds(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
}

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A clock that moves when it is told to.
#[derive(Clone)]
pub struct FakeClock(Arc<AtomicU64>);

pub const START: u64 = 1_767_225_600_000;

impl FakeClock {
    pub fn new() -> Self {
        FakeClock(Arc::new(AtomicU64::new(START)))
    }

    pub fn pass(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl lectern_emit::engine::Clock for FakeClock {
    fn wall(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
    fn now(&self) -> u64 {
        self.wall()
    }
}

/// Datagrams in memory.
#[derive(Clone, Default)]
pub struct FakeNet(pub Arc<Mutex<Wire>>);

#[derive(Default)]
pub struct Wire {
    /// What went over each socket, in the order in which they were made.
    pub sockets: Vec<Vec<Vec<u8>>>,
    /// So many datagrams are not taken.
    pub jam: usize,
    /// Nobody listens: the next error says so.
    pub refused: bool,
    /// No socket can be made.
    pub down: bool,
}

pub struct FakeSocket(FakeNet, usize);

impl FakeNet {
    pub fn socket(&self) -> FakeSocket {
        let mut wire = self.0.lock().unwrap();
        wire.sockets.push(vec![]);
        FakeSocket(self.clone(), wire.sockets.len() - 1)
    }

    /// The frames that went over a socket.
    pub fn frames(&self, socket: usize) -> Vec<Frame> {
        decode_all(&self.0.lock().unwrap().sockets[socket].concat())
    }
}

impl lectern_emit::engine::Datagrams for FakeSocket {
    fn send(&mut self, datagram: &[u8]) -> std::io::Result<()> {
        let mut wire = self.0 .0.lock().unwrap();
        if std::mem::take(&mut wire.refused) {
            return Err(std::io::ErrorKind::ConnectionRefused.into());
        }
        if wire.jam > 0 {
            wire.jam -= 1;
            return Err(std::io::ErrorKind::WouldBlock.into());
        }
        wire.sockets[self.1].push(datagram.to_vec());
        Ok(())
    }
}

impl lectern_emit::engine::Dial for FakeNet {
    type Socket = FakeSocket;
    fn start(&mut self) {}
    fn poll(&mut self) -> Option<std::io::Result<FakeSocket>> {
        if self.0.lock().unwrap().down {
            return Some(Err(std::io::ErrorKind::NotFound.into()));
        }
        Some(Ok(self.socket()))
    }
}
