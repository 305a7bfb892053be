use std::io;

use super::names::{Names, SAID_FOR_UDP};
use super::{timed, AddError, Clock, Datagrams, Dial, Engine, BEAT_MAX, BEAT_MIN};
use crate::seal::{Key, Seal};
use crate::{random, wire, Event, Numbers, Packer, Stats};

/// How many beats a source sends when it begins and when it ends: one at least
/// should arrive.
const BEATS: u32 = 3;
/// The time between the last beats: a buffer that overflows is not empty again at
/// once.
const BEAT_GAP: u64 = 20;
/// How old a socket gets at least, and how long a failed attempt to replace it is
/// not repeated.
const RENEW_WAIT: u64 = 1_000;
/// How often a socket that is being made is asked for.
const DIAL_POLL: u64 = 20;

/// Options of an emitter over UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpOptions {
    /// The number of the application or site that the events belong to, 0 to 65534.
    pub stream: u16,
    /// How long an event waits at most for others to share its datagram, in
    /// milliseconds: default 250.
    pub flush_age: u64,
    /// The largest datagram, in bytes: default 1400, [`wire::SIZE_MIN`] to 65507.
    pub datagram_size: usize,
    /// How long a socket is kept that sends events, in milliseconds, before the name
    /// is resolved again and a new source begins on a new one: default 5 minutes, at
    /// least a second.
    pub socket_age: u64,
    pub(crate) seal: Option<(Key, String)>,
}

impl UdpOptions {
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
        UdpOptions {
            stream,
            flush_age: 250,
            datagram_size: 1400,
            socket_age: 300_000,
            seal: None,
        }
    }

    /// Says what is wrong with them.
    ///
    /// # Errors
    /// `InvalidInput`, with what and what to use.
    pub fn check(&self) -> io::Result<()> {
        let bad = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
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
        let least = wire::SIZE_MIN
            + if self.seal.is_some() {
                wire::TAG_SIZE
            } else {
                0
            };
        if !(least..=65507).contains(&self.datagram_size) {
            return bad(format!(
                "datagrams of {} bytes: use {} to 65507",
                self.datagram_size,
                wire::SIZE_MIN
            ));
        }
        if self.socket_age < RENEW_WAIT {
            return bad(format!(
                "a socket age of {} ms: use 1000 or more",
                self.socket_age
            ));
        }
        Ok(())
    }
}

/// Sends events in datagrams. Nothing waits for the collector and nothing is resent;
/// what is lost shows in the collector's books.
///
/// A socket is a source, since behind a new one there may be another collector: when
/// the socket is old, or nobody listens, the old source ends with its last beats, the
/// name is resolved again, and a new source begins over a new socket.
pub struct Udp<D: Dial, C> {
    options: UdpOptions,
    dial: D,
    clock: C,
    packer: Packer<Vec<u8>>,
    names: Names,
    seal: Option<Seal>,
    /// The frame that is being sent, where it is sealed.
    sealed: Vec<u8>,
    socket: Flow<D::Socket>,
    old: Option<Ending<D::Socket>>,
    /// Of the first event of the unfinished datagram.
    began: u64,
    last_sent: u64,
    beat_wait: u64,
    /// When the last beat was sent.
    beaten: u64,
    /// Of the socket.
    born: u64,
    /// When the last attempt to replace it ended.
    tried: Option<u64>,
    dialling: bool,
    /// The final beats that have still to be sent, and when the next one is due.
    last: Option<(u32, u64)>,
    patience: u64,
    due: u64,
    trouble: Option<String>,
    stats: Stats,
}

/// One socket.
struct Flow<S> {
    socket: S,
    /// In the last datagram that the kernel took.
    events: u64,
}

/// A source that ends.
struct Ending<S> {
    flow: Flow<S>,
    numbers: Numbers,
    left: u32,
    due: u64,
}

