//! A bad network is bad in the way that was asked for, as a client sees it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::faults::{Faults, Way};
use crate::support::wait::{PATIENCE, eventually};

/// Says back what it hears, in capitals, and how each connection has ended.
struct Echo {
    address: SocketAddr,
    heard: Receiver<Vec<u8>>,
    ends: Receiver<Option<ErrorKind>>,
}

impl Echo {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ((hear, heard), (end, ends)) = (channel(), channel());
        let serve = move |stream: TcpStream| {
            let (hear, end) = (hear.clone(), end.clone());
            thread::spawn(move || end.send(echo(stream, &hear)).unwrap_or_default());
        };
        // It ends with the tests.
        thread::spawn(move || listener.incoming().for_each(|it| serve(it.unwrap())));
        Self { address, heard, ends }
    }
}

/// Until the other side ends it; whether that is by a fault.
fn echo(mut stream: TcpStream, hear: &Sender<Vec<u8>>) -> Option<ErrorKind> {
    let mut buffer = [0; 1024];
    loop {
        let heard = match stream.read(&mut buffer) {
            Ok(0) => return None,
            Ok(count) => &buffer[..count],
            Err(fault) => return Some(fault.kind()),
        };
        // Nobody may wait for it.
        drop(hear.send(heard.to_vec()));
        drop(stream.write_all(&heard.to_ascii_uppercase()));
    }
}

struct Stage {
    echo: Echo,
    network: Faults,
}

impl Stage {
    fn new() -> Self {
        let echo = Echo::start();
        let network = Faults::before(echo.address);
        Self { echo, network }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.network.address()).unwrap()
    }

    /// A connection that has served already.
    fn connected(&self) -> TcpStream {
        let mut stream = self.connect();
        assert_answers(&mut stream);
        assert_eq!(self.echo.heard.recv_timeout(PATIENCE).unwrap(), b"ask");
        stream
    }

    fn assert_hears_nothing(&self) {
        assert!(self.echo.heard.recv_timeout(SILENCE).is_err());
    }
}

#[track_caller]
fn assert_answers(stream: &mut TcpStream) {
    stream.write_all(b"ask").unwrap();
    assert_answered(stream);
}

#[track_caller]
fn assert_answered(stream: &mut TcpStream) {
    let mut answer = [0; 3];
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ASK");
}

