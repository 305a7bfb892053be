//! UDP by a clock and a network of the tests' own.

mod common;

use common::{FakeClock, FakeNet, Frame, START};
use lectern_emit::engine::{Engine, Udp};
use lectern_emit::{AddError, Attribute, Event, Invalid, UdpOptions};

struct Bench {
    engine: Udp<FakeNet, FakeClock>,
    net: FakeNet,
    clock: FakeClock,
}

fn bench() -> Bench {
    let (net, clock) = (FakeNet::default(), FakeClock::new());
    let engine = Udp::new(UdpOptions::new(7), net.socket(), net.clone(), clock.clone()).unwrap();
    Bench { engine, net, clock }
}

impl Bench {
    fn describe(&mut self, content: u64, attribute: Attribute<'_>) {
        self.engine.describe(content.into(), attribute).unwrap();
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            self.clock.pass(10);
            self.engine.step();
            self.balanced();
        }
    }

    fn balanced(&self) {
        let s = self.engine.stats();
        assert_eq!(s.added, s.sent + s.buffered + s.socket + s.closed, "{s:?}");
    }

    fn add(&mut self, n: u64) {
        for user in 0..n {
            self.engine.add(&Event::open(42, user)).unwrap();
            self.balanced();
        }
    }
}

fn times(frames: &[Frame]) -> Vec<u64> {
    frames.iter().map(|f| f.time - START).collect()
}

/// Every frame follows the one before it, but for those that never left.
fn follows(frames: &[Frame]) {
    for pair in frames.windows(2) {
        assert_eq!(pair[1].source, pair[0].source);
        assert!(pair[1].sequence > pair[0].sequence);
        if pair[1].sequence == pair[0].sequence + 1 {
            assert_eq!(
                pair[1].position,
                pair[0].position + pair[0].events.len() as u64
            );
        }
    }
}

#[test]
fn beats_when_it_opens_and_while_it_is_silent() {
    let mut b = bench();
    b.pass(60_000);
    let frames = b.net.frames(0);
    assert_eq!(
        times(&frames),
        [0, 0, 0, 1_000, 3_000, 7_000, 15_000, 31_000, 47_000]
    );
    follows(&frames);
    assert_eq!(frames[0].sequence, 0);
    // Events end the silence.
    b.add(1);
    b.pass(1_500);
    let after = b.net.frames(0);
    assert_eq!(times(&after[9..]), [60_000, 61_250]);
    assert_eq!(after[9].events.len(), 1);
}

#[test]
fn sends_what_is_full_or_old_or_flushed() {
    let mut b = bench();
    b.add(1);
    b.pass(240);
    assert_eq!(b.net.frames(0).len(), 3);
    b.pass(10);
    assert_eq!(b.net.frames(0).len(), 4);
    b.add(1);
    b.engine.flush();
    assert_eq!(b.net.frames(0).len(), 5);
    b.add(1_000);
    let frames = b.net.frames(0);
    assert_eq!(frames.len(), 7);
    assert!(frames.iter().all(|f| f.size <= 1_400));
    assert!(
        frames[5].size > 1_370,
        "a datagram of {} bytes",
        frames[5].size
    );
    follows(&frames);
}

#[test]
fn what_is_not_taken_shows_as_lost() {
    let mut b = bench();
    b.net.0.lock().unwrap().jam = 1;
    b.add(5);
    b.engine.flush();
    b.add(2);
    b.engine.flush();
    let frames = b.net.frames(0);
    assert_eq!(
        (
            frames[3].sequence,
            frames[3].position,
            frames[3].events.len()
        ),
        (4, 5, 2)
    );
    assert_eq!((b.engine.stats().socket, b.engine.stats().sent), (5, 2));
}

#[test]
fn an_old_socket_is_renewed_with_its_source() {
    let mut b = bench();
    b.pass(400_000);
    assert_eq!(
        b.net.0.lock().unwrap().sockets.len(),
        1,
        "one without events is kept"
    );
    b.add(3);
    b.pass(300);
    assert_eq!(b.net.0.lock().unwrap().sockets.len(), 2);
    let (old, new) = (b.net.frames(0), b.net.frames(1));
    follows(&old);
    follows(&new);
    assert_ne!(old[0].source, new[0].source);
    assert_eq!(b.engine.source(), new[0].source);
    // The old source says its last words, the new one its first.
    let last = &old[old.len() - 3..];
    assert!(last.iter().all(|f| f.events.is_empty()));
    assert_eq!(
        (last[1].time - last[0].time, last[2].time - last[1].time),
        (20, 20)
    );
    assert!(new[..3]
        .iter()
        .all(|f| f.events.is_empty() && f.position == 0));
    let events: usize = old.iter().chain(&new).map(|f| f.events.len()).sum();
    assert_eq!(events, 3);
    assert_eq!(b.engine.stats().renewals, 1);
}

