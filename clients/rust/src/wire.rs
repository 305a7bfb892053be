//! The bytes: `wire/SPEC.md` of Lectern is the authority for each of them.

use crate::Event;

/// The size of a frame's header.
pub const HEADER_SIZE: usize = 40;
/// The size of the tag behind the body of a sealed frame.
pub const TAG_SIZE: usize = 16;
/// The largest whole frame.
pub const FRAME_SIZE_MAX: usize = 65535;
/// The largest event.
pub const EVENT_SIZE_MAX: usize = 25;
/// The smallest datagram or frame that holds any one event.
pub const SIZE_MIN: usize = HEADER_SIZE + EVENT_SIZE_MAX;
/// The stream number that nobody may use.
pub const STREAM_RESERVED: u16 = 65535;
/// What sequence, position, and position + count stay below.
pub const NUMBER_MAX: u64 = 1 << 48;
/// The latest time of a frame, in Unix milliseconds.
pub const TIME_MAX: u64 = (1 << 48) - 1;
/// The most that an event is behind its frame's time, in milliseconds.
pub const AT_MAX: u64 = (1 << 24) - 1;
/// The longest dwell, in milliseconds.
pub const DWELL_MAX: u32 = (1 << 24) - 1;
/// The largest progress, in percent.
pub const PROGRESS_MAX: u8 = 100;
/// The longest text of a refusal, in bytes.
pub const REFUSAL_TEXT_MAX: usize = 255;
/// The longest text of a name, in bytes.
pub const NAME_TEXT_MAX: usize = 512;
/// The bytes of a name in front of its text.
pub const NAME_HEAD: usize = 11;
/// The largest frame that a collector answers with.
pub const ANSWER_SIZE_MAX: usize = HEADER_SIZE + 1 + 255 + REFUSAL_TEXT_MAX + TAG_SIZE;

/// The flag of a sealed frame.
pub const FLAG_SEALED: u8 = 1;
/// The flag of the last ack of a collector that is about to end.
pub const FLAG_FINAL: u8 = 2;

/// Events, or a beat.
pub const TYPE_EVENTS: u8 = 1;
/// Who will send on this connection.
pub const TYPE_HELLO: u8 = 2;
/// What is durable, and how much may be in flight.
pub const TYPE_ACK: u8 = 3;
/// Why a frame or a connection is not taken.
pub const TYPE_REFUSAL: u8 = 4;
/// What contents are called.
pub const TYPE_NAMES: u8 = 5;

/// The header of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// One of the `TYPE_` numbers.
    pub kind: u8,
    /// The `FLAG_` bits.
    pub flags: u8,
    /// Of the whole frame, in bytes.
    pub size: u16,
    /// Events in the body.
    pub count: u16,
    /// The application or site.
    pub stream: u16,
    /// The frame's base time, in Unix milliseconds.
    pub time: u64,
    /// Who numbers.
    pub source: u64,
    /// Frames that this source numbered before this one.
    pub sequence: u64,
    /// Events that this source numbered before this frame; in an ack the spool.
    pub position: u64,
}

impl Header {
    /// The header's bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; HEADER_SIZE] {
        let mut b = [0; HEADER_SIZE];
        b[0..2].copy_from_slice(b"LE");
        b[2] = 0x10 | (self.kind & 15);
        b[3] = self.flags;
        b[4..6].copy_from_slice(&self.size.to_le_bytes());
        b[6..8].copy_from_slice(&self.count.to_le_bytes());
        b[8..10].copy_from_slice(&self.stream.to_le_bytes());
        b[10..16].copy_from_slice(&self.time.to_le_bytes()[..6]);
        b[16..24].copy_from_slice(&self.source.to_le_bytes());
        b[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        b[32..40].copy_from_slice(&self.position.to_le_bytes());
        b
    }

