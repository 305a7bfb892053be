use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The clocks that an engine asks. A test has its own.
pub trait Clock: Send {
    /// Unix milliseconds, by which events are dated.
    fn wall(&self) -> u64;
    /// Milliseconds that only ever grow, by which everything else is timed.
    fn now(&self) -> u64;
}

/// The system's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock(Instant::now())
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_millis() as u64)
    }

    fn now(&self) -> u64 {
        self.0.elapsed().as_millis() as u64
    }
}
