//! Keys and tags: section 8 of `wire/SPEC.md`.

use aes_gcm::aead::{consts::U24, generic_array::GenericArray, AeadInPlace, KeyInit};
use aes_gcm::{aes::Aes128, AesGcm};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::random;
use crate::wire::{self, FLAG_FINAL, FLAG_SEALED, HEADER_SIZE, TAG_SIZE};

/// The size of each side's random in a sealed session.
pub(crate) const RANDOM_SIZE: usize = 16;
/// Where the random stands in a sealed ack.
const ACK_RANDOM: usize = HEADER_SIZE + 16;

/// A stream's secret, with its key epoch: what a key file of Lectern holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    epoch: u8,
    secret: [u8; 32],
}

impl Key {
    /// Reads what a key file holds: the epoch, a colon, the secret in 64 hex digits,
    /// perhaps a line feed. Nothing where it is none.
    #[must_use]
    pub fn parse(line: &str) -> Option<Key> {
        let line = line.strip_suffix('\n').unwrap_or(line);
        let (epoch, hex) = line.split_once(':')?;
        let epoch = ["0", "1", "2", "3"].iter().position(|&e| e == epoch)? as u8;
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let mut secret = [0; 32];
        for (i, b) in secret.iter_mut().enumerate() {
            *b = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()?;
        }
        Some(Key { epoch, secret })
    }
}

impl std::fmt::Debug for Key {
    /// The epoch, and not the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// What seals the frames of a stream for an audience.
#[derive(Clone)]
pub(crate) struct Seal {
    key: Key,
    stream: u16,
    audience: String,
    frames: Tagger,
}

impl Seal {
    pub fn new(key: &Key, stream: u16, audience: &str) -> Self {
        let key = key.clone();
        let audience = audience.to_string();
        let frames = Tagger::new(&derive(&key, 1, stream, &[], &audience), key.epoch);
        Seal {
            key,
            stream,
            audience,
            frames,
        }
    }

    /// What is wrong with an audience, if so.
    pub fn check(audience: &str) -> Option<&'static str> {
        let known = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let good = (1..=63).contains(&audience.len()) && audience.bytes().all(known);
        (!good).then_some("an audience is 1 to 63 characters out of A-Z a-z 0-9 . _ -")
    }

    /// The same with another key.
    pub fn with(&self, key: &Key) -> Self {
        Seal::new(key, self.stream, &self.audience)
    }

    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Seals a frame, outside of a session.
    pub fn frame(&self, frame: &mut Vec<u8>) {
        self.frames.seal(frame);
    }

    /// A sealed hello, and the emitter's random in it.
    pub fn hello(&self, source: u64, time: u64) -> (Vec<u8>, [u8; RANDOM_SIZE]) {
        let mut random = [0; RANDOM_SIZE];
        random[..8].copy_from_slice(&random::draw().to_le_bytes());
        random[8..].copy_from_slice(&random::draw().to_le_bytes());
        (self.hello_of(source, time, &random), random)
    }

    fn hello_of(&self, source: u64, time: u64, random: &[u8; RANDOM_SIZE]) -> Vec<u8> {
        let mut b = wire::hello(self.stream, source, time).to_vec();
        b.extend_from_slice(random);
        mark(&mut b, self.key.epoch);
        let tag = hmac(&derive(&self.key, 2, self.stream, &[], &self.audience), &b);
        b.extend_from_slice(&tag[..TAG_SIZE]);
        b
    }

    /// The keys of a session, whose first ack this is.
    pub fn session(&self, source: u64, emitter: &[u8; RANDOM_SIZE], ack: &[u8]) -> Option<Session> {
        let collector = ack.get(ACK_RANDOM..ACK_RANDOM + RANDOM_SIZE)?;
        let of = [&source.to_le_bytes(), &emitter[..], collector].concat();
        let derive = |number| derive(&self.key, number, self.stream, &of, &self.audience);
        Some(Session {
            up: Tagger::new(&derive(3), self.key.epoch),
            down: derive(4),
            epoch: self.key.epoch,
        })
    }
}

/// The keys of a sealed session.
pub(crate) struct Session {
    up: Tagger,
    down: [u8; 32],
    epoch: u8,
}

impl Session {
    /// A frame as it goes over this connection.
    pub fn frame(&self, frame: &[u8]) -> Vec<u8> {
        let mut b = Vec::with_capacity(frame.len() + TAG_SIZE);
        b.extend_from_slice(frame);
        self.up.seal(&mut b);
        b
    }

    /// Whether the collector wrote this answer.
    pub fn proves(&self, answer: &[u8]) -> bool {
        let Some((whole, tag)) = answer.split_last_chunk::<TAG_SIZE>() else {
            return false;
        };
        if whole.len() < HEADER_SIZE || whole[3] & !FLAG_FINAL != flags(self.epoch) {
            return false;
        }
        let Ok(mut mac) = <Hmac<Sha256> as Mac>::new_from_slice(&self.down) else {
            return false;
        };
        mac.update(whole);
        mac.verify_truncated_left(tag).is_ok()
    }
}

