//! What goes into a packer comes out of a decoder that shares nothing with it.

mod common;

use common::{decode_all, Random};
use lectern_emit::{wire, Event, Invalid, Kind, Packer, Refused};

fn random_event(r: &mut Random, now: u64) -> Event {
    let shift = r.below(64);
    let ids = [
        0,
        1,
        255,
        256,
        u64::from(u32::MAX),
        1 << 40,
        u64::MAX,
        r.next(),
        r.next() >> shift,
    ];
    let jump = r.pick(&[
        0,
        1,
        200,
        300,
        70_000,
        wire::AT_MAX,
        wire::AT_MAX + 1,
        1 << 40,
    ]);
    let kinds = [
        Kind::Open,
        Kind::Read,
        Kind::Finish,
        Kind::Save,
        Kind::Share,
    ];
    let back = r.pick(&[0, 0, 1, 200, 300]);
    let shift = r.below(25);
    Event {
        kind: r.pick(&kinds),
        content: r.pick(&ids),
        user: r.pick(&ids),
        time: (now + r.below(2 * jump + 1))
            .saturating_sub(back)
            .min(wire::TIME_MAX),
        dwell: (r.below(1 << 24) >> shift) as u32,
        progress: if r.odds(2) {
            Some(r.below(101) as u8)
        } else {
            None
        },
    }
}

fn sequence(seed: u64) {
    let mut r = Random(seed);
    let size = r.pick(&[wire::SIZE_MIN, 100, 1400, 32 << 10, wire::FRAME_SIZE_MAX]);
    let mut p = Packer::new(vec![0; size], seed as u16, seed);
    let (mut want, mut sent, mut beats, mut now) = (vec![], vec![], 0, 1_700_000_000_000);
    let falling = r.odds(4);
    for _ in 0..3000 {
        now = if falling {
            now - r.below(50)
        } else {
            now + r.below(50)
        };
        let e = random_event(&mut r, now);
        if p.add(&e) == Err(Refused::Full) {
            sent.extend_from_slice(p.finish().expect("full, and nothing in it"));
            p.add(&e).expect("an empty frame takes any event");
        }
        want.push(e);
        match r.below(200) {
            0 => sent.extend_from_slice(p.finish().unwrap()),
            1 => {
                sent.extend_from_slice(&p.numbers_mut().beat(now));
                beats += 1;
            }
            _ => {}
        }
    }
    if let Some(frame) = p.finish() {
        sent.extend_from_slice(frame);
    }
    assert!(p.finish().is_none());
    let (mut got, mut position, mut at) = (vec![], 0, 0);
    for (i, f) in decode_all(&sent).iter().enumerate() {
        assert_eq!(
            (f.source, f.sequence, f.position),
            (seed, i as u64, position),
            "seed {seed}"
        );
        assert!(f.size <= size, "seed {seed}: {} of {size} bytes", f.size);
        assert_eq!(
            again(f),
            sent[at..at + f.size],
            "seed {seed}: frame {i} is not minimal"
        );
        if f.events.is_empty() {
            beats -= 1;
        } else {
            assert_eq!(
                f.events.iter().map(|e| e.time).min(),
                Some(f.time),
                "seed {seed}: frame {i}"
            );
        }
        position += f.events.len() as u64;
        at += f.size;
        got.extend_from_slice(&f.events);
    }
    assert_eq!(got, want, "seed {seed}");
    assert_eq!(beats, 0, "seed {seed}");
}

/// The fewest bytes of a frame, written by hand.
fn again(f: &common::Frame) -> Vec<u8> {
    let le = |n: u64, least: usize| {
        let len = (0..8)
            .rev()
            .find(|i| n >> (8 * i) != 0)
            .map_or(0, |i| i + 1);
        n.to_le_bytes()[..len.max(least)].to_vec()
    };
    let mut b = b"LE\x11\0".to_vec();
    b.extend((f.size as u16).to_le_bytes());
    b.extend((f.events.len() as u16).to_le_bytes());
    b.extend(f.stream.to_le_bytes());
    b.extend(&f.time.to_le_bytes()[..6]);
    for n in [f.source, f.sequence, f.position] {
        b.extend(n.to_le_bytes());
    }
    let mut before: Option<&Event> = None;
    for e in &f.events {
        let content = if before.is_some_and(|p| p.content == e.content) {
            vec![]
        } else {
            le(e.content, 1)
        };
        let user = if before.is_some_and(|p| p.user == e.user) {
            vec![]
        } else {
            le(e.user, 1)
        };
        let (at, dwell) = (le(e.time - f.time, 0), le(u64::from(e.dwell), 0));
        b.push((content.len() * 16 + user.len()) as u8);
        b.push(
            (e.kind as usize
                + at.len() * 8
                + dwell.len() * 32
                + usize::from(e.progress.is_some()) * 128) as u8,
        );
        b.extend(
            content
                .into_iter()
                .chain(user)
                .chain(at)
                .chain(dwell)
                .chain(e.progress),
        );
        before = Some(e);
    }
    b
}

#[test]
fn what_goes_in_comes_out() {
    for seed in 0..200 {
        sequence(seed);
    }
}

#[test]
fn refuses_what_a_collector_would() {
    let mut p = Packer::new([0; 1400], 0, 1);
    let good = Event::open(1, 2).at(1_700_000_000_000);
    for (e, why) in [
        (good.progress(101), Invalid::Progress),
        (good.at(wire::TIME_MAX + 1), Invalid::Time),
        (good.at(1_700_000_000), Invalid::Seconds),
    ] {
        assert_eq!(p.add(&e), Err(Refused::Invalid(why)));
    }
    assert!(p.is_empty());
    let long = Event {
        dwell: u32::MAX,
        ..good
    };
    p.add(&long).unwrap();
    let frame = p.finish().unwrap().to_vec();
    assert_eq!(decode_all(&frame)[0].events[0].dwell, wire::DWELL_MAX);
}

#[test]
fn what_is_skipped_uses_up_numbers() {
    let mut p = Packer::new([0; 1400], 0, 1);
    p.numbers_mut().skip(7);
    p.add(&Event::open(1, 2).at(1_700_000_000_000)).unwrap();
    let f = &decode_all(p.finish().unwrap())[0];
    assert_eq!((f.sequence, f.position), (1, 7));
}

/// An event that comes out of order costs no frame of its own.
#[test]
fn falling_times_share_frames() {
    let mut p = Packer::new(vec![0; 32 << 10], 0, 1);
    let (mut full, now) = (0, 1_700_000_000_000);
    for i in 0..20_000 {
        let e = Event::open(1, i % 100).at(now - i);
        if p.add(&e).is_err() {
            full += 1;
            p.finish().unwrap();
            p.add(&e).unwrap();
        }
    }
    assert!(full <= 5, "{full} frames");
}