    /// Reads the header of an answer, [`Foreign`] where it is none.
    fn answer(b: &[u8; HEADER_SIZE]) -> Result<Header, Foreign> {
        let word = |at: usize| {
            u64::from_le_bytes([
                b[at],
                b[at + 1],
                b[at + 2],
                b[at + 3],
                b[at + 4],
                b[at + 5],
                b[at + 6],
                b[at + 7],
            ])
        };
        let half = |at: usize| u16::from_le_bytes([b[at], b[at + 1]]);
        let h = Header {
            kind: b[2] & 15,
            flags: b[3],
            size: half(4),
            count: half(6),
            stream: half(8),
            time: word(8) >> 16,
            source: word(16),
            sequence: word(24),
            position: word(32),
        };
        let sealed = h.flags & FLAG_SEALED != 0;
        let least = HEADER_SIZE + if sealed { TAG_SIZE } else { 0 };
        let last = if h.kind == TYPE_ACK { FLAG_FINAL } else { 0 };
        let flags = last | if sealed { FLAG_SEALED | 3 << 2 } else { 0 };
        let good = b[0..2] == *b"LE"
            && b[2] >> 4 == 1
            && matches!(h.kind, TYPE_ACK | TYPE_REFUSAL)
            && h.flags & !flags == 0
            && (least..=ANSWER_SIZE_MAX).contains(&usize::from(h.size))
            && h.count == 0
            && h.stream != STREAM_RESERVED
            && h.sequence < NUMBER_MAX
            && h.position < NUMBER_MAX;
        if good {
            Ok(h)
        } else {
            Err(Foreign)
        }
    }
}

/// A hello: who will send on this connection. `time` is the present, in Unix
/// milliseconds.
#[must_use]
pub fn hello(stream: u16, source: u64, time: u64) -> [u8; HEADER_SIZE] {
    Header {
        kind: TYPE_HELLO,
        size: HEADER_SIZE as u16,
        stream,
        time,
        source,
        ..Header::default()
    }
    .bytes()
}

/// What answered is no collector; or its answer is not one of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign;

/// What a collector says on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// How far a source is durable.
    Ack(Ack),
    /// Why something was not taken.
    Refusal {
        /// The refused frame's source, 0 where there is no frame to name.
        source: u64,
        /// Its sequence, likewise.
        sequence: u64,
        /// One of the closed list.
        word: Refusal,
        /// More for people, as it came: quote it for a terminal.
        text: &'a [u8],
    },
}

/// How far a source is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Whose it is.
    pub source: u64,
    /// Every frame with a sequence below this is durable.
    pub durable: u64,
    /// How many bytes may be in flight.
    pub credit: u64,
    /// The last one: nothing beyond durable was taken, nor will be.
    pub last: bool,
    /// What the ack speaks for; 0: the collector has no name for it.
    pub spool: u64,
}

impl Answer<'_> {
    /// The size of the answer that begins with these bytes.
    ///
    /// # Errors
    /// [`Foreign`]: no collector begins like this.
    pub fn size(head: &[u8; HEADER_SIZE]) -> Result<usize, Foreign> {
        Header::answer(head).map(|h| usize::from(h.size))
    }

    /// Reads a whole answer.
    ///
    /// # Errors
    /// [`Foreign`]: no collector answers like this.
    pub fn parse(frame: &[u8]) -> Result<Answer<'_>, Foreign> {
        let (head, body) = frame.split_first_chunk::<HEADER_SIZE>().ok_or(Foreign)?;
        let h = Header::answer(head)?;
        if frame.len() != usize::from(h.size) {
            return Err(Foreign);
        }
        // Who has the key looks at the tag, and at the random in front of it.
        let sealed = h.flags & FLAG_SEALED != 0;
        let body = if sealed {
            &body[..body.len() - TAG_SIZE]
        } else {
            body
        };
        if h.kind == TYPE_REFUSAL {
            return refusal(&h, body).ok_or(Foreign);
        }
        if body.len() != if sealed { 32 } else { 16 } {
            return Err(Foreign);
        }
        let (durable, rest) = body.split_first_chunk::<8>().ok_or(Foreign)?;
        let durable = u64::from_le_bytes(*durable);
        let credit = u64::from_le_bytes(*rest.first_chunk::<8>().ok_or(Foreign)?);
        if durable > NUMBER_MAX {
            return Err(Foreign);
        }
        Ok(Answer::Ack(Ack {
            source: h.source,
            durable,
            credit,
            last: h.flags & FLAG_FINAL != 0,
            spool: h.position,
        }))
    }
}

fn refusal<'a>(h: &Header, body: &'a [u8]) -> Option<Answer<'a>> {
    let (&n, rest) = body.split_first()?;
    let (word, text) = rest.split_at_checked(usize::from(n))?;
    let word = Refusal::from_word(word)?;
    if text.len() > REFUSAL_TEXT_MAX {
        return None;
    }
    Some(Answer::Refusal {
        source: h.source,
        sequence: h.sequence,
        word,
        text,
    })
}

