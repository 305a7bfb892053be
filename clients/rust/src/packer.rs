//! Events into numbered frames.

use crate::event::{Event, Invalid};
use crate::wire::{self, number_len, put_event, Header, AT_MAX, EVENT_ROOM, HEADER_SIZE};

/// Why [`Packer::add`] did not take an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// The event belongs in the next frame: take this one, and add the event again.
    Full,
    /// No collector would take the event.
    Invalid(Invalid),
}

impl core::fmt::Display for Refused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Refused::Full => f.write_str("the frame is full: finish it, and add the event again"),
            Refused::Invalid(why) => why.fmt(f),
        }
    }
}

impl core::error::Error for Refused {}

/// Packs events into the frames of one source, and numbers them. It does no I/O,
/// has no clock and allocates nothing: a frame is as large as the buffer that it is
/// given, an array or a slice.
///
/// ```
/// use lectern_emit::{Event, Packer};
/// // The source is a random number, drawn anew for every packer.
/// let mut packer = Packer::new([0; 1400], 7, 0x1122334455667788);
/// packer.add(&Event::open(42, 9).at(1_767_225_600_000)).unwrap();
/// let frame = packer.finish().unwrap();
/// assert_eq!(frame.len(), 44);
/// ```
#[derive(Clone, Debug)]
pub struct Packer<B> {
    buffer: B,
    numbers: Numbers,

    // The unfinished frame, whose body is encoded as its events come.
    count: u16,
    size: usize,
    /// What the events' at counts from: the oldest, or a little before it.
    base: u64,
    oldest: u64,
    newest: u64,
    /// The ids of the last event.
    content: u64,
    user: u64,
}

/// The numbers of the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// The application or site that the events belong to.
    pub stream: u16,
    /// Who numbers.
    pub source: u64,
    /// Frames so far.
    pub sequence: u64,
    /// Events so far.
    pub position: u64,
}

impl Numbers {
    /// The first numbers of a source.
    #[must_use]
    pub fn new(stream: u16, source: u64) -> Self {
        Numbers {
            stream,
            source,
            sequence: 0,
            position: 0,
        }
    }

    /// A frame without events, which shows how far the source has numbered. `time`
    /// is the present, in Unix milliseconds.
    pub fn beat(&mut self, time: u64) -> [u8; HEADER_SIZE] {
        self.header(wire::TYPE_EVENTS, HEADER_SIZE, 0, time)
    }

    /// The header of a frame of names, of so many bytes in all.
    #[must_use]
    pub fn names(&mut self, size: usize, time: u64) -> [u8; HEADER_SIZE] {
        self.header(wire::TYPE_NAMES, size, 0, time)
    }

    /// Uses up the numbers of a frame with so many events that will not be sent: it
    /// shows as lost, and not as if it had never been.
    pub fn skip(&mut self, events: u64) {
        self.sequence += 1;
        self.position += events;
    }

