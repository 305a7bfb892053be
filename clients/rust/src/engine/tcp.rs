use std::io::{self, ErrorKind, Read};

use super::names::{Names, SAID_FOR_TCP};
use super::queue::Queue;
use super::{timed, AddError, Clock, Dial, Engine, Stream, BEAT_MAX, BEAT_MIN};
use crate::seal::{self, Key, Seal, RANDOM_SIZE};
use crate::wire::{self, Ack, Answer, Refusal, ANSWER_SIZE_MAX, HEADER_SIZE};
use crate::{random, Event, Packer, Stats};

/// How long connecting may take, and again the first ack.
const HELLO_WAIT: u64 = 10_000;
/// How long frames may be in flight without a word from the collector before the
/// connection counts as dead.
const SILENCE_MAX: u64 = 30_000;
const BACKOFF_MIN: u64 = 100;
const BACKOFF_MAX: u64 = 10_000;
/// How often answers are looked for while some are awaited, and a connection that is
/// being made or is full.
const ANSWER_POLL: u64 = 10;
const BUSY_POLL: u64 = 2;
/// The most frames that a step gives to the kernel: who adds events waits for it.
const STEP_FRAMES: usize = 16;
/// From here on a source ends as soon as nothing of it is kept.
const RENUMBER_AFTER: u64 = wire::NUMBER_MAX / 2;

/// Options of an emitter over TCP.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpOptions {
    /// The number of the application or site that the events belong to, 0 to 65534.
    pub stream: u16,
    /// How long an event waits at most for others to share its frame, in
    /// milliseconds: default 250.
    pub flush_age: u64,
    /// The largest frame, in bytes: default 32 KiB, [`wire::SIZE_MIN`] to
    /// [`wire::FRAME_SIZE_MAX`].
    pub frame_size: usize,
    /// How many bytes of frames are kept at most until they are acknowledged: default
    /// 16 MiB, four frames at least. What does not fit is dropped, numbered and counted.
    pub buffer_size: usize,
    pub(crate) seal: Option<(Key, String)>,
}

impl TcpOptions {
    /// The options, with what is sent sealed by a key of the stream, for an audience, as
    /// the collector has both.
    #[cfg(feature = "seal")]
    #[must_use]
    pub fn sealed(self, key: Key, audience: &str) -> Self {
        Self {
            seal: Some((key, audience.into())),
            ..self
        }
    }

    /// The defaults, for this stream.
    #[must_use]
    pub fn new(stream: u16) -> Self {
        TcpOptions {
            stream,
            flush_age: 250,
            frame_size: 32 << 10,
            buffer_size: 16 << 20,
            seal: None,
        }
    }

    /// Says what is wrong with them.
    ///
    /// # Errors
    /// `InvalidInput`, with what and what to use.
    pub fn check(&self) -> io::Result<()> {
        let bad = |what: String| Err(io::Error::new(ErrorKind::InvalidInput, what));
        if self.stream == wire::STREAM_RESERVED {
            return bad("stream 65535 is reserved; use 0 to 65534".into());
        }
        if let Some(what) = self
            .seal
            .as_ref()
            .and_then(|(_, audience)| Seal::check(audience))
        {
            return bad(what.into());
        }
        let most = wire::FRAME_SIZE_MAX
            - if self.seal.is_some() {
                wire::TAG_SIZE
            } else {
                0
            };
        if !(wire::SIZE_MIN..=most).contains(&self.frame_size) {
            return bad(format!(
                "frames of {} bytes: use {} to 65535",
                self.frame_size,
                wire::SIZE_MIN
            ));
        }
        if self.buffer_size < 4 * self.frame_size {
            return bad(format!(
                "a buffer of {} bytes: use {} or more",
                self.buffer_size,
                4 * self.frame_size
            ));
        }
        Ok(())
    }
}

