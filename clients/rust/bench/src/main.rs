//! Events a second of CPU time into datagrams, beside a plain statsd client that does
//! the same job: one line of text a counter, packed into datagrams, over the same
//! socket.

use std::net::UdpSocket;
use std::time::Duration;

use cadence::{BufferedUdpMetricSink, Counted, StatsdClient};
use lectern_emit::{Emitter, Event, Packer, UdpOptions};

/// CPU seconds of this process, all threads, user and system.
fn cpu() -> f64 {
    let mut total = 0.0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path().join("schedstat");
        if let Ok(s) = std::fs::read_to_string(path) {
            total += s.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9;
        }
    }
    total
}

/// A million events of many readers of few contents, with dwell and progress.
fn events() -> Vec<Event> {
    let mut x = 1_u64;
    (0..1_000_000)
        .map(|i| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let e = Event::read(x >> 52, x >> 20 & 0xF_FFFF, 10_000);
            e.progress((i % 101) as u8).at(1_767_225_600_000 + i / 100)
        })
        .collect()
}

fn measure(name: &str, events: u64, mut job: impl FnMut()) {
    job(); // warm
    let mut best = f64::MAX;
    for _ in 0..5 {
        let before = cpu();
        job();
        best = best.min(cpu() - before);
    }
    println!("{name} {:.0}", events as f64 / best);
}

fn main() {
    // A socket that nobody reads: what it has no room for is thrown away by the kernel.
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = sink.local_addr().unwrap().to_string();
    let events = events();
    let n = events.len() as u64;

    let mut packer = Packer::new([0; 1400], 7, 1);
    let mut frames = 0_usize;
    measure("lectern-packer", n, || {
        for e in &events {
            if packer.add(e).is_err() {
                frames += packer.finish().map_or(0, <[u8]>::len);
                packer.add(e).unwrap();
            }
        }
    });
    assert!(frames > 0);

    let emitter = Emitter::udp(&to, UdpOptions::new(7)).unwrap();
    measure("lectern-add-all", n, || {
        for chunk in events.chunks(1000) {
            emitter.add_all(chunk);
        }
    });
    measure("lectern-add", n, || {
        for e in &events {
            let _ = emitter.add(e);
        }
    });
    emitter.close(Duration::from_secs(1));

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sink = BufferedUdpMetricSink::with_capacity(to.as_str(), socket, 1400).unwrap();
    let client = StatsdClient::from_sink("reads", sink);
    measure("cadence-count-with-tags", n, || {
        for e in &events {
            let (content, user) = (e.content.to_string(), e.user.to_string());
            let _ = client.count_with_tags("read", 1).with_tag("content", &content).with_tag("user", &user).try_send();
        }
    });
    measure("cadence-count", n, || {
        for _ in &events {
            let _ = client.count("read", 1);
        }
    });
}
