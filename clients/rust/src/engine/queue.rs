use std::collections::VecDeque;

use super::names::Names;
use crate::wire::TYPE_NAMES;
use crate::{Numbers, Packer};

/// What a frame costs beside its bytes.
const SLOT_COST: usize = std::mem::size_of::<Slot>() + 16;

/// The frames that are kept until they are acknowledged, and the one that is being
/// packed.
pub(super) struct Queue {
    pub packer: Packer<Vec<u8>>,
    slots: VecDeque<Slot>,
    bytes: usize,
    bytes_max: usize,
    /// Events that were dropped behind the newest frame.
    skipped: u64,
}

/// A numbered frame.
pub(super) struct Slot {
    frame: Box<[u8]>,
    pub sequence: u64,
    pub events: u64,
    /// Events that were dropped before it: they use up a sequence in front of it.
    skip: u64,
    /// The collector refused it.
    pub refused: bool,
}

impl Slot {
    pub fn frame(&self) -> &[u8] {
        &self.frame
    }

    pub fn is_names(&self) -> bool {
        self.frame[2] & 15 == TYPE_NAMES
    }

    /// Takes the next numbers. A source cannot begin with dropped events: nobody
    /// would know it.
    fn number(&mut self, numbers: &mut Numbers) {
        if self.skip > 0 && numbers.sequence > 0 {
            numbers.skip(self.skip);
        }
        self.sequence = numbers.sequence;
        self.frame[16..24].copy_from_slice(&numbers.source.to_le_bytes());
        self.frame[24..32].copy_from_slice(&numbers.sequence.to_le_bytes());
        self.frame[32..40].copy_from_slice(&numbers.position.to_le_bytes());
        numbers.skip(self.events);
    }
}

impl Queue {
    pub fn new(packer: Packer<Vec<u8>>, bytes_max: usize) -> Self {
        Queue {
            packer,
            slots: VecDeque::new(),
            bytes: 0,
            bytes_max,
            skipped: 0,
        }
    }

    pub fn numbers(&self) -> Numbers {
        self.packer.numbers()
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn get(&self, i: usize) -> Option<&Slot> {
        self.slots.get(i)
    }

    pub fn get_mut(&mut self, i: usize) -> Option<&mut Slot> {
        self.slots.get_mut(i)
    }

    /// Whether there is anything that no frame holds yet.
    pub fn unfinished(&self) -> bool {
        !self.packer.is_empty() || self.skipped > 0
    }

    /// Takes note of an event that is dropped.
    pub fn skip(&mut self) {
        self.skipped += 1;
    }

    /// Puts the unfinished frame behind the others, false where there is no room. Where
    /// there are no events it becomes a beat of this time.
    pub fn finish(&mut self, wall: u64) -> bool {
        // As large as it may be: its size is known at the end.
        if self.bytes + self.packer.size_max() + SLOT_COST > self.bytes_max {
            return false;
        }
        let events = self.packer.len() as u64;
        let numbers = self.packer.numbers();
        let frame: Box<[u8]> = match self.packer.finish() {
            Some(frame) => frame.into(),
            None => self.packer.numbers_mut().beat(wall).into(),
        };
        self.push(numbers, frame, events);
        true
    }

    /// Puts a frame, of which these are the numbers, behind the others.
    fn push(&mut self, mut numbers: Numbers, frame: Box<[u8]>, events: u64) {
        let mut slot = Slot {
            frame,
            sequence: 0,
            events,
            skip: std::mem::take(&mut self.skipped),
            refused: false,
        };
        slot.number(&mut numbers);
        *self.packer.numbers_mut() = numbers;
        self.bytes += slot.frame.len() + SLOT_COST;
        self.slots.push_back(slot);
    }

    /// Puts the names that wait behind the others, in a frame, false where there is no room.
    /// No event may be in an unfinished one.
    pub fn put_names(&mut self, names: &mut Names, wall: u64) -> bool {
        if self.bytes + names.size() + SLOT_COST > self.bytes_max {
            return false;
        }
        let numbers = self.packer.numbers();
        let frame = names.finish(&mut numbers.clone(), wall);
        self.push(numbers, frame.into(), 0);
        true
    }

    /// Removes the oldest frame.
    pub fn pop(&mut self) -> Option<Slot> {
        let slot = self.slots.pop_front()?;
        self.bytes -= slot.frame.len() + SLOT_COST;
        Some(slot)
    }

    /// Begins a new source: the frames that are kept become its first.
    pub fn renew(&mut self, source: u64) {
        let mut numbers = Numbers::new(self.numbers().stream, source);
        for slot in &mut self.slots {
            slot.number(&mut numbers);
        }
        *self.packer.numbers_mut() = numbers;
    }
}