#[test]
fn nobody_listens_and_the_name_cannot_be_resolved() {
    let mut b = bench();
    b.pass(2_000);
    b.add(2);
    b.engine.flush();
    {
        let mut wire = b.net.0.lock().unwrap();
        (wire.refused, wire.down) = (true, true);
    }
    b.add(1);
    b.engine.flush();
    assert_eq!(b.engine.stats().unreachable, 2);
    b.pass(100);
    assert_eq!(
        b.net.0.lock().unwrap().sockets.len(),
        1,
        "the old one stays"
    );
    b.pass(1_200); // no sooner is it tried again
    {
        let mut wire = b.net.0.lock().unwrap();
        (wire.refused, wire.down) = (true, false);
    }
    b.add(1);
    b.engine.flush();
    b.pass(100);
    assert_eq!(b.net.0.lock().unwrap().sockets.len(), 2);
    assert_eq!(
        b.net
            .frames(0)
            .iter()
            .map(|f| f.events.len())
            .sum::<usize>(),
        4,
        "nothing is sent again or lost"
    );
}

#[test]
fn closes_with_the_last_beats() {
    let mut b = bench();
    b.add(2);
    b.engine.close(5_000);
    assert_eq!(b.engine.add(&Event::open(1, 1)), Err(AddError::Closed));
    b.engine.step();
    assert!(!b.engine.closed());
    b.pass(40);
    assert!(b.engine.closed());
    assert_eq!(times(&b.net.frames(0)), [0, 0, 0, 0, 0, 20, 40]);
    assert_eq!((b.engine.stats().sent, b.engine.stats().closed), (2, 1));
    b.pass(60_000);
    assert_eq!(b.net.frames(0).len(), 7, "nothing comes behind the end");
}

#[test]
fn a_name_is_said_once_an_hour_in_a_datagram_of_its_own() {
    let mut b = bench();
    let names = |b: &Bench| -> Vec<String> {
        let frames = b.net.frames(0);
        follows(&frames);
        frames
            .into_iter()
            .flat_map(|f| f.names)
            .map(|n| n.2)
            .collect()
    };
    for _ in 0..3 {
        b.engine.name("/a").unwrap();
    }
    b.engine.name("/\u{e9}").unwrap();
    b.pass(240);
    assert!(names(&b).is_empty());
    b.pass(10);
    assert_eq!(names(&b), ["/a", "/\u{e9}"]);
    let said = &b.net.frames(0)[3];
    assert_eq!(
        (said.kind, said.position, said.names[0].1),
        (5, 0, lectern_emit::id("/a"))
    );
    b.pass(59 * 60_000);
    b.engine.name("/a").unwrap();
    b.engine.flush();
    assert_eq!(names(&b).len(), 2, "within the hour");
    b.pass(60_000);
    b.engine.name("/a").unwrap();
    b.add(2);
    b.engine.flush();
    let frames = b.net.frames(0);
    let last = frames.last().unwrap();
    assert_eq!(
        (last.position, last.names.len()),
        (2, 1),
        "behind the events"
    );
    // What is full goes out, and none is larger than a datagram.
    for n in 0..100 {
        b.engine.name(&format!("/{n:0100}")).unwrap();
    }
    b.engine.name("/late").unwrap();
    b.engine.close(1_000);
    b.pass(40);
    assert_eq!(names(&b).len(), 2 + 1 + 101);
    assert!(b.net.frames(0).iter().all(|f| f.size <= 1400));
    assert_eq!(b.engine.name("/b"), Err(AddError::Closed));
}