macro_rules! refusals {
    ($($name:ident $word:literal $meaning:literal)*) => {
        /// Why a frame or a connection is not taken: one of a closed list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Refusal { $(#[doc = $meaning] $name),* }

        impl Refusal {
            /// The word that stands in the frame, the collector's metrics and its books.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Refusal::$name => $word),* }
            }

            fn from_word(word: &[u8]) -> Option<Refusal> {
                $(if word == $word.as_bytes() { return Some(Refusal::$name); })*
                None
            }
        }
    };
}

refusals! {
    Short "short" "Fewer bytes than a header."
    Magic "magic" "The first two bytes are not the magic."
    Version "version" "Another protocol version."
    Type "type" "An unknown frame type."
    Flags "flags" "A reserved flag is set."
    Size "size" "The size does not fit."
    Count "count" "The count does not fit the body."
    Stream "stream" "The reserved stream, or the source belongs to another."
    Number "number" "A number is 2^48 or more."
    Length "length" "An id length of 9 to 15."
    Inherit "inherit" "The first event of a frame inherits an id."
    Kind "kind" "A kind that has no name."
    Progress "progress" "A progress above 100."
    Name "name" "A name that is cut short, or none, or whose id is another's."
    Body "body" "The body of a hello is not as its type demands."
    Sealed "sealed" "Sealed, and the collector has no key, or the tag is wrong."
    Unsealed "unsealed" "Not sealed, where the stream, the source or the session demands it."
    Time "time" "Sealed, and its time is too far from the collector's."
    Unexpected "unexpected" "Not taken in this place: a hello where nobody acknowledges."
    Truncated "truncated" "The datagram was larger than the collector's buffer."
    Rest "rest" "What follows a refused frame in its datagram."
    Sequence "sequence" "The frame does not follow the one before it."
    Position "position" "The position contradicts the source's other frames."
    Sources "sources" "No room for another source."
    Connections "connections" "No room for another connection."
    Idle "idle" "The connection was silent for too long."
    Credit "credit" "More bytes in flight than the acks allowed."
    Forgotten "forgotten" "The collector does not know the source, and the frame is not its first."
}

/// What stands in a `names` frame in front of a text of so many bytes: which attribute
/// (0: the name) of which content it is.
#[must_use]
pub fn name_head(attribute: u8, content: u64, size: usize) -> [u8; NAME_HEAD] {
    let mut b = [attribute; NAME_HEAD];
    b[1..3].copy_from_slice(&(size as u16).to_le_bytes());
    b[3..].copy_from_slice(&content.to_le_bytes());
    b
}

/// The room in which an event is written: a field is stored in eight bytes, and
/// what comes next is stored over those that it does not need.
pub const EVENT_ROOM: usize = EVENT_SIZE_MAX + 8;

/// Writes an event to the start of `b`, something behind it, and returns its size.
/// `at` is how far it is behind its frame's time, at most [`AT_MAX`]; `before` has the
/// content and the user of the event before it in the frame.
#[inline]
pub fn put_event(
    b: &mut [u8; EVENT_ROOM],
    e: &Event,
    at: u64,
    before: Option<(u64, u64)>,
) -> usize {
    let (mut content_len, mut user_len) = (id_len(e.content), id_len(e.user));
    if let Some((content, user)) = before {
        content_len = if content == e.content { 0 } else { content_len };
        user_len = if user == e.user { 0 } else { user_len };
    }
    let dwell = u64::from(e.dwell.min(DWELL_MAX));
    let (at_len, dwell_len) = (number_len(at), number_len(dwell));
    let progress_len = usize::from(e.progress.is_some());
    b[0] = (content_len << 4 | user_len) as u8;
    b[1] = e.kind as u8 | (at_len << 3 | dwell_len << 5 | progress_len << 7) as u8;
    b[2..10].copy_from_slice(&e.content.to_le_bytes());
    let user = 2 + content_len;
    b[user..user + 8].copy_from_slice(&e.user.to_le_bytes());
    // Seven bytes at most: one store for all three.
    let progress = u64::from(e.progress.unwrap_or(0)) << (8 * (at_len + dwell_len));
    let rest = user + user_len;
    b[rest..rest + 8].copy_from_slice(&(at | dwell << (8 * at_len) | progress).to_le_bytes());
    rest + at_len + dwell_len + progress_len
}

/// The bytes of an id that is written: at least one.
#[inline]
fn id_len(id: u64) -> usize {
    number_len(id | 1)
}

/// The bytes of a number of which zero takes none.
#[inline]
pub(crate) fn number_len(n: u64) -> usize {
    (71 - n.leading_zeros() as usize) >> 3
}
