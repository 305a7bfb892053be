//! What a reader did.

use crate::wire;

/// What a reader did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Opened the content.
    Open = 0,
    /// Kept reading: a heartbeat, with the dwell since the event before.
    Read = 1,
    /// Reached the end.
    Finish = 2,
    /// Kept it for later.
    Save = 3,
    /// Passed it on.
    Share = 4,
    /// Was shown the content's headline, where others are listed with it.
    Impression = 5,
    /// Followed it.
    Click = 6,
}

/// The number of a piece of content or of a reader: a number as it is, or the
/// [hash](crate::id) of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(pub u64);

impl From<u64> for Id {
    fn from(number: u64) -> Self {
        Id(number)
    }
}

impl From<&str> for Id {
    fn from(text: &str) -> Self {
        Id(crate::id(text))
    }
}

/// One thing that one reader did with one piece of content.
///
/// ```
/// use lectern_emit::Event;
/// let e = Event::read("/articles/42", 9, 10_000).progress(75);
/// assert_eq!(e.content, lectern_emit::id("/articles/42"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// What the reader did.
    pub kind: Kind,
    /// The number of the content.
    pub content: u64,
    /// The number of the reader.
    pub user: u64,
    /// When, in Unix milliseconds. Zero is now, as the event is added to an
    /// emitter; a [`Packer`](crate::Packer) has no clock and wants a time.
    pub time: u64,
    /// Milliseconds read since this reader's previous event on this content. What
    /// is above [`wire::DWELL_MAX`] (4 h 39 min) counts as that. Of an impression or a
    /// click it is the variant of the headline, 0 to 255, where 0 is 1.
    pub dwell: u32,
    /// How far the reader got, 0 to 100 percent, if that is known.
    pub progress: Option<u8>,
}

impl Event {
    /// An event of now, without a dwell or progress.
    #[must_use]
    pub fn new(kind: Kind, content: impl Into<Id>, user: impl Into<Id>) -> Self {
        Event {
            kind,
            content: content.into().0,
            user: user.into().0,
            time: 0,
            dwell: 0,
            progress: None,
        }
    }

    /// The reader opened the content.
    #[must_use]
    pub fn open(content: impl Into<Id>, user: impl Into<Id>) -> Self {
        Self::new(Kind::Open, content, user)
    }

    /// The reader kept reading, for so many milliseconds since the event before.
    #[must_use]
    pub fn read(content: impl Into<Id>, user: impl Into<Id>, dwell: u32) -> Self {
        Event {
            dwell,
            ..Self::new(Kind::Read, content, user)
        }
    }

    /// The reader reached the end, so many milliseconds after the event before.
    #[must_use]
    pub fn finish(content: impl Into<Id>, user: impl Into<Id>, dwell: u32) -> Self {
        Event {
            dwell,
            ..Self::new(Kind::Finish, content, user)
        }
    }

    /// The reader kept it for later.
    #[must_use]
    pub fn save(content: impl Into<Id>, user: impl Into<Id>) -> Self {
        Self::new(Kind::Save, content, user)
    }

    /// The reader passed it on.
    #[must_use]
    pub fn share(content: impl Into<Id>, user: impl Into<Id>) -> Self {
        Self::new(Kind::Share, content, user)
    }

    /// A variant of the content's headline was shown, 1 where nothing is tried. The
    /// reader 0 is nobody in particular.
    #[must_use]
    pub fn impression(content: impl Into<Id>, user: impl Into<Id>, variant: u8) -> Self {
        Self::headline(Kind::Impression, content, user, variant)
    }

    /// A variant of the content's headline was followed.
    #[must_use]
    pub fn click(content: impl Into<Id>, user: impl Into<Id>, variant: u8) -> Self {
        Self::headline(Kind::Click, content, user, variant)
    }

    fn headline(kind: Kind, content: impl Into<Id>, user: impl Into<Id>, variant: u8) -> Self {
        Event {
            dwell: if variant > 1 { variant.into() } else { 0 },
            ..Self::new(kind, content, user)
        }
    }

    /// The event, at this time in Unix milliseconds.
    #[must_use]
    pub fn at(self, time: u64) -> Self {
        Event { time, ..self }
    }

    /// The event, with the reader so many percent through.
    #[must_use]
    pub fn progress(self, percent: u8) -> Self {
        Event {
            progress: Some(percent),
            ..self
        }
    }

    /// Why a collector would refuse the whole frame that this event is in.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        if self.progress.is_some_and(|p| p > wire::PROGRESS_MAX) {
            return Err(Invalid::Progress);
        }
        let headline = matches!(self.kind, Kind::Impression | Kind::Click);
        if headline && (self.dwell > 255 || self.progress.is_some()) {
            return Err(Invalid::Headline);
        }
        if self.time > wire::TIME_MAX {
            return Err(Invalid::Time);
        }
        if self.time < SECONDS_MAX {
            return Err(Invalid::Seconds);
        }
        Ok(())
    }
}

/// As seconds this is in the year 5138, as milliseconds in March 1973: what is
/// below was meant as seconds.
const SECONDS_MAX: u64 = 100_000_000_000;

/// What `describe` says of a content. An empty text, or no number, takes back what was
/// said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Attribute<'a> {
    /// What people call it.
    Title(&'a str),
    /// The part of the site that it stands in.
    Section(&'a str),
    /// Who wrote it.
    Author(&'a str),
    /// When, in Unix milliseconds.
    Published(Option<u64>),
    /// How many it has.
    Words(Option<u64>),
}

/// What is wrong with an event, a name, or an attribute, that no collector would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Invalid {
    /// Its progress is above 100 percent.
    Progress,
    /// It is of a headline, and has progress, or a variant above 255.
    Headline,
    /// A name that is empty, or a text longer than [`wire::NAME_TEXT_MAX`] or than a frame holds.
    Name,
    /// A number of an attribute that is 2^48 or more.
    Number,
    /// Its time is 2^48 ms or later.
    Time,
    /// Its time is before March 1973 in Unix milliseconds: these may be seconds.
    Seconds,
}

impl core::fmt::Display for Invalid {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Invalid::Progress => "event not taken: its progress is above 100 percent",
            Invalid::Headline => "event not taken: a headline has a variant of 1 to 255, and no progress",
            Invalid::Name => "name not taken: it has 1 to 512 bytes (of another attribute, 0 to 512), and fits a frame",
            Invalid::Number => "attribute not taken: its number is not 0 to 2^48-1",
            Invalid::Time => "event not taken: its time is not in Unix milliseconds, 0 to 2^48-1",
            Invalid::Seconds => "event not taken: its time is before March 1973 in Unix milliseconds, so these may be seconds; use milliseconds, or zero for now",
        })
    }
}

impl core::error::Error for Invalid {}
