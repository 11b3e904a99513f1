//! A client that sends exactly what it is told, and waits no longer than a test is patient.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::support::ask::Ask;
use crate::support::http::{Head, Response};
use crate::support::wait::PATIENCE;

/// One connection.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    /// Connects.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// Connects as `source`, which may be any loopback address.
    #[track_caller]
    pub fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::over(socket.into())
    }

    /// Connects with a small receive buffer, so that what it does not read soon stays elsewhere, and
    /// its kernel tells soon that it has read something: half a buffer must be free for that.
    #[track_caller]
    pub fn connect_narrow(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(2 * 1024).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::over(socket.into())
    }

    /// Over a connection that stands already.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { reader: BufReader::with_capacity(64 * 1024, stream) }
    }

    /// The socket itself.
    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// Where answers are read from.
    pub fn reader(&mut self) -> &mut BufReader<TcpStream> {
        &mut self.reader
    }

    /// Sends bytes.
    #[track_caller]
    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    /// Sends bytes to someone who may have gone.
    pub fn try_send(&self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream().write_all(bytes.as_ref())
    }

    /// Sends a request and reads its answer.
    #[track_caller]
    pub fn ask(&mut self, ask: &Ask) -> Response {
        self.try_ask(ask).unwrap_or_else(|fault| panic!("{fault}, asking {ask:?}"))
    }

    /// The same where it may go wrong.
    pub fn try_ask(&mut self, ask: &Ask) -> io::Result<Response> {
        self.try_send(ask.bytes())?;
        Response::read(&mut self.reader, ask.method())
    }

    /// The next answer.
    #[track_caller]
    pub fn read(&mut self) -> Response {
        self.try_read().unwrap_or_else(|fault| panic!("{fault}, reading an answer"))
    }

    /// The same where it may go wrong.
    pub fn try_read(&mut self) -> io::Result<Response> {
        Response::read(&mut self.reader, "GET")
    }

    /// The head of the next answer.
    #[track_caller]
    pub fn read_head(&mut self) -> Response {
        Response::read_head(&mut self.reader)
            .unwrap_or_else(|fault| panic!("{fault}, reading a head"))
    }

    /// The first line of the next head, whatever it says.
    #[track_caller]
    pub fn switched(&mut self) -> String {
        Head::read(&mut self.reader).unwrap().unwrap().first
    }

    /// Everything that still comes before the other side closes.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.reader.read_to_end(&mut bytes) {
            Ok(_) => bytes,
            Err(fault) if fault.kind() == ErrorKind::ConnectionReset => bytes,
            Err(fault) => panic!("{fault}, waiting for the end of a connection"),
        }
    }

    /// Waits until the other side closes, and takes nothing but that.
    #[track_caller]
    pub fn assert_closed(&mut self) {
        let rest = self.read_to_end();
        assert!(rest.is_empty(), "expected the end, found {:?}", String::from_utf8_lossy(&rest));
    }
}
