//! Against the real daemon, which `LECTERN_TEST_BIN` names: it is killed and comes again,
//! and every event is counted once.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lectern_emit::{Emitter, Event, TcpOptions, UdpOptions};

struct Daemon {
    bin: PathBuf,
    dir: PathBuf,
    address: String,
    ops: String,
    child: Child,
}

fn free() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

impl Daemon {
    /// A daemon with a directory of its own, or nothing where there is none to start.
    fn start(name: &str) -> Option<Daemon> {
        let Some(bin) = std::env::var_os("LECTERN_TEST_BIN") else {
            println!("NOT RUN: LECTERN_TEST_BIN names no daemon");
            return None;
        };
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let (bin, address, ops) = (PathBuf::from(bin), free(), free());
        let child = spawn(&bin, &dir, &address, &ops);
        Some(Daemon {
            bin,
            dir,
            address,
            ops,
            child,
        })
    }

    fn kill(&mut self) {
        self.child.kill().unwrap(); // SIGKILL
        self.child.wait().unwrap();
        self.child = spawn(&self.bin, &self.dir, &self.address, &self.ops);
    }

    /// What the daemon answers over HTTP, nothing while it does not.
    fn get(&self, path: &str) -> String {
        let mut said = String::new();
        if let Ok(mut ops) = TcpStream::connect(&self.ops) {
            let _ = ops.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
            let _ = ops.read_to_string(&mut said);
        }
        said
    }

    /// Ends the daemon as it should be, and returns its books.
    fn books(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success());
        assert!(self.child.wait().unwrap().success());
        let out = command(&self.bin, &self.dir, &self.address, &self.ops)
            .args(["books", "--json"])
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8(out.stdout).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(bin: &Path, dir: &Path, address: &str, ops: &str) -> Command {
    let mut c = Command::new(bin);
    c.env_remove("LECTERN_TEST_BIN")
        .env_remove("LECTERN_TEST_SEEDS")
        .current_dir(dir)
        .env("LECTERN_LISTEN_ADDRESS", address)
        .env("LECTERN_OPS_ADDRESS", ops);
    c
}

fn spawn(bin: &Path, dir: &Path, address: &str, ops: &str) -> Child {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(dir.join("log"))
        .unwrap();
    command(bin, dir, address, ops)
        .arg("serve")
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Waits until something is so, for a minute at most.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("not within a minute: {what}");
}

fn number(books: &str, key: &str) -> u64 {
    let (_, rest) = books
        .split_once(&format!("\"{key}\":"))
        .unwrap_or_else(|| panic!("no {key} in {books}"));
    rest.chars()
        .take_while(char::is_ascii_digit)
        .collect::<String>()
        .parse()
        .unwrap()
}

#[test]
fn tcp_survives_a_daemon_that_is_killed() {
    let Some(mut d) = Daemon::start("killed") else {
        return;
    };
    let mut options = TcpOptions::new(3);
    options.flush_age = 10;
    options.frame_size = 1000;
    let emitter = Emitter::tcp(&d.address, options).unwrap();
    let mut added = 0;
    for round in 1..=4 {
        let before = emitter.stats().acked;
        for _ in 0..25_000 {
            added += 1;
            emitter.add(&Event::open(added % 7, added)).unwrap();
        }
        until("some are acknowledged", || emitter.stats().acked > before);
        if round < 4 {
            // Some are in flight.
            added += 1;
            emitter.add(&Event::open(1, added)).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            d.kill();
        }
    }
    let stats = emitter.close(Duration::from_secs(60));
    assert_eq!((stats.added, stats.acked), (added, added), "{stats:?}");
    assert!(stats.renewals >= 3, "{stats:?}");
    let books = d.books();
    assert_eq!(
        (number(&books, "accepted"), number(&books, "lost")),
        (added, 0),
        "{books}"
    );
    assert!(books.ends_with("\"adds_up\":true}\n"), "{books}");
}

#[test]
fn udp_is_counted() {
    let Some(d) = Daemon::start("udp") else {
        return;
    };
    until("it is ready", || d.get("/readyz").contains(" 200 "));
    let emitter = Emitter::udp(&d.address, UdpOptions::new(3)).unwrap();
    for user in 0..1000_u64 {
        assert!(emitter.open("/a", user));
    }
    let stats = emitter.close(Duration::from_secs(1));
    assert_eq!((stats.added, stats.sent, stats.socket), (1000, 1000, 0));
    until("all is accepted", || {
        let metrics = d.get("/metrics");
        metrics
            .lines()
            .any(|l| l.starts_with("lectern_events_accepted_total") && l.ends_with(" 1000"))
    });
    let books = d.books();
    assert_eq!(
        (number(&books, "sent"), number(&books, "accepted")),
        (1000, 1000),
        "{books}"
    );
}
