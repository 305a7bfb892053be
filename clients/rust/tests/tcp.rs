//! Sessions with collectors that lose connections, acks and memories: every event is
//! counted once, or accounted for.

mod common;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Mutex};

use common::{decode, FakeClock, Frame, Random};
use lectern_emit::engine::{Dial, Engine, Tcp};
use lectern_emit::wire::{Header, FLAG_FINAL, HEADER_SIZE};
use lectern_emit::{AddError, Event, TcpOptions};

/// What a collector knows of a source.
#[derive(Clone, Default)]
struct Source {
    /// The newest sequence, and the position behind it.
    newest: Option<(u64, u64)>,
    refused: HashSet<u64>,
    /// Users of the events that were taken.
    taken: Vec<u64>,
}

impl Source {
    fn next(&self) -> u64 {
        self.newest.map_or(0, |n| n.0 + 1)
    }
}

/// One store of a collector.
#[derive(Default)]
struct Spool {
    id: u64,
    now: HashMap<u64, Source>,
    sealed: HashMap<u64, Source>,
}

/// One connection, seen from the collector.
#[derive(Default)]
struct Conn {
    spool: usize,
    input: Vec<u8>,
    output: VecDeque<u8>,
    source: Option<u64>,
    last: Option<u64>,
    credit_max: u64,
    flight: BTreeMap<u64, u64>,
    /// No more is read; the emitter reads the end once the output is empty.
    ended: bool,
    /// The emitter's writes and reads fail.
    reset: bool,
    /// Of the last ack.
    durable: u64,
}

struct World {
    r: Random,
    chaos: bool,
    spools: Vec<Spool>,
    conns: Vec<Conn>,
    credit: u64,
    /// Of each source the bytes of each frame.
    frames: HashMap<(u64, u64), Vec<u8>>,
    /// Sources that have read that a frame is durable.
    told: HashSet<u64>,
    /// Events of refused frames, of which the emitter may not have read the refusal.
    refused_events: u64,
    /// Users of what sources had counted that were forgotten.
    archive: Vec<u64>,
    forgotten_refusals: u32,
    finals: u32,
    /// Names in frames that had not come before.
    names: Vec<String>,
    /// The collector does not know them.
    nameless: bool,
}

type Shared = Arc<Mutex<World>>;

struct FakeStream(Shared, usize);

impl Read for FakeStream {
    fn read(&mut self, b: &mut [u8]) -> io::Result<usize> {
        let mut w = self.0.lock().unwrap();
        let short = w.chaos && w.r.odds(3);
        let c = &mut w.conns[self.1];
        if c.reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if c.output.is_empty() {
            return if c.ended {
                Ok(0)
            } else {
                Err(ErrorKind::WouldBlock.into())
            };
        }
        let n = if short {
            1
        } else {
            b.len().min(c.output.len())
        };
        for (to, from) in b.iter_mut().zip(c.output.drain(..n)) {
            *to = from;
        }
        if c.output.is_empty() && c.durable > 0 {
            let source = c.source.unwrap();
            w.told.insert(source);
        }
        Ok(n)
    }
}

