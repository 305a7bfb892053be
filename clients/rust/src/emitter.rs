use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::dial::{self, Background};
use crate::engine::{self, AddError, Engine, SystemClock, TcpOptions, UdpOptions};
use crate::{Attribute, Event, Id, Stats};

/// How long an emitter that is dropped without `close` may take.
const DROP_PATIENCE: Duration = Duration::from_secs(1);

/// Sends read events to a collector, over UDP or over acknowledged TCP. All its
/// methods may be called from any number of threads at once; none but `close` waits
/// for the network.
///
/// ```
/// use lectern_emit::{Emitter, UdpOptions};
/// use std::time::Duration;
///
/// let emitter = Emitter::udp("127.0.0.1:8420", UdpOptions::new(1))?;
/// emitter.open("/articles/42", "reader-9");
/// emitter.read("/articles/42", "reader-9", 10_000);
/// emitter.finish("/articles/42", "reader-9", 18_500);
/// let stats = emitter.close(Duration::from_secs(5));
/// assert_eq!(stats.added, 3);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Emitter {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    engine: Mutex<Box<dyn Engine>>,
    /// The engine is due earlier than it was.
    wake: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Box<dyn Engine>> {
        // An engine does not panic half-way through a change.
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the engine when it is due, until it is closed.
    fn run(&self) {
        let mut engine = self.lock();
        loop {
            engine.step();
            if engine.closed() {
                return;
            }
            let wait = engine.due().saturating_sub(engine.now());
            if wait == 0 {
                drop(engine); // whoever adds events has its turn
                std::thread::yield_now();
                engine = self.lock();
                continue;
            }
            let wait = Duration::from_millis(wait);
            engine = self
                .wake
                .wait_timeout(engine, wait)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut dyn Engine) -> T) -> T {
        let mut engine = self.lock();
        let before = engine.due();
        let result = f(&mut **engine);
        if engine.due() < before {
            self.wake.notify_one();
        }
        result
    }
}

impl Emitter {
    /// An emitter over UDP to the collector at `address` ("host:port"). Nothing waits
    /// for the collector and nothing is resent; what is lost shows in its books. It
    /// resolves the name before it returns.
    ///
    /// # Errors
    /// The name cannot be resolved, the options are not good, or the system has no
    /// socket or thread. That nobody listens is none: see [`Emitter::trouble`].
    pub fn udp(address: &str, options: UdpOptions) -> io::Result<Self> {
        options.check()?;
        let engine = engine::Udp::new(
            options,
            dial::udp(address)?,
            Background::new(address, dial::udp),
            SystemClock::default(),
        )?;
        Self::start(Box::new(engine))
    }

    /// An emitter over acknowledged TCP to the collector at `address` ("host:port").
    /// It keeps every event until the collector has made it durable, and sends it
    /// again, over new connections, until then. It connects in the background, and
    /// tries for as long as it takes: see [`Emitter::trouble`].
    ///
    /// # Errors
    /// The options are not good, or the system has no thread.
    pub fn tcp(address: &str, options: TcpOptions) -> io::Result<Self> {
        let engine = engine::Tcp::new(
            options,
            Background::new(address, dial::tcp),
            SystemClock::default(),
        )?;
        Self::start(Box::new(engine))
    }

