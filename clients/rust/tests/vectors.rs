//! The vectors of `wire/testdata`, from an emitter's side.

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use lectern_emit::wire::{self, Ack, Answer, Header, EVENT_ROOM, HEADER_SIZE};
use lectern_emit::{Event, Kind};

struct Vector {
    name: String,
    expect: String,
    minimal: bool,
    lines: Vec<(String, HashMap<String, String>, String)>,
    bytes: Vec<u8>,
}

fn vectors() -> Vec<Vector> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../wire/testdata/vectors");
    let mut list: Vec<_> = fs::read_dir(&dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .map(|entry| parse(&entry.unwrap().path()))
        .collect();
    list.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(list.len() > 150, "only {} vectors", list.len());
    list
}

fn parse(path: &std::path::Path) -> Vector {
    let text = fs::read_to_string(path).unwrap();
    let (head, dump) = text.split_once("\n\n").unwrap();
    let mut v = Vector {
        name: path.file_stem().unwrap().to_string_lossy().into(),
        expect: String::new(),
        minimal: true,
        lines: vec![],
        bytes: dump
            .split_whitespace()
            .map(|b| u8::from_str_radix(b, 16).unwrap())
            .collect(),
    };
    for line in head.lines() {
        let (key, value) = line.split_once(": ").unwrap();
        match key {
            "expect" => v.expect = value.into(),
            "minimal" => v.minimal = value != "no",
            "frame" | "event" | "name" | "ack" | "refusal" => {
                let (words, text) = value.split_once(" text=").unwrap_or((value, ""));
                let fields = words
                    .split(' ')
                    .map(|w| w.split_once('=').unwrap())
                    .map(|(k, v)| (k.to_string(), v.to_string()))
                    .collect();
                v.lines.push((key.into(), fields, text.into()));
            }
            _ => {}
        }
    }
    v
}

fn num(fields: &HashMap<String, String>, key: &str) -> u64 {
    fields[key].parse().unwrap()
}

fn header(f: &HashMap<String, String>) -> Header {
    let kinds = [
        ("events", 1),
        ("hello", 2),
        ("ack", 3),
        ("refusal", 4),
        ("names", 5),
    ];
    Header {
        kind: kinds.iter().find(|k| k.0 == f["type"]).unwrap().1,
        flags: num(f, "flags") as u8,
        size: num(f, "size") as u16,
        count: num(f, "count") as u16,
        stream: num(f, "stream") as u16,
        time: num(f, "time"),
        source: num(f, "source"),
        sequence: num(f, "sequence"),
        position: num(f, "position"),
    }
}

fn event(f: &HashMap<String, String>) -> (Event, u64) {
    let kind = match f["kind"].as_str() {
        "open" => Kind::Open,
        "read" => Kind::Read,
        "finish" => Kind::Finish,
        "save" => Kind::Save,
        "share" => Kind::Share,
        "impression" => Kind::Impression,
        "click" => Kind::Click,
        other => panic!("kind {other}"),
    };
    let e = Event {
        kind,
        content: num(f, "content"),
        user: num(f, "user"),
        time: 0,
        dwell: num(f, "dwell") as u32,
        progress: f["progress"].parse().ok(),
    };
    (e, num(f, "at"))
}

#[test]
fn encodes_every_minimal_vector() {
    let mut done = 0;
    for v in vectors() {
        // Of a sealed hello src/seal.rs makes the tag, and all of it.
        let answer = v.name.starts_with("control-") && v.name != "control-hello";
        if v.expect != "ok" || !v.minimal || answer {
            continue;
        }
        let mut got = vec![];
        let mut before = None;
        for (key, fields, text) in &v.lines {
            match key.as_str() {
                "frame" if fields["type"] == "hello" => {
                    let h = header(fields);
                    got.extend_from_slice(&wire::hello(h.stream, h.source, h.time));
                }
                "frame" => {
                    seal_place(&mut got, &v.bytes);
                    got.extend_from_slice(&header(fields).bytes());
                    before = None;
                }
                "name" => {
                    let words = ["name", "title", "section", "author", "published", "words"];
                    let attribute = words
                        .iter()
                        .position(|w| *w == fields["attribute"])
                        .unwrap();
                    let content = num(fields, "content");
                    let head = wire::name_head(attribute as u8, content, text.len());
                    got.extend_from_slice(&head);
                    got.extend_from_slice(text.as_bytes());
                    // What a name is the name of is its id.
                    assert!(
                        attribute > 0 || lectern_emit::id(text) == content,
                        "{}",
                        v.name
                    );
                }
                _ => {
                    let (e, at) = event(fields);
                    let mut room = [0; EVENT_ROOM];
                    let size = wire::put_event(&mut room, &e, at, before);
                    got.extend_from_slice(&room[..size]);
                    before = Some((e.content, e.user));
                }
            }
        }
        seal_place(&mut got, &v.bytes);
        assert_eq!(got, v.bytes, "{}", v.name);
        done += 1;
    }
    assert!(done >= 55, "only {done} vectors were encoded");
}