#[track_caller]
fn assert_silent(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[track_caller]
fn assert_reset(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

const SILENCE: Duration = Duration::from_millis(200);

#[test]
fn a_good_network_passes_bytes_and_ends_both_ways() {
    let stage = Stage::new();
    let mut stream = stage.connected();
    stream.write_all(&vec![b'x'; 3 << 20]).unwrap_or_else(|fault| panic!("{fault}"));
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, vec![b'X'; 3 << 20]);
    assert_eq!(stage.echo.ends.recv_timeout(PATIENCE).unwrap(), None);
    eventually("it has ended", || stage.network.open() == 0);
    assert_eq!(stage.network.accepted(), 1);
}

#[test]
fn a_slow_network_delays_each_way() {
    let stage = Stage::new();
    let mut stream = stage.connected();
    for (way, least) in [(Way::ToServer, 1), (Way::ToClient, 1), (Way::Both, 2)] {
        stage.network.pass();
        stage.network.delay(way, DELAY);
        let begun = Instant::now();
        assert_answers(&mut stream);
        assert!(begun.elapsed() >= DELAY * least, "{way:?}: {:?}", begun.elapsed());
    }
    // What is on its way when the network recovers, arrives.
    stage.network.delay(Way::Both, PATIENCE * 2);
    stream.write_all(b"ask").unwrap();
    stage.network.pass();
    assert_answered(&mut stream);
}

const DELAY: Duration = Duration::from_millis(100);

#[test]
fn a_network_that_holds_gives_everything_back() {
    let stage = Stage::new();
    let mut stream = stage.connected();
    stage.network.hold(Way::ToServer);
    stream.write_all(b"ask").unwrap();
    stage.assert_hears_nothing();
    let mut other = stage.connect();
    other.write_all(b"ask").unwrap();
    assert_silent(&mut other);
    stage.network.pass();
    assert_answered(&mut stream);
    assert_answered(&mut other);
    stage.network.hold(Way::ToClient);
    stream.write_all(b"ask").unwrap();
    assert_silent(&mut stream);
    stage.network.pass();
    assert_answered(&mut stream);
}

#[test]
fn a_connection_that_has_lost_bytes_stays_silent() {
    let stage = Stage::new();
    let [mut stream, mut unused] = [(), ()].map(|()| stage.connected());
    stage.network.vanish(Way::Both);
    stream.write_all(b"ask").unwrap();
    stage.assert_hears_nothing();
    let mut new = stage.connect();
    new.write_all(b"ask").unwrap();
    assert_silent(&mut new);
    stage.network.pass();
    for it in [&mut stream, &mut new] {
        it.write_all(b"ask").unwrap();
        assert_silent(it);
    }
    assert_answers(&mut unused);
    assert_answers(&mut stage.connect());
}

#[test]
fn bytes_vanish_one_way_and_arrive_the_other() {
    let stage = Stage::new();
    let mut stream = stage.connected();
    stage.network.vanish(Way::ToClient);
    stream.write_all(b"ask").unwrap();
    assert_eq!(stage.echo.heard.recv_timeout(PATIENCE).unwrap(), b"ask");
    assert_silent(&mut stream);
    // Nor does the server hear that the client has gone.
    stage.network.vanish(Way::Both);
    drop(stream);
    assert!(stage.echo.ends.recv_timeout(SILENCE).is_err());
}

#[test]
fn a_reset_ends_all_connections_on_both_sides_and_lets_new_ones_in() {
    let stage = Stage::new();
    let mut streams = [(), (), ()].map(|()| stage.connected());
    stage.network.hold(Way::Both);
    streams[0].write_all(b"ask").unwrap();
    stage.network.pass();
    assert_answered(&mut streams[0]);
    stage.network.reset();
    for it in &mut streams {
        assert_reset(it);
        let end = stage.echo.ends.recv_timeout(PATIENCE).unwrap();
        assert_eq!(end, Some(ErrorKind::ConnectionReset));
    }
    assert_eq!(stage.network.open(), 0);
    assert_answers(&mut stage.connect());
}

#[test]
fn a_network_that_refuses_keeps_the_connections_it_has() {
    let stage = Stage::new();
    let mut stream = stage.connected();
    for _ in 0..3 {
        stage.network.refuse();
        let refused = TcpStream::connect(stage.network.address()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert_answers(&mut stream);
        stage.network.pass();
        assert_answers(&mut stage.connect());
    }
    stage.network.refuse();
}

#[test]
fn a_connection_is_cut_after_so_many_bytes() {
    let stage = Stage::new();
    let mut streams = [stage.connected(), stage.connect()];
    stage.network.cut_after(Way::ToClient, 4);
    for it in &mut streams {
        assert_answers(it);
        it.write_all(b"ask").unwrap();
        let mut last = [0; 1];
        it.read_exact(&mut last).unwrap();
        assert_eq!(&last, b"A");
        assert_reset(it);
    }
    stage.network.pass();
    assert_answers(&mut stage.connect());
}

#[test]
fn connections_are_led_to_another_server_and_refused_where_there_is_none() {
    let stage = Stage::new();
    let mut stream = stage.connected();
    let other = Echo::start();
    stage.network.lead_to(other.address);
    assert_answers(&mut stage.connect());
    assert_eq!(other.heard.recv_timeout(PATIENCE).unwrap(), b"ask");
    assert_answers(&mut stream);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    stage.network.lead_to(nobody);
    assert_reset(&mut stage.connect());
}