/// Sends events over acknowledged connections, one at a time. It keeps them until
/// the collector has made them durable; when a connection ends, it makes another,
/// after 100 ms to 10 s, and sends again what is not acknowledged.
pub struct Tcp<D: Dial, C> {
    options: TcpOptions,
    dial: D,
    clock: C,
    queue: Queue,
    names: Names,
    /// The collector does not know names.
    nameless: bool,
    seal: Option<Seal>,
    /// How often the key was changed.
    keys: u64,
    /// Every frame that was ever sent under this source has a sequence below this.
    tried: u64,
    /// The largest durable of this source.
    acked: u64,
    /// What the source belongs to, 0 where nothing with a name has answered yet.
    spool: u64,
    link: Link<D::Socket>,
    /// Something was acknowledged, or refused for good, since the last connection.
    progress: bool,
    failures: u32,
    connections: u64,
    /// Of the first event of the unfinished frame.
    began: u64,
    /// The unfinished frame is to be finished as soon as there is room.
    overdue: bool,
    /// When closing gives up.
    closing: Option<u64>,
    over: bool,
    due: u64,
    trouble: Option<String>,
    stats: Stats,
}

enum Link<S> {
    Down { until: u64 },
    Dialling,
    Up(Box<Session<S>>),
}

/// One connection, from its hello on.
struct Session<S> {
    stream: S,
    hello: Vec<u8>,
    /// What seals the session, the emitter's random, and its keys from the first ack on.
    seal: Option<(Seal, [u8; RANDOM_SIZE])>,
    keys: Option<seal::Session>,
    /// The engine's keys when the connection began.
    generation: u64,
    /// The frame that is being sent, where it is sealed.
    sealed: Vec<u8>,
    /// What of the answers is here.
    input: [u8; ANSWER_SIZE_MAX],
    filled: usize,
    /// The first ack has come.
    greeted: bool,
    /// The place in the queue of the frame that is sent next, and how much of it, or
    /// of the hello, the kernel has.
    cursor: usize,
    written: usize,
    durable: u64,
    credit: u64,
    in_flight: u64,
    /// The sequence of the first frame that was sent.
    begin: Option<u64>,
    /// `tried` when the connection began.
    tried_before: u64,
    /// The last ack, or when something came to be in flight.
    heard: u64,
    last_sent: u64,
    beat_wait: u64,
}

/// Why a connection ends.
enum End {
    Lost(String),
    Refused {
        source: u64,
        sequence: u64,
        word: Refusal,
        text: String,
    },
    /// The collector acknowledged what was never sent.
    Ahead,
    /// Another spool answered.
    Spool,
    /// Another key is to seal what follows.
    Rekeyed,
}

impl<S> Session<S> {
    /// How many bytes a frame of the queue has on this connection.
    fn size(&self, frame: &[u8]) -> u64 {
        frame.len() as u64
            + if self.seal.is_some() {
                wire::TAG_SIZE as u64
            } else {
                0
            }
    }
}

impl End {
    fn io(doing: &str, e: &io::Error) -> Self {
        End::Lost(format!("{doing}: {e}"))
    }
}