impl<D: Dial, C: Clock> Udp<D, C>
where
    D::Socket: Datagrams,
{
    /// An engine that begins over this socket, with the opening beats. `dial` makes
    /// the sockets that follow.
    ///
    /// # Errors
    /// The options are not good.
    pub fn new(options: UdpOptions, socket: D::Socket, dial: D, clock: C) -> io::Result<Self> {
        options.check()?;
        let now = clock.now();
        let seal = options
            .seal
            .as_ref()
            .map(|(key, to)| Seal::new(key, options.stream, to));
        let room = options.datagram_size - if seal.is_some() { wire::TAG_SIZE } else { 0 };
        let mut u = Udp {
            seal,
            sealed: Vec::with_capacity(options.datagram_size),
            beaten: now,
            packer: Packer::new(vec![0; room], options.stream, random::draw()),
            names: Names::new(room, SAID_FOR_UDP),
            options,
            dial,
            clock,
            socket: Flow { socket, events: 0 },
            old: None,
            began: now,
            last_sent: now,
            beat_wait: BEAT_MIN,
            born: now,
            tried: None,
            dialling: false,
            last: None,
            patience: u64::MAX,
            due: 0,
            trouble: None,
            stats: Stats::default(),
        };
        u.open();
        u.schedule();
        Ok(u)
    }

    fn open(&mut self) {
        for _ in 0..BEATS {
            self.beat();
        }
        self.beat_wait = BEAT_MIN;
    }

    fn beat(&mut self) {
        let frame = self.packer.numbers_mut().beat(self.clock.wall());
        let frame = sealed(self.seal.as_ref(), &mut self.sealed, &frame);
        let sent = self.socket.send(frame, 0, &mut self.stats);
        self.sent(sent);
        self.beaten = self.last_sent;
    }

    /// Sends the unfinished datagram. It is numbered before that is tried.
    fn send(&mut self) {
        let events = self.packer.len() as u64;
        if let Some(frame) = self.packer.finish() {
            self.stats.buffered -= events;
            self.beat_wait = BEAT_MIN;
            let frame = sealed(self.seal.as_ref(), &mut self.sealed, frame);
            let sent = self.socket.send(frame, events, &mut self.stats);
            self.sent(sent);
        }
    }

    /// Sends the names that wait, in a datagram of their own.
    fn send_names(&mut self) {
        if self.names.is_empty() {
            return;
        }
        let wall = self.clock.wall();
        let frame = self.names.finish(self.packer.numbers_mut(), wall);
        self.beat_wait = BEAT_MIN;
        let frame = sealed(self.seal.as_ref(), &mut self.sealed, &frame);
        let sent = self.socket.send(frame, 0, &mut self.stats);
        self.sent(sent);
    }

    fn sent(&mut self, sent: Sent) {
        self.last_sent = self.clock.now();
        if let Some(trouble) = sent.trouble {
            self.trouble = Some(trouble);
        }
        if sent.renew {
            self.renew_soon(self.last_sent);
        }
    }

    fn renew_soon(&mut self, now: u64) {
        let waits = self.dialling || self.old.is_some() || self.last.is_some();
        let recent = now - self.born < RENEW_WAIT
            || self.tried.is_some_and(|tried| now - tried < RENEW_WAIT);
        if !waits && !recent {
            self.dialling = true;
            self.due = now;
            self.dial.start();
        }
    }

    /// Replaces the socket where that is due. While there cannot be another, the old
    /// one stays.
    fn renew(&mut self, now: u64) {
        // One over which no events went is kept: who has nothing to send need not
        // begin sources.
        if self.packer.numbers().position > 0 && now - self.born >= self.options.socket_age {
            self.renew_soon(now);
        }
        if !self.dialling {
            return;
        }
        let Some(made) = self.dial.poll() else { return };
        (self.dialling, self.tried) = (false, Some(now));
        match made {
            Err(e) => self.trouble = Some(e.to_string()),
            Ok(socket) if self.last.is_none() => {
                let flow = std::mem::replace(&mut self.socket, Flow { socket, events: 0 });
                let numbers = self.packer.numbers();
                self.old = Some(Ending {
                    flow,
                    numbers,
                    left: BEATS,
                    due: now,
                });
                *self.packer.numbers_mut() = Numbers::new(self.options.stream, random::draw());
                self.born = now;
                self.trouble = None;
                self.stats.renewals += 1;
                self.open();
            }
            Ok(_) => {}
        }
    }

    /// Sends the final beats of the source before, over its own socket.
    fn retire(&mut self, now: u64) {
        if let Some(old) = self.old.as_mut().filter(|old| now >= old.due) {
            let frame = old.numbers.beat(self.clock.wall());
            let frame = sealed(self.seal.as_ref(), &mut self.sealed, &frame);
            old.flow.send(frame, 0, &mut self.stats);
            (old.left, old.due) = (old.left - 1, now + BEAT_GAP);
        }
        self.old.take_if(|old| old.left == 0);
    }

    /// Sends the final beats of the present source.
    fn end(&mut self, now: u64) {
        let Some((left, due)) = self.last else { return };
        if left == 0 || now < due && now < self.patience {
            return;
        }
        self.beat();
        self.last = Some((left - 1, now + BEAT_GAP));
    }

    fn schedule(&mut self) {
        self.due = self.last_sent + self.beat_wait;
        let soon = |due: &mut u64, at: Option<u64>| *due = at.map_or(*due, |at| at.min(*due));
        soon(
            &mut self.due,
            (!self.packer.is_empty()).then(|| self.began + self.options.flush_age),
        );
        soon(
            &mut self.due,
            (!self.names.is_empty()).then(|| self.names.began + self.options.flush_age),
        );
        soon(
            &mut self.due,
            self.dialling.then(|| self.clock.now() + DIAL_POLL),
        );
        soon(&mut self.due, self.old.as_ref().map(|old| old.due));
        let beats = self.seal.is_some() && self.last.is_none();
        soon(&mut self.due, beats.then(|| self.beaten + BEAT_MAX));
        match self.last {
            Some((0, _)) if self.old.is_none() => self.due = u64::MAX,
            Some((0, _)) => {}
            Some((_, due)) => soon(&mut self.due, Some(due.min(self.patience))),
            None => {}
        }
    }
}