/// Each attribute goes out when it changes, once an hour, and the last one counts.
#[test]
fn says_an_attribute_when_it_changes() {
    let mut b = bench();
    b.pass(1);
    let mut seen = 0;
    let mut said = |b: &mut Bench| {
        b.engine.flush();
        let all: Vec<_> = b.net.frames(0).into_iter().flat_map(|f| f.names).collect();
        let new = all[seen..].to_vec();
        seen = all.len();
        new.into_iter()
            .map(|(attribute, content, text)| format!("{attribute} {content} {text}"))
            .collect::<Vec<_>>()
    };
    for _ in 0..3 {
        b.describe(42, Attribute::Title("L\u{2019}\u{e9}toile"));
        b.describe(42, Attribute::Published(Some(1_767_225_600_000)));
        b.describe(42, Attribute::Words(Some(1200)));
    }
    assert_eq!(
        said(&mut b),
        [
            "1 42 L\u{2019}\u{e9}toile",
            "4 42 1767225600000",
            "5 42 1200"
        ]
    );
    b.describe(42, Attribute::Title("B"));
    b.describe(42, Attribute::Title("L\u{2019}\u{e9}toile"));
    b.describe(43, Attribute::Words(Some(1200)));
    b.describe(42, Attribute::Section("B"));
    b.describe(42, Attribute::Author(""));
    b.describe(42, Attribute::Words(None));
    assert_eq!(
        said(&mut b),
        [
            "1 42 B",
            "1 42 L\u{2019}\u{e9}toile",
            "5 43 1200",
            "2 42 B",
            "3 42 ",
            "5 42 "
        ]
    );
    b.pass(59 * 60_000);
    b.describe(42, Attribute::Section("B"));
    b.describe(42, Attribute::Words(None));
    assert!(said(&mut b).is_empty(), "within the hour");
    b.pass(60_000);
    b.describe(42, Attribute::Section("B"));
    assert_eq!(said(&mut b), ["2 42 B"]);
    b.engine.close(1_000);
    b.pass(40);
    assert_eq!(
        b.engine.describe(42.into(), Attribute::Title("late")),
        Err(AddError::Closed)
    );
}

#[test]
fn takes_no_attribute_that_a_collector_would_refuse() {
    let mut b = bench();
    let (long, longest) = ("x".repeat(513), "\u{e9}".repeat(256));
    for (attribute, why) in [
        (Attribute::Title(&long), Invalid::Name),
        (Attribute::Section(&long), Invalid::Name),
        (Attribute::Author(&long), Invalid::Name),
        (Attribute::Published(Some(1 << 48)), Invalid::Number),
        (Attribute::Words(Some(u64::MAX)), Invalid::Number),
    ] {
        assert_eq!(
            b.engine.describe(42.into(), attribute),
            Err(AddError::Invalid(why)),
            "{attribute:?}"
        );
    }
    b.describe(42, Attribute::Title(&longest));
    b.describe(42, Attribute::Words(Some((1 << 48) - 1)));
    b.engine.flush();
    assert_eq!(b.net.frames(0).last().unwrap().names.len(), 2);
}

#[test]
fn takes_no_name_that_a_collector_would_refuse() {
    let mut b = bench();
    let invalid = Err(AddError::Invalid(Invalid::Name));
    assert_eq!(b.engine.name(""), invalid);
    assert_eq!(b.engine.name(&"x".repeat(513)), invalid);
    assert_eq!(b.engine.name(&"x".repeat(512)), Ok(()));
    let (net, clock) = (FakeNet::default(), FakeClock::new());
    let mut options = UdpOptions::new(7);
    options.datagram_size = 65;
    let mut small = Udp::new(options, net.socket(), net.clone(), clock).unwrap();
    assert_eq!(small.name("fifteen bytes: "), invalid);
    assert_eq!(small.name("fourteen bytes"), Ok(()));
}

/// However many names are said, 65,536 of them are remembered, those that were said last.
#[test]
fn what_is_forgotten_is_said_again() {
    let mut b = bench();
    let mut say = |from: u32, to: u32| {
        for n in from..to {
            if n % 10 == 0 {
                b.clock.pass(1);
            }
            b.engine.name(&format!("/{n}")).unwrap();
        }
        b.engine.flush();
        let frames = b.net.frames(0);
        frames.iter().map(|f| f.names.len()).sum::<usize>()
    };
    assert_eq!(say(0, 300_000), 300_000);
    let newest = say(290_000, 300_000) - 300_000;
    assert!(
        newest < 200,
        "{newest} of the newest 10,000 were said again"
    );
    let oldest = say(0, 10_000) - newest - 300_000;
    assert!(
        oldest > 9_900,
        "{oldest} of the oldest 10,000 were said again"
    );
}