impl<D: Dial, C: Clock> Tcp<D, C>
where
    D::Socket: Stream,
{
    /// An engine whose connections `dial` makes, the first one with the first step.
    ///
    /// # Errors
    /// The options are not good.
    pub fn new(options: TcpOptions, dial: D, clock: C) -> io::Result<Self> {
        options.check()?;
        let packer = Packer::new(vec![0; options.frame_size], options.stream, random::draw());
        let seal = options
            .seal
            .as_ref()
            .map(|(key, to)| Seal::new(key, options.stream, to));
        Ok(Tcp {
            seal,
            keys: 0,
            queue: Queue::new(packer, options.buffer_size),
            names: Names::new(options.frame_size, SAID_FOR_TCP),
            nameless: false,
            options,
            dial,
            tried: 0,
            acked: 0,
            spool: 0,
            link: Link::Down { until: 0 },
            progress: false,
            failures: 0,
            connections: 0,
            began: 0,
            overdue: false,
            closing: None,
            over: false,
            due: 0,
            trouble: None,
            stats: Stats::default(),
            clock,
        })
    }

    /// Finishes the frame that is being packed, false where there is no room.
    fn finish(&mut self) -> bool {
        if !self.queue.unfinished() {
            return true;
        }
        self.overdue = !self.queue.finish(self.clock.wall());
        if self.overdue {
            return false;
        }
        self.finished();
        true
    }

    /// Has the names that wait follow in a frame of their own, behind the events. False
    /// where there is no room: they are tried again when they are as old again.
    fn finish_names(&mut self) -> bool {
        if self.names.is_empty() {
            return true;
        }
        if !self.finish() || !self.queue.put_names(&mut self.names, self.clock.wall()) {
            self.names.began = self.clock.now();
            return false;
        }
        self.finished();
        true
    }

    fn finished(&mut self) {
        self.stats.frames += 1;
        self.due = 0;
        if let Link::Up(s) = &mut self.link {
            s.beat_wait = BEAT_MIN;
        }
    }

    #[cfg_attr(not(feature = "seal"), allow(unreachable_code, unused_variables))]
    fn connect(&mut self, now: u64) {
        if matches!(self.link, Link::Down { until } if now >= until) {
            self.dial.start();
            self.link = Link::Dialling;
        }
        if !matches!(self.link, Link::Dialling) {
            return;
        }
        match self.dial.poll() {
            None => {}
            Some(Err(e)) => self.lost(End::io("cannot connect", &e), now),
            Some(Ok(stream)) => {
                let source = self.queue.numbers().source;
                let wall = self.clock.wall();
                let (hello, seal) = match &self.seal {
                    None => (
                        wire::hello(self.options.stream, source, wall).to_vec(),
                        None,
                    ),
                    Some(seal) => {
                        let (hello, random) = seal.hello(source, wall);
                        (hello, Some((seal.clone(), random)))
                    }
                };
                self.link = Link::Up(Box::new(Session {
                    stream,
                    hello,
                    seal,
                    keys: None,
                    generation: self.keys,
                    sealed: vec![],
                    input: [0; ANSWER_SIZE_MAX],
                    filled: 0,
                    greeted: false,
                    cursor: 0,
                    written: 0,
                    durable: 0,
                    credit: 0,
                    in_flight: 0,
                    begin: None,
                    tried_before: self.tried,
                    heard: now,
                    last_sent: now,
                    beat_wait: BEAT_MIN,
                }));
                if self.connections > 0 {
                    self.stats.renewals += 1;
                }
                self.connections += 1;
            }
        }
    }

    /// Takes what the collector has said.
    fn listen(&mut self, s: &mut Session<D::Socket>, now: u64) -> Result<(), End> {
        loop {
            let want = match s.input.first_chunk() {
                Some(head) if s.filled >= HEADER_SIZE => Answer::size(head).map_err(foreign)?,
                _ => HEADER_SIZE,
            };
            if s.filled >= want && s.filled >= HEADER_SIZE {
                let answer = Answer::parse(&s.input[..want]).map_err(foreign)?;
                s.filled = 0;
                let source = self.queue.numbers().source;
                let ack = matches!(answer, Answer::Ack(_));
                if !believed(
                    &s.seal,
                    &mut s.keys,
                    s.greeted,
                    &s.input[..want],
                    ack,
                    source,
                ) {
                    return Err(foreign(wire::Foreign));
                }
                match answer {
                    Answer::Ack(ack) if ack.source == self.queue.numbers().source => {
                        self.acknowledge(s, ack, now)?;
                    }
                    Answer::Ack(_) => return Err(foreign(wire::Foreign)),
                    Answer::Refusal {
                        source,
                        sequence,
                        word,
                        text,
                    } => {
                        let text = String::from_utf8_lossy(text).escape_debug().to_string();
                        return Err(End::Refused {
                            source,
                            sequence,
                            word,
                            text,
                        });
                    }
                }
                continue;
            }
            match s.stream.read(&mut s.input[s.filled..want]) {
                Ok(0) => {
                    return Err(End::Lost(
                        "the collector closed it; it may be full, or about to restart".into(),
                    ))
                }
                Ok(n) => s.filled += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(End::io("the connection was lost", &e)),
            }
        }
    }

    fn acknowledge(&mut self, s: &mut Session<D::Socket>, ack: Ack, now: u64) -> Result<(), End> {
        if self.spool == 0 && ack.spool != 0 && self.tried == 0 {
            self.spool = ack.spool;
        }
        if self.spool != ack.spool {
            return Err(End::Spool);
        }
        if ack.durable > self.tried {
            return Err(End::Ahead);
        }
        if !s.greeted {
            (s.greeted, s.written) = (true, 0); // no longer of the hello
            s.last_sent = now;
            self.trouble = None;
        }
        s.credit = ack.credit;
        s.heard = now;
        s.durable = s.durable.max(ack.durable);
        if ack.last {
            // What is not durable was not taken: it is as if it had never been sent.
            s.credit = 0;
            // Unless the collector has forgotten what it said of the source before.
            if ack.durable >= self.acked {
                self.tried = ack.durable;
                s.tried_before = s.tried_before.min(ack.durable);
            }
        }
        self.acked = self.acked.max(ack.durable);
        self.release(s);
        Ok(())
    }

    /// Releases the frames that are durable or refused, but for one of which the
    /// kernel has a part.
    fn release(&mut self, s: &mut Session<D::Socket>) {
        while let Some(slot) = self.queue.get(0) {
            let writing = s.cursor == 0 && s.written > 0;
            if writing || !slot.refused && slot.sequence >= s.durable {
                break;
            }
            if !slot.refused {
                self.stats.acked += slot.events;
                self.stats.buffered -= slot.events;
                if s.cursor > 0 {
                    s.in_flight -= s.size(slot.frame());
                }
            }
            self.queue.pop();
            s.cursor = s.cursor.saturating_sub(1);
            self.progress = true;
        }
        if self.overdue {
            self.finish();
        }
    }

    /// Gives frames to the kernel, as far as credit allows and it takes them. It says
    /// whether it would take no more.
    fn send(&mut self, s: &mut Session<D::Socket>, now: u64) -> Result<bool, End> {
        let mut sent = 0;
        while sent < STEP_FRAMES {
            let Some(slot) = self.queue.get(s.cursor) else {
                break;
            };
            if slot.refused {
                s.cursor += 1;
                continue;
            }
            let size = s.size(slot.frame());
            if s.written == 0 {
                // A single frame may go beyond the credit, so that a small one does not
                // end all.
                if s.credit == 0 || s.in_flight > 0 && s.in_flight.saturating_add(size) > s.credit {
                    break;
                }
                if s.in_flight == 0 {
                    s.heard = now;
                }
                s.begin.get_or_insert(slot.sequence);
                if let Some(keys) = &s.keys {
                    s.sealed = keys.frame(slot.frame());
                }
            }
            let frame = if s.keys.is_some() {
                &s.sealed
            } else {
                slot.frame()
            };
            let before = s.written;
            let result = write(&mut s.stream, frame, &mut s.written);
            if before == 0 && s.written > 0 {
                s.in_flight += size;
                self.tried = self.tried.max(slot.sequence + 1);
            }
            match result {
                Ok(true) => {}
                Ok(false) => return Ok(true),
                Err(e) => return Err(End::io("the connection was lost", &e)),
            }
            s.last_sent = now;
            s.written = 0;
            s.cursor += 1;
            sent += 1;
            self.release(s); // what was acknowledged meanwhile
        }
        Ok(false)
    }

    /// Does what is due on a connection.
    fn use_connection(&mut self, s: &mut Session<D::Socket>, now: u64) -> Result<u64, End> {
        if !s.greeted {
            match write(&mut s.stream, &s.hello, &mut s.written) {
                Ok(true) => {}
                Ok(false) => return Ok(now + BUSY_POLL),
                Err(e) => return Err(End::io("the connection was lost", &e)),
            }
        }
        self.listen(s, now)?;
        if !s.greeted {
            if now - s.heard >= HELLO_WAIT {
                return Err(End::Lost(
                    "it did not answer a hello within 10 s; check the address".into(),
                ));
            }
            return Ok(now + ANSWER_POLL);
        }
        let rekeyed = s.generation != self.keys;
        if rekeyed && s.in_flight == 0 {
            self.progress = true;
            return Err(End::Rekeyed);
        }
        self.beat(s, now);
        // With another key nothing is sent until what is in flight is acknowledged.
        let sent = if rekeyed && s.written == 0 {
            Ok(false)
        } else {
            self.send(s, now)
        };
        let full = match sent {
            // The reason may be there.
            Err(e) => return Err(self.listen(s, now).err().unwrap_or(e)),
            Ok(full) => full,
        };
        if s.in_flight > 0 && now - s.heard >= SILENCE_MAX {
            return Err(End::Lost(
                "the collector acknowledged nothing for 30 s".into(),
            ));
        }
        let more = self.queue.len() > s.cursor;
        Ok(match (more, full) {
            (true, true) => now + BUSY_POLL,
            (true, false) if !rekeyed && s.credit > 0 && s.in_flight < s.credit => now,
            _ if more || s.in_flight > 0 || self.closing.is_some() => now + ANSWER_POLL,
            _ => s.last_sent + s.beat_wait,
        })
    }

    fn beat(&mut self, s: &mut Session<D::Socket>, now: u64) {
        let idle = s.in_flight == 0 && self.queue.len() == 0 && self.closing.is_none();
        if !idle || now - s.last_sent < s.beat_wait {
            return;
        }
        s.last_sent = now;
        s.beat_wait = (2 * s.beat_wait).min(BEAT_MAX);
        if self.queue.packer.is_empty() && self.queue.finish(self.clock.wall()) {
            self.stats.frames += 1;
        }
    }

    /// Draws the consequences of the end of a connection.
    fn lost(&mut self, end: End, now: u64) {
        let session = match std::mem::replace(&mut self.link, Link::Down { until: now }) {
            Link::Up(s) => Some(s),
            _ => None,
        };
        let ended = session.is_some_and(|s| self.judge(*s, &end));
        self.trouble = Some(match end {
            End::Lost(why) => why,
            End::Ahead => {
                "the collector acknowledged what was never sent; a new source goes on".into()
            }
            End::Spool => "another spool answered; a new source goes on".into(),
            End::Rekeyed => "another key seals what follows".into(),
            End::Refused {
                word: Refusal::Unexpected,
                ..
            } => "the collector does not acknowledge; use one that does, or UDP".into(),
            End::Refused { word, text, .. } => {
                format!("the collector refused: {} \"{text}\"", word.word())
            }
        });
        if std::mem::take(&mut self.progress) {
            self.failures = 0;
            if ended {
                return; // the next connection is made at once
            }
        }
        let most = (BACKOFF_MIN << self.failures.min(10)).min(BACKOFF_MAX);
        // Drawn, so that many clients of one collector do not come back at once.
        self.link = Link::Down {
            until: now + most / 2 + random::draw() % (most / 2) + 1,
        };
        self.failures += 1;
    }

    /// Whether a new source begins for it.
    fn judge(&mut self, mut s: Session<D::Socket>, end: &End) -> bool {
        // What the kernel had a part of is sent again as a whole.
        s.written = 0;
        if let End::Refused {
            word: Refusal::Type,
            ..
        } = end
        {
            self.give_up_names(&mut s);
        }
        let source = self.queue.numbers().source;
        let (sequence, word) = match *end {
            End::Lost(_) => return false,
            // The next connection is made at once.
            End::Rekeyed => return true,
            // What was never sent was not counted under these numbers, and the spool
            // before may have stored all that was.
            End::Ahead | End::Spool => return self.end_source(self.tried),
            End::Refused {
                source: of,
                sequence,
                word,
                ..
            } if of == source && s.begin.is_some() => (sequence, word),
            End::Refused { .. } => return false,
        };
        match word {
            // Of the moment, and not of the frame.
            Refusal::Sources
            | Refusal::Connections
            | Refusal::Idle
            | Refusal::Credit
            | Refusal::Unexpected
            | Refusal::Sealed
            | Refusal::Unsealed => false,
            // Of this connection the collector has taken no frame.
            Refusal::Forgotten => s.begin > Some(0) && self.end_source(s.tried_before),
            // Somebody else numbers under this source. The frame itself was not taken,
            // nor was any behind it on this connection.
            Refusal::Position if sequence > 0 => self.end_source(s.tried_before.max(sequence)),
            _ => {
                self.refuse(&mut s, sequence);
                false
            }
        }
    }

    /// Leaves a frame out that the collector refused.
    fn refuse(&mut self, s: &mut Session<D::Socket>, sequence: u64) {
        for i in 0..s.cursor.saturating_add(1).min(self.queue.len()) {
            if let Some(slot) = self
                .queue
                .get_mut(i)
                .filter(|slot| slot.sequence == sequence && !slot.refused)
            {
                slot.refused = true;
                let events = slot.events;
                s.in_flight = s.in_flight.saturating_sub(s.size(slot.frame()));
                self.stats.refused += events;
                self.stats.buffered -= events;
                self.progress = true;
                self.release(s);
                return;
            }
        }
    }

    /// Is for a collector that does not know names, and cannot say which frame that was:
    /// those that wait or are kept are not sent to it, nor are others.
    fn give_up_names(&mut self, s: &mut Session<D::Socket>) {
        for i in 0..self.queue.len() {
            if let Some(slot) = self
                .queue
                .get_mut(i)
                .filter(|slot| slot.is_names() && !slot.refused)
            {
                slot.refused = true;
                self.nameless = true;
                self.progress = true;
            }
        }
        if self.nameless {
            self.names.clear();
        }
        self.release(s);
    }

    /// Begins a new source. The frames below `unsure` may have been counted: they are
    /// given up. The others become the first of the new source.
    fn end_source(&mut self, unsure: u64) -> bool {
        // Whoever answers so to a source that has sent nothing will do it again: then
        // this is no progress, and the next connection waits.
        self.progress |= self.tried > 0;
        while self.queue.get(0).is_some_and(|slot| slot.sequence < unsure) {
            if let Some(slot) = self.queue.pop().filter(|slot| !slot.refused) {
                self.stats.unsure += slot.events;
                self.stats.buffered -= slot.events;
            }
        }
        self.renew_source();
        if self.overdue {
            self.finish();
        }
        true
    }

    fn renew_source(&mut self) {
        self.queue.renew(random::draw());
        (self.tried, self.acked, self.spool) = (0, 0, 0);
    }

    /// Ends what has come to its end: the closing, or a source with too high numbers.
    fn settle(&mut self, now: u64) {
        if self.closing.is_some() && self.queue.len() == 0 {
            self.finish_names();
        }
        if self.queue.len() > 0 {
            if self.closing.is_some_and(|until| now >= until) {
                self.end();
            }
            return;
        }
        let numbers = self.queue.numbers();
        if numbers.position >= RENUMBER_AFTER || numbers.sequence >= RENUMBER_AFTER {
            self.renew_source();
            self.link = Link::Down { until: now };
        }
        if self
            .closing
            .is_some_and(|until| now >= until || !self.queue.unfinished())
        {
            self.end();
        }
    }

    /// Gives up what is still kept.
    fn end(&mut self) {
        self.stats.closed += std::mem::take(&mut self.stats.buffered);
        self.link = Link::Down { until: u64::MAX };
        self.over = true;
    }

    fn schedule(&mut self, link: u64) {
        self.due = link;
        if !self.queue.packer.is_empty() && !self.overdue {
            self.due = self.due.min(self.began + self.options.flush_age);
        }
        if !self.names.is_empty() {
            self.due = self.due.min(self.names.began + self.options.flush_age);
        }
        if let Some(until) = self.closing {
            self.due = self.due.min(until);
        }
        if self.over {
            self.due = u64::MAX;
        }
    }
}