    fn header(&mut self, kind: u8, size: usize, count: u16, time: u64) -> [u8; HEADER_SIZE] {
        let header = Header {
            kind,
            flags: 0,
            size: size as u16,
            count,
            stream: self.stream,
            time: time & wire::TIME_MAX,
            source: self.source,
            sequence: self.sequence,
            position: self.position,
        };
        self.skip(u64::from(count));
        header.bytes()
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Packer<B> {
    /// A packer for the frames of this source, which fit in the buffer.
    ///
    /// # Panics
    /// If the buffer is smaller than [`wire::SIZE_MIN`], larger than
    /// [`wire::FRAME_SIZE_MAX`], or the stream is 65535, which is reserved.
    pub fn new(buffer: B, stream: u16, source: u64) -> Self {
        let size = buffer.as_ref().len();
        assert!(
            (wire::SIZE_MIN..=wire::FRAME_SIZE_MAX).contains(&size),
            "a frame of {size} bytes: use 65 to 65535"
        );
        assert!(stream != wire::STREAM_RESERVED, "stream 65535 is reserved");
        let numbers = Numbers::new(stream, source);
        Packer {
            buffer,
            numbers,
            count: 0,
            size: HEADER_SIZE,
            base: 0,
            oldest: 0,
            newest: 0,
            content: 0,
            user: 0,
        }
    }

    /// The numbers of the next frame.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// The numbers of the next frame, to go on with others: a new source, or behind
    /// what was dropped.
    pub fn numbers_mut(&mut self) -> &mut Numbers {
        &mut self.numbers
    }

    /// Events in the unfinished frame.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether there is no unfinished frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Puts an event into the unfinished frame. It must have a time.
    ///
    /// # Errors
    /// [`Refused::Full`]: it is in no frame yet. [`Refused::Invalid`]: it will be in none.
    #[inline]
    pub fn add(&mut self, e: &Event) -> Result<(), Refused> {
        e.check().map_err(Refused::Invalid)?;
        if self.count == 0 {
            (self.base, self.oldest, self.newest) = (e.time, e.time, e.time);
        }
        if e.time < self.base {
            return self.add_older(e);
        }
        let at = e.time - self.base;
        if at > AT_MAX {
            return Err(Refused::Full);
        }
        let before = self.before();
        let rest = &mut self.buffer.as_mut()[self.size..];
        let size = if let Some(room) = rest.first_chunk_mut() {
            put_event(room, e, at, before)
        } else {
            let mut room = [0; EVENT_ROOM];
            let size = put_event(&mut room, e, at, before);
            let Some(rest) = rest.get_mut(..size) else {
                return Err(Refused::Full);
            };
            rest.copy_from_slice(&room[..size]);
            size
        };
        self.appended(e, size);
        Ok(())
    }

    /// The most bytes that the unfinished frame takes once it is finished.
    #[must_use]
    pub fn size_max(&self) -> usize {
        self.size
    }

    /// The ids that an event may inherit.
    #[inline]
    fn before(&self) -> Option<(u64, u64)> {
        (self.count > 0).then_some((self.content, self.user))
    }

    #[inline]
    fn appended(&mut self, e: &Event, size: usize) {
        self.size += size;
        self.count += 1;
        (self.content, self.user) = (e.content, e.user);
        (self.oldest, self.newest) = (self.oldest.min(e.time), self.newest.max(e.time));
    }

    /// Adds an event that is older than what the others count from: they are encoded
    /// anew. To count from further back each time keeps that seldom, and the
    /// last word is `finish`'s.
    #[cold]
    fn add_older(&mut self, e: &Event) -> Result<(), Refused> {
        for slack in [(self.newest - e.time) / 8, 0] {
            let base = e.time - slack;
            if self.newest - base > AT_MAX {
                continue;
            }
            let body = &self.buffer.as_ref()[HEADER_SIZE..self.size];
            let size = HEADER_SIZE + shifted_size(body, self.base, base);
            let mut room = [0; EVENT_ROOM];
            let added = put_event(&mut room, e, slack, self.before());
            if size + added > self.buffer.as_ref().len() {
                continue;
            }
            // Moved behind its place first, so that no byte is written over before it
            // was read.
            let start = HEADER_SIZE + size - self.size;
            self.buffer
                .as_mut()
                .copy_within(HEADER_SIZE..self.size, start);
            self.shift(start, base);
            let end = self.size + added;
            self.buffer.as_mut()[self.size..end].copy_from_slice(&room[..added]);
            self.appended(e, added);
            return Ok(());
        }
        Err(Refused::Full)
    }

    /// Encodes the body, which begins at `from`, anew for another base.
    fn shift(&mut self, from: usize, base: u64) {
        let b = self.buffer.as_mut();
        let (mut read, mut write) = (from, HEADER_SIZE);
        for _ in 0..self.count {
            let e = At::parse(&b[read..]);
            let at = e.at + self.base - base;
            let at_len = number_len(at);
            let rest = e.size - e.offset - e.len;
            let shape = b[read + 1] & !(3 << 3) | (at_len << 3) as u8;
            // Up to dwell and progress nothing is written that is not read.
            let mut tail = [0; 4];
            tail[..rest].copy_from_slice(&b[read + e.size - rest..read + e.size]);
            b.copy_within(read..read + e.offset, write);
            b[write + 1] = shape;
            write += e.offset;
            b[write..write + at_len].copy_from_slice(&at.to_le_bytes()[..at_len]);
            b[write + at_len..write + at_len + rest].copy_from_slice(&tail[..rest]);
            write += at_len + rest;
            read += e.size;
        }
        (self.size, self.base) = (write, base);
    }

    /// The finished frame, or nothing if there are no events in it. Its numbers are
    /// used up: what becomes of it, the collector's books will say. The next event
    /// begins a new frame.
    pub fn finish(&mut self) -> Option<&[u8]> {
        if self.count == 0 {
            return None;
        }
        if self.base != self.oldest {
            self.shift(HEADER_SIZE, self.oldest);
        }
        let header = self
            .numbers
            .header(wire::TYPE_EVENTS, self.size, self.count, self.base);
        self.buffer.as_mut()[..HEADER_SIZE].copy_from_slice(&header);
        let frame = &self.buffer.as_ref()[..self.size];
        (self.count, self.size) = (0, HEADER_SIZE);
        Some(frame)
    }
}

/// Where the at of an encoded event is.
struct At {
    offset: usize,
    len: usize,
    at: u64,
    /// Of the whole event.
    size: usize,
}

impl At {
    fn parse(b: &[u8]) -> At {
        let (lengths, shape) = (usize::from(b[0]), usize::from(b[1]));
        let offset = 2 + (lengths >> 4) + (lengths & 15);
        let len = shape >> 3 & 3;
        let at = b[offset..offset + len]
            .iter()
            .rev()
            .fold(0, |at, &b| at << 8 | u64::from(b));
        At {
            offset,
            len,
            at,
            size: offset + len + (shape >> 5 & 3) + (shape >> 7),
        }
    }
}

/// The size of a body whose at count from `base`, once they count from `to`.
fn shifted_size(body: &[u8], base: u64, to: u64) -> usize {
    let (mut read, mut size) = (0, body.len());
    while read < body.len() {
        let e = At::parse(&body[read..]);
        size += number_len(e.at + base - to) - e.len;
        read += e.size;
    }
    size
}