/// Makes the tags of events frames.
#[derive(Clone)]
struct Tagger {
    cipher: AesGcm<Aes128, U24>,
    epoch: u8,
}

impl Tagger {
    fn new(key: &[u8; 32], epoch: u8) -> Self {
        Tagger {
            cipher: AesGcm::new(GenericArray::from_slice(&key[..16])),
            epoch,
        }
    }

    fn seal(&self, frame: &mut Vec<u8>) {
        mark(frame, self.epoch);
        let nonce = GenericArray::from_slice(&frame[8..32]);
        // It fails for what is longer than a frame can be.
        if let Ok(tag) = self.cipher.encrypt_in_place_detached(nonce, frame, &mut []) {
            frame.extend_from_slice(&tag);
        }
    }
}

/// Says in the header that a tag follows.
fn mark(frame: &mut [u8], epoch: u8) {
    frame[3] = flags(epoch);
    let size = (frame.len() + TAG_SIZE) as u16;
    frame[4..6].copy_from_slice(&size.to_le_bytes());
}

fn flags(epoch: u8) -> u8 {
    FLAG_SEALED | epoch << 2
}

/// The key of a number: of an epoch, a stream and an audience, and what is between them.
fn derive(key: &Key, number: u8, stream: u16, of: &[u8], audience: &str) -> [u8; 32] {
    let message = [
        &[number, key.epoch][..],
        &stream.to_le_bytes(),
        of,
        audience.as_bytes(),
    ]
    .concat();
    hmac(&key.secret, &message)
}

fn hmac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let mut mac =
        <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::{Key, Seal, TAG_SIZE};
    use crate::wire::HEADER_SIZE;
    use std::collections::HashMap;
    use std::path::Path;

    fn unhex(s: &str) -> Vec<u8> {
        let digits: Vec<u8> = s.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |p: &[u8]| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap();
        digits.chunks(2).map(pair).collect()
    }

    fn fields(line: &str) -> HashMap<&str, &str> {
        line.split(' ').filter_map(|w| w.split_once('=')).collect()
    }

    /// Makes every tag of the vectors anew.
    #[test]
    fn tags_are_those_of_the_vectors() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wire/testdata/vectors");
        let mut tags = 0;
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let (head, dump) = text.split_once("\n\n").unwrap();
            let bytes = unhex(dump);
            let (mut at, mut frame) = (0, HashMap::new());
            for line in head.lines() {
                if let Some(line) = line.strip_prefix("frame: ") {
                    at += frame.get("size").map_or(0, |s: &&str| s.parse().unwrap());
                    frame = fields(line);
                } else if let Some(line) = line.strip_prefix("seal: ") {
                    let size: usize = frame["size"].parse().unwrap();
                    if frame["flags"].parse::<u8>().unwrap() & 16 != 0 {
                        continue; // sampled, as no frame of this client is
                    }
                    tag(&frame, &fields(line), &bytes[at..at + size]);
                    tags += 1;
                }
            }
        }
        assert!(tags >= 14, "only {tags} tags");
    }

    fn tag(frame: &HashMap<&str, &str>, seal: &HashMap<&str, &str>, want: &[u8]) {
        let key = Key::parse(&format!("{}:{}\n", seal["epoch"], seal["secret"])).unwrap();
        let source: u64 = frame["source"].parse().unwrap();
        let made = Seal::new(&key, frame["stream"].parse().unwrap(), seal["audience"]);
        let mut plain = want[..want.len() - TAG_SIZE].to_vec();
        plain[3] = 0;
        let got = match frame["type"] {
            "hello" => {
                let random = want[HEADER_SIZE..HEADER_SIZE + 16].try_into().unwrap();
                made.hello_of(source, frame["time"].parse().unwrap(), random)
            }
            "events" | "names" if !seal.contains_key("collector") => {
                made.frame(&mut plain);
                plain
            }
            kind => {
                let emitter = unhex(seal["emitter"]).try_into().unwrap();
                let mut ack = vec![0; super::ACK_RANDOM];
                ack.extend(unhex(seal["collector"]));
                let session = made.session(source, &emitter, &ack).unwrap();
                if kind == "events" || kind == "names" {
                    session.frame(&plain)
                } else {
                    for i in 0..want.len() {
                        let mut wrong = want.to_vec();
                        wrong[i] ^= 1;
                        assert!(!session.proves(&wrong), "byte {i} changed");
                    }
                    assert!(session.proves(want));
                    want.to_vec()
                }
            }
        };
        assert_eq!(got, want);
    }

    #[test]
    fn keys_are_read_whole_or_not_at_all() {
        let hex = "0f".repeat(32);
        assert!(Key::parse(&format!("3:{hex}")).is_some());
        for wrong in [
            format!("4:{hex}"),
            format!("3{hex}"),
            format!("3:{hex}0"),
            format!("3:{}", "+f".repeat(32)),
            String::new(),
        ] {
            assert!(Key::parse(&wrong).is_none(), "{wrong}");
        }
        assert!(!format!("{:?}", Key::parse(&format!("3:{hex}"))).contains("0f"));
        assert!(Seal::check("collector-1").is_none());
        assert!(Seal::check("a b").is_some() && Seal::check("").is_some());
    }
}