/// A frame as it is sent.
fn sealed<'a>(seal: Option<&Seal>, room: &'a mut Vec<u8>, frame: &'a [u8]) -> &'a [u8] {
    let Some(seal) = seal else { return frame };
    room.clear();
    room.extend_from_slice(frame);
    seal.frame(room);
    room
}

/// What became of a datagram.
#[derive(Default)]
struct Sent {
    trouble: Option<String>,
    /// The socket is to be replaced.
    renew: bool,
}

impl<S: Datagrams> Flow<S> {
    /// Gives a numbered frame to the kernel. An answer that nobody listens is for the
    /// datagram before it, and comes in place of sending this one: so that is tried
    /// again.
    fn send(&mut self, frame: &[u8], events: u64, stats: &mut Stats) -> Sent {
        stats.frames += 1;
        let mut result = self.socket.send(frame);
        let mut said = Sent::default();
        if let Err(e) = result.as_ref().map_err(io::Error::kind) {
            if e == io::ErrorKind::ConnectionRefused {
                stats.unreachable += std::mem::take(&mut self.events);
                said = Sent {
                    trouble: Some("nobody listens there".into()),
                    renew: true,
                };
                result = self.socket.send(frame);
            }
        }
        match result {
            Ok(()) => {
                stats.sent += events;
                self.events = events;
            }
            Err(e) => {
                stats.socket += events;
                // A full buffer is no reason for another socket.
                let full =
                    e.kind() == io::ErrorKind::WouldBlock || e.raw_os_error() == Some(ENOBUFS);
                said = Sent {
                    trouble: Some(e.to_string()),
                    renew: said.renew || !full,
                };
            }
        }
        said
    }
}

/// The number of the error that a full queue of an interface gives, for which the
/// standard library has no name.
const ENOBUFS: i32 = if cfg!(target_os = "linux") {
    105
} else if cfg!(windows) {
    10055
} else {
    55
};

impl<D: Dial, C: Clock> Engine for Udp<D, C>
where
    D::Socket: Datagrams,
{
    #[inline]
    fn add(&mut self, event: &Event) -> Result<(), AddError> {
        let event = timed(event, &self.clock)?;
        self.stats.added += 1;
        if self.last.is_some() {
            self.stats.closed += 1;
            return Err(AddError::Closed);
        }
        if self.packer.add(&event).is_err() {
            self.send();
            let fits = self.packer.add(&event);
            debug_assert!(fits.is_ok());
        }
        self.stats.buffered += 1;
        if self.packer.len() == 1 {
            self.began = self.clock.now();
            self.due = self.due.min(self.began + self.options.flush_age);
        }
        Ok(())
    }

    fn say(&mut self, content: u64, attribute: u8, text: &str) -> Result<(), AddError> {
        if self.last.is_some() {
            return Err(AddError::Closed);
        }
        let now = self.clock.now();
        while !self
            .names
            .add(content, attribute, text, now)
            .map_err(AddError::Invalid)?
        {
            self.send_names();
        }
        if !self.names.is_empty() {
            self.due = self.due.min(self.names.began + self.options.flush_age);
        }
        Ok(())
    }

    fn flush(&mut self) {
        self.send();
        self.send_names();
    }

    fn step(&mut self) {
        let now = self.clock.now();
        self.renew(now);
        self.retire(now);
        if !self.packer.is_empty() && now - self.began >= self.options.flush_age {
            self.send();
        }
        if !self.names.is_empty() && now - self.names.began >= self.options.flush_age {
            self.flush();
        }
        if self.last.is_none() && now - self.last_sent >= self.beat_wait {
            self.beat();
            self.beat_wait = (2 * self.beat_wait).min(BEAT_MAX);
        }
        // Its time opens a sealed source anywhere, where those of its events may be too old.
        if self.last.is_none() && self.seal.is_some() && now - self.beaten >= BEAT_MAX {
            self.beat();
        }
        self.end(now);
        self.schedule();
    }

    fn due(&self) -> u64 {
        self.due
    }

    fn now(&self) -> u64 {
        self.clock.now()
    }

    fn close(&mut self, patience: u64) {
        if self.last.is_some() {
            return;
        }
        self.flush();
        let now = self.clock.now();
        self.last = Some((BEATS, now));
        self.patience = now.saturating_add(patience);
        self.due = now;
    }

    fn closed(&self) -> bool {
        self.old.is_none() && self.last.is_some_and(|(left, _)| left == 0)
    }

    fn stats(&self) -> Stats {
        self.stats
    }

    fn source(&self) -> u64 {
        self.packer.numbers().source
    }

    #[cfg(feature = "seal")]
    fn key(&mut self, key: &Key) -> bool {
        self.seal = self.seal.as_ref().map(|seal| seal.with(key));
        self.seal.is_some()
    }

    fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}
