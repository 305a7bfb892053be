//! Emitters without threads, for who has an event loop of their own.
//!
//! An engine has one function that does what is due, [`Engine::step`], and says when
//! it wants to be called again. It never waits. [`Emitter`](crate::Emitter) calls it
//! from a thread; tests and the conformance driver call it with a clock of their own.

mod names;
mod queue;
mod tcp;
mod udp;

pub use crate::clock::{Clock, SystemClock};
pub use crate::dial::{Datagrams, Dial, Stream};
pub use tcp::{Tcp, TcpOptions};
pub use udp::{Udp, UdpOptions};

use crate::wire::NUMBER_MAX;
use crate::{Attribute, Event, Id, Invalid, Stats};

/// Why `add` did not take an event, or `name` a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddError {
    /// No collector would take it.
    Invalid(Invalid),
    /// The emitter is closed.
    Closed,
}

impl std::fmt::Display for AddError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AddError::Invalid(why) => why.fmt(f),
            AddError::Closed => f.write_str("not taken: the emitter is closed"),
        }
    }
}

impl std::error::Error for AddError {}

/// What UDP and TCP have in common.
pub trait Engine: Send {
    /// Takes one event. It never waits, and never fails for what the network does:
    /// what there is no room for is dropped, numbered and counted.
    ///
    /// # Errors
    /// The event is not one that a collector would take, or the engine is closed.
    fn add(&mut self, event: &Event) -> Result<(), AddError>;

    /// Takes many events, and says how many of them it did not take: see `add`.
    fn add_all(&mut self, events: &[Event]) -> usize {
        events
            .iter()
            .filter(|event| self.add(event).is_err())
            .count()
    }

    /// Says what a content is called: the text of which its id is the [hash](crate::id).
    /// Called with every event of the content, or once, it is sent once a day, over UDP,
    /// where nobody answers, once an hour. It never waits: what there is no room for is
    /// said with the next call.
    ///
    /// # Errors
    /// The text is not one that a collector would take, or the engine is closed.
    fn name(&mut self, text: &str) -> Result<(), AddError> {
        self.say(crate::id(text), 0, text)
    }

    /// Says more of a content. It is sent when it changes, and as often as a name; of each
    /// attribute the last counts.
    ///
    /// # Errors
    /// It is not one that a collector would take, or the engine is closed.
    fn describe(&mut self, content: Id, attribute: Attribute<'_>) -> Result<(), AddError> {
        let decimal = |number| match number {
            Some(NUMBER_MAX..) => Err(AddError::Invalid(Invalid::Number)),
            Some(n) => Ok(n.to_string()),
            None => Ok(String::new()),
        };
        match attribute {
            Attribute::Title(text) => self.say(content.0, 1, text),
            Attribute::Section(text) => self.say(content.0, 2, text),
            Attribute::Author(text) => self.say(content.0, 3, text),
            Attribute::Published(number) => self.say(content.0, 4, &decimal(number)?),
            Attribute::Words(number) => self.say(content.0, 5, &decimal(number)?),
        }
    }

    /// Says what an attribute of a content is, by its number on the wire, 0 being the name:
    /// see `name` and `describe`, which call it.
    ///
    /// # Errors
    /// The text is not one that a collector would take, or the engine is closed.
    fn say(&mut self, content: u64, attribute: u8, text: &str) -> Result<(), AddError>;

    /// Sends what waits for others, with the next step.
    fn flush(&mut self);

    /// Does what is due, a bounded part of it: see `due`.
    fn step(&mut self);

    /// When `step` wants to be called next, by the clock's `now`; what is past is at
    /// once. `add`, `flush` and `close` may bring it forward.
    fn due(&self) -> u64;

    /// The clock's `now`.
    fn now(&self) -> u64;

    /// Begins to close: what waits is sent, over UDP with the final beats, over TCP
    /// until all is acknowledged. After `patience` milliseconds it gives up.
    fn close(&mut self, patience: u64);

    /// Whether closing has ended.
    fn closed(&self) -> bool;

    /// What became of the events so far.
    fn stats(&self) -> Stats;

    /// The number under which the collector knows the emitter now.
    fn source(&self) -> u64;

    /// Has what follows sealed with another key, in place of the one that the options
    /// gave. False where they gave none.
    #[cfg(feature = "seal")]
    fn key(&mut self, key: &crate::Key) -> bool;

    /// Why nothing can be sent at the moment, if so. It needs no action.
    fn trouble(&self) -> Option<&str>;
}

/// After so long without a frame a beat goes out; while the silence lasts, each
/// beat waits twice as long as the one before it.
const BEAT_MIN: u64 = 1_000;
const BEAT_MAX: u64 = 16_000;

/// The event with its time, if it is good.
#[inline]
fn timed(event: &Event, clock: &impl Clock) -> Result<Event, AddError> {
    let mut event = *event;
    if event.time == 0 {
        event.time = clock.wall();
    }
    event.check().map_err(AddError::Invalid)?;
    Ok(event)
}