impl Write for FakeStream {
    fn write(&mut self, b: &[u8]) -> io::Result<usize> {
        let mut w = self.0.lock().unwrap();
        if w.conns[self.1].reset {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if w.chaos && w.r.odds(8) {
            return Err(ErrorKind::WouldBlock.into());
        }
        let n = if w.chaos && w.r.odds(3) {
            1 + w.r.below(b.len() as u64) as usize
        } else {
            b.len()
        };
        if !w.conns[self.1].ended {
            w.conns[self.1].input.extend_from_slice(&b[..n]);
            w.serve(self.1);
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for FakeStream {
    fn drop(&mut self) {
        self.0.lock().unwrap().conns[self.1].ended = true;
    }
}

struct FakeDial(Shared);

impl Dial for FakeDial {
    type Socket = FakeStream;
    fn start(&mut self) {}
    fn poll(&mut self) -> Option<io::Result<FakeStream>> {
        let mut w = self.0.lock().unwrap();
        if w.chaos && w.r.odds(4) {
            return w
                .r
                .odds(2)
                .then(|| Err(ErrorKind::ConnectionRefused.into()));
        }
        // Mostly the same collector.
        let spool = if w.chaos && w.r.odds(8) {
            w.spools.len() - 1
        } else {
            0
        };
        w.conns.push(Conn {
            spool,
            ..Conn::default()
        });
        Some(Ok(FakeStream(self.0.clone(), w.conns.len() - 1)))
    }
}

impl World {
    fn new(seed: u64, spools: usize) -> Self {
        World {
            r: Random(seed),
            chaos: true,
            spools: (0..spools)
                .map(|i| Spool {
                    id: 1000 + i as u64,
                    ..Spool::default()
                })
                .collect(),
            conns: vec![],
            credit: 1 << 20,
            frames: HashMap::new(),
            told: HashSet::new(),
            refused_events: 0,
            archive: vec![],
            forgotten_refusals: 0,
            finals: 0,
            names: vec![],
            nameless: false,
        }
    }

    /// Reads what has come over a connection.
    fn serve(&mut self, i: usize) {
        loop {
            let c = &mut self.conns[i];
            if c.ended || c.input.len() < HEADER_SIZE {
                return;
            }
            let size = usize::from(u16::from_le_bytes([c.input[4], c.input[5]]));
            if c.input.len() < size {
                return;
            }
            let rest = c.input.split_off(size);
            let bytes = std::mem::replace(&mut c.input, rest);
            let frame = decode(&mut bytes.as_slice());
            if c.source.is_none() {
                self.hello(i, &frame);
            } else {
                self.frame(i, &frame, bytes);
            }
        }
    }

    fn hello(&mut self, i: usize, f: &Frame) {
        assert_eq!(
            (f.kind, f.size, f.sequence, f.position),
            (2, HEADER_SIZE, 0, 0)
        );
        for c in &mut self.conns {
            c.ended |= c.source == Some(f.source);
        }
        self.conns[i].source = Some(f.source);
        self.ack(i, false);
    }

    fn frame(&mut self, i: usize, f: &Frame, bytes: Vec<u8>) {
        assert!(f.kind == 1 || f.kind == 5 && !f.names.is_empty());
        if f.kind == 5 && self.nameless {
            return self.refuse(i, &Frame::default(), "type"); // it names no frame
        }
        let size = bytes.len() as u64;
        // A numbered frame never changes.
        let before = self
            .frames
            .entry((f.source, f.sequence))
            .or_insert_with(|| bytes.clone());
        assert_eq!(*before, bytes, "frame {} changed", f.sequence);
        let c = &mut self.conns[i];
        assert_eq!(c.source, Some(f.source));
        assert!(
            c.last < Some(f.sequence),
            "sequence {} comes behind {:?}",
            f.sequence,
            c.last
        );
        let first = c.last.is_none();
        c.last = Some(f.sequence);
        let flight: u64 = c.flight.values().sum();
        assert!(
            flight == 0 || flight + size <= c.credit_max,
            "{} bytes beyond the credit",
            flight + size
        );
        if f.sequence >= c.durable {
            c.flight.insert(f.sequence, size);
        }
        let spool = c.spool;
        let known = self.spools[spool].now.contains_key(&f.source);
        if first && !known && f.sequence > 0 {
            self.forgotten_refusals += 1;
            return self.refuse(i, f, "forgotten");
        }
        let source = self.spools[spool].now.entry(f.source).or_default();
        if source.next() > f.sequence {
            return; // a duplicate
        }
        let end = source.newest.map_or(f.position, |n| n.1);
        assert!(f.position >= end, "position {} behind {end}", f.position);
        assert!(f.sequence != source.next() || f.position == end || source.newest.is_none());
        source.newest = Some((f.sequence, f.position + f.events.len() as u64));
        if self.chaos && !f.events.is_empty() && self.r.odds(40) {
            source.refused.insert(f.sequence);
            self.refused_events += f.events.len() as u64;
            return self.refuse(i, f, "kind");
        }
        let source = self.spools[spool].now.get_mut(&f.source).unwrap();
        source.taken.extend(f.events.iter().map(|e| e.user));
        self.names.extend(f.names.iter().map(|n| n.2.clone()));
    }

    fn refuse(&mut self, i: usize, f: &Frame, word: &str) {
        let size = HEADER_SIZE + 1 + word.len();
        let h = Header {
            kind: 4,
            size: size as u16,
            stream: f.stream,
            source: f.source,
            sequence: f.sequence,
            ..Header::default()
        };
        let c = &mut self.conns[i];
        c.output.extend(h.bytes());
        c.output.push_back(word.len() as u8);
        c.output.extend(word.bytes());
        c.ended = true;
        c.input.clear();
    }

    fn ack(&mut self, i: usize, last: bool) {
        let credit = if last { 0 } else { self.credit };
        let c = &mut self.conns[i];
        let source = c.source.unwrap();
        let durable = self.spools[c.spool]
            .sealed
            .get(&source)
            .map_or(0, Source::next);
        c.flight.retain(|&sequence, _| sequence >= durable);
        c.credit_max = c.credit_max.max(credit);
        c.durable = durable;
        let flags = if last { FLAG_FINAL } else { 0 };
        let h = Header {
            kind: 3,
            flags,
            size: 56,
            stream: 7,
            source,
            position: self.spools[c.spool].id,
            ..Header::default()
        };
        c.output.extend(h.bytes());
        c.output.extend(durable.to_le_bytes());
        c.output.extend(credit.to_le_bytes());
    }

    /// Makes durable what was taken, and says so.
    fn seal(&mut self) {
        for s in &mut self.spools {
            s.sealed.clone_from(&s.now);
        }
        for i in 0..self.conns.len() {
            if self.conns[i].source.is_some()
                && !self.conns[i].ended
                && !(self.chaos && self.r.odds(3))
            {
                self.ack(i, false);
            }
        }
    }

    /// The collector ends and comes again: what was not sealed is gone.
    fn restart(&mut self) {
        let announce = self.r.odds(2);
        if announce {
            self.seal();
        }
        for i in 0..self.conns.len() {
            if self.conns[i].ended {
                continue;
            }
            if announce && self.conns[i].source.is_some() {
                self.finals += 1;
                self.ack(i, true);
            } else {
                self.conns[i].reset = !announce;
            }
            self.conns[i].ended = true;
        }
        for s in &mut self.spools {
            s.now.clone_from(&s.sealed);
        }
    }

    /// Something goes wrong.
    fn trouble(&mut self) {
        match self.r.below(12) {
            0 => self.restart(),
            1 => {
                let i = self.conns.len() - 1;
                self.conns[i].reset = true;
                self.conns[i].ended = true;
            }
            2 => self.credit = self.r.pick(&[0, 500, 3_000, 1 << 20]),
            3 if self.r.odds(4) => {
                // What is sealed stays counted. Either the whole spool is another, or
                // sources are forgotten that have been silent; a first frame that nobody
                // acknowledged would be taken again.
                let lost = self.r.odds(2);
                let s = &mut self.spools[0];
                s.sealed.clone_from(&s.now);
                s.id += u64::from(lost) * 10;
                s.sealed.retain(|source, state| {
                    let stays = !lost && !self.told.contains(source);
                    if !stays {
                        self.archive.append(&mut state.taken);
                    }
                    stays
                });
                s.now.clone_from(&s.sealed);
                for c in &mut self.conns {
                    (c.ended, c.reset) = (true, true);
                }
            }
            _ => self.seal(),
        }
    }

    fn counted(&self) -> HashMap<u64, u32> {
        let sealed = self.spools.iter().flat_map(|s| s.sealed.values());
        let mut counts = HashMap::new();
        for user in sealed.flat_map(|s| &s.taken).chain(&self.archive) {
            *counts.entry(*user).or_default() += 1;
        }
        counts
    }
}

#[derive(Default, Debug)]
struct Sum {
    unsure: u64,
    queue: u64,
    refused: u64,
    forgotten: u32,
    finals: u32,
    renewals: u64,
    names: u64,
}

fn run(seed: u64, sum: &mut Sum) {
    let mut r = Random(seed ^ 0xABCD);
    let world = Arc::new(Mutex::new(World::new(seed, 1 + (seed % 3) as usize / 2)));
    let clock = FakeClock::new();
    let mut options = TcpOptions::new(7);
    options.frame_size = r.pick(&[65, 200, 1000]);
    options.buffer_size = r.pick(&[4, 20, 1000]) * options.frame_size;
    let mut t = Tcp::new(options, FakeDial(world.clone()), clock.clone()).unwrap();
    let mut added = 0;
    let balanced = |t: &Tcp<_, _>| {
        let s = t.stats();
        let known = s.acked + s.buffered + s.queue + s.closed + s.refused + s.unsure;
        assert_eq!(s.added, known, "seed {seed}: {s:?}");
    };
    for _ in 0..1500 {
        if r.odds(3) {
            for _ in 0..r.below(20) {
                added += 1;
                t.add(&Event::open(1, added)).unwrap();
            }
        }
        if r.odds(4) {
            t.name(&format!("/{}", r.below(300))).unwrap();
        }
        if r.odds(10) {
            t.flush();
        }
        if r.odds(4) && !world.lock().unwrap().conns.is_empty() {
            world.lock().unwrap().trouble();
        }
        clock.pass(r.pick(&[1, 10, 100, 1_000]));
        t.step();
        balanced(&t);
    }
    {
        let mut w = world.lock().unwrap();
        w.chaos = false;
        w.credit = 1 << 20;
    }
    t.close(600_000);
    for _ in 0..100_000 {
        clock.pass(50);
        t.step();
        world.lock().unwrap().seal();
        balanced(&t);
        if t.closed() {
            break;
        }
    }
    let s = t.stats();
    assert!(
        t.closed() && s.closed == 0,
        "seed {seed}: {s:?} {:?}",
        t.trouble()
    );
    assert_eq!(s.added, added, "seed {seed}");
    let w = world.lock().unwrap();
    let counts = w.counted();
    if let Some((user, n)) = counts.iter().find(|(_, &n)| n > 1) {
        panic!("seed {seed}: event {user} was counted {n} times");
    }
    let counted = counts.len() as u64;
    assert!(
        counted + w.refused_events >= s.acked,
        "seed {seed}: {counted} counted, {s:?}"
    );
    assert!(
        counted <= s.acked + s.unsure,
        "seed {seed}: {counted} counted, {s:?}"
    );
    sum.unsure += s.unsure;
    sum.queue += s.queue;
    sum.refused += s.refused;
    sum.forgotten += w.forgotten_refusals;
    sum.finals += w.finals;
    sum.renewals += s.renewals;
    sum.names += w.names.len() as u64;
    let sources: HashSet<u64> = w.frames.keys().map(|k| k.0).collect();
    let distinct: HashSet<&String> = w.names.iter().collect();
    assert!(
        w.names.len() <= distinct.len() * sources.len(),
        "seed {seed}: {} names of {} contents under {} sources",
        w.names.len(),
        distinct.len(),
        sources.len()
    );
}

#[test]
fn every_event_is_counted_once_or_accounted_for() {
    let mut sum = Sum::default();
    let seeds = std::env::var("LECTERN_TEST_SEEDS").map_or(60, |n| n.parse().unwrap());
    for seed in 0..seeds {
        run(seed, &mut sum);
    }
    // The simulation had what it is for.
    let all = [
        sum.unsure,
        sum.queue,
        sum.refused,
        sum.forgotten.into(),
        sum.finals.into(),
        sum.renewals,
        sum.names,
    ];
    assert!(all.iter().all(|&n| n > 10), "{sum:?}");
}

/// An emitter and a collector that does nothing wrong.
fn quiet(options: TcpOptions) -> (Tcp<FakeDial, FakeClock>, Shared, FakeClock) {
    let world = Arc::new(Mutex::new(World::new(1, 1)));
    world.lock().unwrap().chaos = false;
    let clock = FakeClock::new();
    let dial = FakeDial(world.clone());
    let t = Tcp::new(options, dial, clock.clone()).unwrap();
    (t, world, clock)
}

fn pass(t: &mut Tcp<FakeDial, FakeClock>, world: &Shared, clock: &FakeClock, ms: u64) {
    for _ in 0..ms / 50 {
        clock.pass(50);
        t.step();
        world.lock().unwrap().seal();
    }
}

#[test]
fn a_name_is_said_once_a_day() {
    let (mut t, world, clock) = quiet(TcpOptions::new(7));
    for _ in 0..3 {
        t.add(&Event::open("/a", 1)).unwrap();
        t.name("/a").unwrap();
    }
    pass(&mut t, &world, &clock, 1_000);
    assert_eq!(world.lock().unwrap().names, ["/a"]);
    clock.pass(24 * 3_600_000 - 2_000);
    t.name("/a").unwrap();
    pass(&mut t, &world, &clock, 500);
    assert_eq!(world.lock().unwrap().names, ["/a"], "within the day");
    clock.pass(1_000);
    t.name("/a").unwrap();
    t.name("/b").unwrap();
    t.close(10_000);
    assert_eq!(t.name("/c"), Err(AddError::Closed));
    pass(&mut t, &world, &clock, 10_000);
    assert!(t.closed());
    assert_eq!(world.lock().unwrap().names, ["/a", "/a", "/b"]);
}

#[test]
fn a_collector_that_knows_no_names_is_sent_no_more() {
    let (mut t, world, clock) = quiet(TcpOptions::new(7));
    world.lock().unwrap().nameless = true;
    t.add(&Event::open("/a", 1)).unwrap();
    t.name("/a").unwrap();
    pass(&mut t, &world, &clock, 250);
    t.name("/c").unwrap(); // waits while the refusal comes
    pass(&mut t, &world, &clock, 30_000);
    let connections = world.lock().unwrap().conns.len();
    assert_eq!((t.stats().acked, connections), (1, 2), "{:?}", t.trouble());
    t.name("/b").unwrap();
    t.add(&Event::open("/b", 1)).unwrap();
    t.close(10_000);
    pass(&mut t, &world, &clock, 10_000);
    assert!(t.closed());
    assert_eq!((t.stats().acked, t.stats().closed), (2, 0));
    assert_eq!(world.lock().unwrap().conns.len(), connections);
}

#[test]
fn names_that_found_no_room_are_said_before_the_end() {
    let mut options = TcpOptions::new(7);
    (options.frame_size, options.buffer_size) = (65, 260);
    let (mut t, world, clock) = quiet(options);
    world.lock().unwrap().credit = 0;
    let mut added = 0;
    while t.stats().queue == 0 {
        t.add(&Event::open(1, added)).unwrap();
        t.flush();
        added += 1;
    }
    t.name("/a").unwrap();
    t.close(60_000);
    world.lock().unwrap().credit = 1 << 20;
    pass(&mut t, &world, &clock, 10_000);
    assert!(t.closed());
    assert_eq!(world.lock().unwrap().names, ["/a"]);
}
