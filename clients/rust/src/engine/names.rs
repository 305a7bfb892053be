use crate::wire::{self, HEADER_SIZE, NAME_HEAD, NAME_TEXT_MAX};
use crate::{Invalid, Numbers};

/// How long a name is not said again. Over UDP nobody answers, so that what was lost is
/// said again sooner.
pub(super) const SAID_FOR_UDP: u64 = 3_600_000;
pub(super) const SAID_FOR_TCP: u64 = 24 * SAID_FOR_UDP;

/// How many names are remembered at the most, in groups: what is forgotten is said
/// again, which does no harm.
const SAID_MAX: usize = 1 << 16;
const GROUP: usize = 4;

/// The names that wait for their frame, and those that were said lately.
pub(super) struct Names {
    /// Room for a header, and behind it the names; empty where none waits.
    frame: Vec<u8>,
    size_max: usize,
    said_for: u64,
    /// Made with the first name.
    said: Vec<[Said; GROUP]>,
    /// When the first of those that wait came.
    pub began: u64,
}

/// What was said last of a content, by hashes of the content with its attribute and of
/// the text, and when; at 0 nothing was, so 1 is added.
#[derive(Clone, Copy, Default)]
struct Said {
    key: u64,
    text: u64,
    at: u64,
}

impl Names {
    /// For frames of at most so many bytes.
    pub fn new(size_max: usize, said_for: u64) -> Self {
        Names {
            frame: vec![],
            size_max,
            said_for,
            said: vec![],
            began: 0,
        }
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.frame.is_empty()
    }

    /// Takes a name or an attribute, unless it was said lately. False where the frame has
    /// no room for it: take that, and add it again.
    pub fn add(
        &mut self,
        content: u64,
        attribute: u8,
        text: &str,
        now: u64,
    ) -> Result<bool, Invalid> {
        let size = NAME_HEAD + text.len();
        let empty_name = attribute == 0 && text.is_empty();
        if empty_name || text.len() > NAME_TEXT_MAX || HEADER_SIZE + size > self.size_max {
            return Err(Invalid::Name);
        }
        let (key, hash) = match attribute {
            0 => (content, content), // the hash of the text
            _ => (
                crate::id_bytes(&wire::name_head(attribute, content, 0)),
                crate::id(text),
            ),
        };
        let said_for = self.said_for;
        let said = self.said(key);
        if said.at > 0 && (said.key, said.text) == (key, hash) && now + 1 - said.at < said_for {
            return Ok(true);
        }
        if self.frame.len() + size > self.size_max {
            return Ok(false);
        }
        *self.said(key) = Said {
            key,
            text: hash,
            at: now + 1,
        };
        if self.frame.is_empty() {
            self.frame.resize(HEADER_SIZE, 0);
            self.began = now;
        }
        self.frame
            .extend_from_slice(&wire::name_head(attribute, content, text.len()));
        self.frame.extend_from_slice(text.as_bytes());
        Ok(true)
    }

    /// Forgets those that wait.
    pub fn clear(&mut self) {
        self.frame.clear();
    }

    /// Where it is remembered what was said, or is to be: in place of what was said
    /// longest ago.
    fn said(&mut self, key: u64) -> &mut Said {
        if self.said.is_empty() {
            self.said = vec![Default::default(); SAID_MAX / GROUP];
        }
        let place = key as usize % self.said.len();
        let group = &mut self.said[place];
        let known = group.iter().position(|s| s.at > 0 && s.key == key);
        let oldest = || (0..GROUP).min_by_key(|&i| group[i].at).unwrap_or(0);
        let i = known.unwrap_or_else(oldest);
        &mut group[i]
    }

    /// The bytes of the frame that waits.
    pub fn size(&self) -> usize {
        self.frame.len()
    }

    /// The frame that waits, which uses up a sequence and no position.
    pub fn finish(&mut self, numbers: &mut Numbers, wall: u64) -> Vec<u8> {
        let mut frame = std::mem::take(&mut self.frame);
        let header = numbers.names(frame.len(), wall);
        frame[..HEADER_SIZE].copy_from_slice(&header);
        frame
    }
}