/// Whether an answer is the collector's word. In a sealed session that is what its down
/// key sealed; only a refusal before the first ack cannot be.
fn believed(
    seal: &Option<(Seal, [u8; RANDOM_SIZE])>,
    keys: &mut Option<seal::Session>,
    greeted: bool,
    answer: &[u8],
    ack: bool,
    source: u64,
) -> bool {
    let tagged = answer[3] & wire::FLAG_SEALED != 0;
    let Some((seal, random)) = seal else {
        return !tagged;
    };
    if !greeted && ack && tagged {
        *keys = seal.session(source, random, answer);
    }
    match keys {
        Some(keys) => keys.proves(answer),
        None => !ack,
    }
}

fn foreign(_: wire::Foreign) -> End {
    End::Lost("it does not answer like a collector; check the address".into())
}

/// Gives the rest of a frame to the kernel, and says whether it has all of it.
fn write(stream: &mut impl Stream, frame: &[u8], written: &mut usize) -> io::Result<bool> {
    while *written < frame.len() {
        match stream.write(&frame[*written..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => *written += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

impl<D: Dial, C: Clock> Engine for Tcp<D, C>
where
    D::Socket: Stream,
{
    #[inline]
    fn add(&mut self, event: &Event) -> Result<(), AddError> {
        let event = timed(event, &self.clock)?;
        self.stats.added += 1;
        if self.closing.is_some() {
            self.stats.closed += 1;
            return Err(AddError::Closed);
        }
        if self.queue.packer.add(&event).is_err()
            && (!self.finish() || self.queue.packer.add(&event).is_err())
        {
            self.queue.skip();
            self.overdue = true;
            self.stats.queue += 1;
            return Ok(());
        }
        self.stats.buffered += 1;
        if self.queue.packer.len() == 1 {
            self.began = self.clock.now();
            self.due = self.due.min(self.began + self.options.flush_age);
        }
        Ok(())
    }

    fn say(&mut self, content: u64, attribute: u8, text: &str) -> Result<(), AddError> {
        if self.closing.is_some() {
            return Err(AddError::Closed);
        }
        let now = self.clock.now();
        while !self.nameless
            && !self
                .names
                .add(content, attribute, text, now)
                .map_err(AddError::Invalid)?
        {
            if !self.finish_names() {
                break;
            }
        }
        if !self.names.is_empty() {
            self.due = self.due.min(self.names.began + self.options.flush_age);
        }
        Ok(())
    }

    fn flush(&mut self) {
        self.finish();
        self.finish_names();
    }

    fn step(&mut self) {
        let now = self.clock.now();
        if self.over {
            return;
        }
        if self.queue.unfinished() && (self.overdue || now - self.began >= self.options.flush_age) {
            self.finish();
        }
        if !self.names.is_empty() && now - self.names.began >= self.options.flush_age {
            self.finish_names();
        }
        self.connect(now);
        // Taken out while it is used, since all of this engine is used with it.
        let due = match std::mem::replace(&mut self.link, Link::Dialling) {
            Link::Up(mut s) => {
                let used = self.use_connection(&mut s, now);
                self.link = Link::Up(s);
                used.unwrap_or_else(|end| {
                    self.lost(end, now);
                    now
                })
            }
            Link::Dialling => now + ANSWER_POLL,
            Link::Down { until } => {
                self.link = Link::Down { until };
                until
            }
        };
        self.settle(now);
        self.schedule(due);
    }

    fn due(&self) -> u64 {
        self.due
    }

    fn now(&self) -> u64 {
        self.clock.now()
    }

    fn close(&mut self, patience: u64) {
        if self.closing.is_none() {
            self.flush();
            self.closing = Some(self.clock.now().saturating_add(patience));
            self.due = 0;
        }
    }

    fn closed(&self) -> bool {
        self.over
    }

    fn stats(&self) -> Stats {
        self.stats
    }

    fn source(&self) -> u64 {
        self.queue.numbers().source
    }

    #[cfg(feature = "seal")]
    fn key(&mut self, key: &Key) -> bool {
        let Some(seal) = &self.seal else { return false };
        if seal.key() != key {
            self.seal = Some(seal.with(key));
            self.keys += 1;
            self.due = 0;
        }
        true
    }

    fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}