    fn start(engine: Box<dyn Engine>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            engine: Mutex::new(engine),
            wake: Condvar::new(),
        });
        let worker = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("lectern-emit".into())
            .spawn(move || worker.run())?;
        Ok(Emitter {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Takes one event. It never waits for the network, and never fails for what that
    /// does: what there is no room for is dropped, numbered and counted.
    ///
    /// # Errors
    /// The event is not one that a collector would take, or the emitter is closed.
    pub fn add(&self, event: &Event) -> Result<(), AddError> {
        self.shared.with(|engine| engine.add(event))
    }

    /// Takes many events at once, for less than one by one, and says how many of them
    /// it did not take, for what `add` fails for.
    pub fn add_all(&self, events: &[Event]) -> usize {
        self.shared.with(|engine| engine.add_all(events))
    }

    /// The reader opened the content. False after `close`.
    pub fn open(&self, content: impl Into<Id>, user: impl Into<Id>) -> bool {
        self.add(&Event::open(content, user)).is_ok()
    }

    /// The reader kept reading, for so many milliseconds since the event before. False
    /// after `close`.
    pub fn read(&self, content: impl Into<Id>, user: impl Into<Id>, dwell: u32) -> bool {
        self.add(&Event::read(content, user, dwell)).is_ok()
    }

    /// The reader reached the end, so many milliseconds after the event before. False
    /// after `close`.
    pub fn finish(&self, content: impl Into<Id>, user: impl Into<Id>, dwell: u32) -> bool {
        self.add(&Event::finish(content, user, dwell)).is_ok()
    }

    /// The reader kept it for later. False after `close`.
    pub fn save(&self, content: impl Into<Id>, user: impl Into<Id>) -> bool {
        self.add(&Event::save(content, user)).is_ok()
    }

    /// The reader passed it on. False after `close`.
    pub fn share(&self, content: impl Into<Id>, user: impl Into<Id>) -> bool {
        self.add(&Event::share(content, user)).is_ok()
    }

    /// A variant of the content's headline was shown, 1 where nothing is tried. False
    /// after `close`.
    pub fn impression(&self, content: impl Into<Id>, user: impl Into<Id>, variant: u8) -> bool {
        self.add(&Event::impression(content, user, variant)).is_ok()
    }

    /// A variant of the content's headline was followed. False after `close`.
    pub fn click(&self, content: impl Into<Id>, user: impl Into<Id>, variant: u8) -> bool {
        self.add(&Event::click(content, user, variant)).is_ok()
    }

    /// Says what a content is called: the text of which its id is the [hash](crate::id), so
    /// that people read it where the id would stand. Call it with every event of the
    /// content, or once: it is sent once a day, over UDP, where nobody answers, once an
    /// hour. It never waits: what there is no room for is said with the next call.
    ///
    /// # Errors
    /// The text is not 1 to 512 bytes long, or the emitter is closed.
    pub fn name(&self, text: &str) -> Result<(), AddError> {
        self.shared.with(|engine| engine.name(text))
    }

    /// Says more of a content. It is sent when it changes, and as often as a name; of each
    /// attribute the last counts.
    ///
    /// # Errors
    /// A text is longer than 512 bytes, a number 2^48 or more, or the emitter is closed.
    pub fn describe(
        &self,
        content: impl Into<Id>,
        attribute: Attribute<'_>,
    ) -> Result<(), AddError> {
        let content = content.into();
        self.shared
            .with(|engine| engine.describe(content, attribute))
    }

    /// Has the events sent that wait for others. It waits for nothing.
    pub fn flush(&self) {
        self.shared.with(|engine| engine.flush());
    }

    /// What became of the events so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.lock().stats()
    }

    /// The number under which the collector knows this emitter now. It changes when a
    /// new source begins.
    #[must_use]
    pub fn source(&self) -> u64 {
        self.shared.lock().source()
    }

    /// Has what follows sealed with another key, in place of the one that the options
    /// gave. False where they gave none.
    #[cfg(feature = "seal")]
    pub fn key(&self, key: &crate::Key) -> bool {
        self.shared.with(|engine| engine.key(key))
    }

    /// Why nothing can be sent at the moment, if so. It needs no action: trying goes on.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.shared.lock().trouble().map(String::from)
    }

    /// Sends what waits and ends the emitter: over UDP with the final beats, which take
    /// 40 ms, over TCP when all is acknowledged. It gives up after `patience`; what it
    /// then gave up is in `closed`. Calling it again waits for the same end.
    pub fn close(&self, patience: Duration) -> Stats {
        let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        self.shared.with(|engine| engine.close(patience));
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            let _ = thread.join();
        }
        self.stats()
    }
}

impl std::fmt::Debug for Emitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emitter")
            .field("source", &self.source())
            .field("stats", &self.stats())
            .finish()
    }
}

impl Drop for Emitter {
    fn drop(&mut self) {
        self.close(DROP_PATIENCE);
    }
}
