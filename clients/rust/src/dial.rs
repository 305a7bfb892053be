use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::mpsc::{channel, Receiver, TryRecvError};
use std::time::Duration;

/// How an engine comes by its sockets, without ever waiting for one.
pub trait Dial: Send {
    /// What it makes. Nothing of it may wait.
    type Socket: Send;

    /// Begins to make a socket. The name is resolved anew for each.
    fn start(&mut self);

    /// The socket, or why there is none, once that is known. An engine asks from
    /// `start` on until then.
    fn poll(&mut self) -> Option<io::Result<Self::Socket>>;
}

/// A socket over which datagrams go, each as a whole or not at all.
pub trait Datagrams: Send {
    /// Gives a datagram to the kernel, or says that it is not taken.
    ///
    /// # Errors
    /// Why it is not. `ConnectionRefused` is for the one before it.
    fn send(&mut self, datagram: &[u8]) -> io::Result<()>;
}

impl Datagrams for UdpSocket {
    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        UdpSocket::send(self, datagram).map(|_| ())
    }
}

/// A connection that never waits: what it cannot do now is `WouldBlock`.
pub trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// Makes sockets in a thread, since resolving a name and connecting take their time.
pub(crate) struct Background<S> {
    address: String,
    make: fn(&str) -> io::Result<S>,
    made: Option<Receiver<io::Result<S>>>,
}

impl<S> Background<S> {
    pub(crate) fn new(address: &str, make: fn(&str) -> io::Result<S>) -> Self {
        Background {
            address: address.into(),
            make,
            made: None,
        }
    }
}

impl<S: Send + 'static> Dial for Background<S> {
    type Socket = S;

    fn start(&mut self) {
        let (send, receive) = channel();
        let (address, make) = (self.address.clone(), self.make);
        self.made = Some(receive);
        // Without a thread the channel ends, which poll reports.
        let _ = std::thread::Builder::new()
            .name("lectern-dial".into())
            .spawn(move || send.send(make(&address)));
    }

    fn poll(&mut self) -> Option<io::Result<S>> {
        let result = match self.made.as_ref()?.try_recv() {
            Ok(result) => result,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => {
                Err(io::Error::other("no thread could be started to connect"))
            }
        };
        self.made = None;
        Some(result)
    }
}

/// A datagram socket to the first of the name's addresses to which one can be made.
pub(crate) fn udp(address: &str) -> io::Result<UdpSocket> {
    first(address, |to| {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(to)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    })
}

/// A connection to the first of the name's addresses that takes one.
pub(crate) fn tcp(address: &str) -> io::Result<TcpStream> {
    first(address, |to| {
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(10))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    })
}

fn first<S>(address: &str, make: impl Fn(std::net::SocketAddr) -> io::Result<S>) -> io::Result<S> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for to in address.to_socket_addrs()? {
        match make(to) {
            Ok(s) => return Ok(s),
            Err(e) => last = e,
        }
    }
    Err(last)
}