/// A sealed frame's tag is copied here: what computes it has tests of its own.
fn seal_place(got: &mut Vec<u8>, want: &[u8]) {
    let mut at = 0;
    while at + HEADER_SIZE <= got.len() {
        let size = usize::from(u16::from_le_bytes([got[at + 4], got[at + 5]]));
        if at + size > got.len() && got[at + 3] & wire::FLAG_SEALED != 0 {
            got.extend_from_slice(&want[got.len()..at + size]);
        }
        at += size;
    }
}

#[test]
fn reads_every_answer() {
    let (mut acks, mut refusals) = (0, 0);
    for v in vectors() {
        if !v.name.starts_with("control-") || v.name.contains("hello") {
            continue;
        }
        let (_, frame, _) = &v.lines[0];
        let (_, body, text) = &v.lines[1];
        let h = header(frame);
        let head = v.bytes.first_chunk().unwrap();
        assert_eq!(Answer::size(head), Ok(v.bytes.len()), "{}", v.name);
        match Answer::parse(&v.bytes) {
            Ok(Answer::Ack(ack)) => {
                let want = Ack {
                    source: h.source,
                    durable: num(body, "durable"),
                    credit: num(body, "credit"),
                    last: h.flags & wire::FLAG_FINAL != 0,
                    spool: h.position,
                };
                assert_eq!(ack, want, "{}", v.name);
                acks += 1;
            }
            Ok(Answer::Refusal {
                source,
                sequence,
                word,
                text: said,
            }) => {
                assert_eq!((source, sequence), (h.source, h.sequence), "{}", v.name);
                assert_eq!(word.word(), body["word"], "{}", v.name);
                assert_eq!(said, text.as_bytes(), "{}", v.name);
                refusals += 1;
            }
            Err(e) => panic!("{}: {e:?}", v.name),
        }
        for cut in 0..v.bytes.len() {
            assert!(
                Answer::parse(&v.bytes[..cut]).is_err(),
                "{} of {cut} bytes",
                v.name
            );
        }
    }
    assert!(
        acks >= 8 && refusals >= 16,
        "{acks} acks, {refusals} refusals"
    );
}

#[test]
fn takes_no_answer_that_is_refused() {
    for v in vectors() {
        if v.expect != "ok" {
            assert!(Answer::parse(&v.bytes).is_err(), "{}", v.name);
        }
    }
}

#[test]
fn hashes_as_the_spec_says() {
    assert_eq!(lectern_emit::id("abc"), 4_952_883_123_889_572_249);
    // Of other lengths, by another implementation (github.com/cespare/xxhash).
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(5);
    for (n, want) in [
        (0, 0xef46_db37_51d8_e999_u64),
        (1, 0x5b4d_6af2_47a3_cf7b),
        (3, 0x4108_f90b_5de1_4d15),
        (4, 0xcdf1_3a49_d263_200f),
        (5, 0xf0d7_a3ad_cfa8_c683),
        (7, 0xc6fc_e9d7_2e31_0949),
        (8, 0xd07b_38a7_8a15_3b0b),
        (9, 0x9d12_14db_001d_fc69),
        (11, 0x61cb_df23_c67a_f875),
        (12, 0xb2ed_3801_7844_f789),
        (13, 0xed6d_c8c5_841a_51e4),
        (16, 0x0f7e_6701_4943_a311),
        (31, 0x3f8d_95ab_32c1_27d9),
        (32, 0xe2bb_c913_6629_a4ee),
        (33, 0x6d92_fe2e_bab7_db31),
        (36, 0x9457_ee2b_0cac_e793),
        (47, 0x60d0_4167_64fb_d063),
        (63, 0xdfae_c775_b4e0_369f),
        (64, 0xf38b_75aa_c47f_6e3a),
        (65, 0x4c7b_caca_703d_0fe0),
        (100, 0x748b_482c_10d9_fb2a),
        (200, 0xff79_8b7a_b5da_97cb),
    ] {
        assert_eq!(lectern_emit::id(&text[..n]), want, "{n} bytes");
    }
    assert_eq!(
        lectern_emit::id("/articles/na\u{ef}ve-caf\u{e9}"),
        0x03dd_d990_3888_13ed
    );
}
