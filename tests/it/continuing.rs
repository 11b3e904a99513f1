//! Who asks before they send a body hears of it once the upstream takes it, and never when they
//! are refused; what an upstream says before its answer stays here.

use std::io::BufRead;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::support::address::fresh;
use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::gateway::Gateway;
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;

fn expecting() -> Ask {
    Ask::new("PUT", "/public/").header("content-length", "5").header("expect", "100-continue")
}

/// The first line of what comes.
fn first_line(client: &mut Client) -> String {
    let mut line = String::new();
    client.reader().read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

#[test]
fn who_asks_before_sending_is_told_to_go_on_and_the_upstream_is_not_asked_again() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Setup::to(upstream.address()));
    let mut client = gateway.client();
    for _ in 0..2 {
        client.send(expecting().bytes());
        assert_eq!(first_line(&mut client), "HTTP/1.1 100 Continue");
        assert_eq!(first_line(&mut client), "");
        client.send("hello");
        assert_eq!(client.read().json()["body_bytes"], 5);
        assert_eq!(upstream.last().header("expect"), None);
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn who_is_refused_is_never_told_to_go_on() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Setup::to(upstream.address()));
    let mut client = gateway.client();
    let ask = Ask::new("PUT", "/").header("content-length", "5").header("expect", "100-continue");
    client.send(ask.bytes());
    assert_eq!(first_line(&mut client), "HTTP/1.1 401 Unauthorized");
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn nobody_is_told_to_go_on_before_there_is_an_upstream() {
    let full = Full::new();
    for address in [fresh(), full.address()] {
        let setup = Setup::to(address).upstream_line("connect_timeout = \"300ms\"");
        let gateway = Gateway::start(&setup);
        let mut client = gateway.client();
        client.send(expecting().bytes());
        assert_eq!(first_line(&mut client), "HTTP/1.1 502 Bad Gateway");
    }
}

#[test]
fn what_an_upstream_says_before_its_answer_stays_here() {
    let upstream = Upstream::scripted(|conversation| {
        while let Some(head) = conversation.head()? {
            conversation.send("HTTP/1.1 100 Continue\r\n\r\n")?;
            conversation.body(head)?;
            conversation.send("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 ")?;
            conversation.send("200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        }
        Ok(())
    });
    let gateway = Gateway::start(&Setup::to(upstream.address()));
    let mut client = gateway.client();
    for ask in [Ask::get("/public/"), Ask::post("/public/", "hello")] {
        client.send(ask.bytes());
        assert_eq!(first_line(&mut client), "HTTP/1.1 200 OK");
        // What is left of its head, and its body.
        while !first_line(&mut client).is_empty() {}
        std::io::Read::read_exact(client.reader(), &mut [0; 2]).unwrap();
    }
    assert_eq!(upstream.connections(), 1);
}

/// Somebody who listens, whose queue is full: connecting to them is not refused, and takes forever.
struct Full {
    socket: Socket,
    _queue: Vec<TcpStream>,
}

impl Full {
    fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
        let queue: Vec<TcpStream> = std::iter::from_fn(connect).take(64).collect();
        assert!(queue.len() < 64, "its queue has no end");
        Self { socket, _queue: queue }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap().as_socket().unwrap()
    }
}
