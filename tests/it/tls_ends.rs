//! Over TLS a client is told that nothing is missing exactly where nothing is.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::support::address::fresh;
use crate::support::certificates::{Authority, Ending, Tls};
use crate::support::gateway::Gateway;
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;

struct Stage {
    authority: Authority,
    address: SocketAddr,
    _gateway: Gateway,
    _upstream: Upstream,
}

impl Stage {
    fn new(upstream: Upstream, line: &str) -> Self {
        let (authority, address) = (Authority::new(), fresh());
        let directory = tempfile::tempdir().unwrap();
        authority.certify(&[NAME]).put(directory.path(), "a");
        let setup = Setup::open_to(&format!("http://{}", upstream.address()))
            .gateway(&format!("listen_tls = [\"{address}\"]"))
            .gateway("certificates = [{ certificate = \"a.pem\", private_key = \"a.key\" }]")
            .gateway(line);
        let gateway = Gateway::start_in(directory, &setup);
        Self { authority, address, _gateway: gateway, _upstream: upstream }
    }

    fn connect(&self) -> Tls {
        self.authority.connect(self.address, NAME).unwrap()
    }
}

/// Begins an answer as the target says, and ends it by a reset, or in good order.
fn breaking_off() -> Upstream {
    Upstream::scripted(|conversation| {
        let Some(request) = conversation.request()? else { return Ok(()) };
        let (framing, part) = match request.target() {
            "/chunked" => ("transfer-encoding: chunked", "4\r\nhalf\r\n"),
            "/length" => ("content-length: 100", "half"),
            "/closing" | "/whole" => ("connection: close", "half"),
            other => panic!("{other}"),
        };
        conversation.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{part}"))?;
        // What was sent is to arrive first.
        thread::sleep(Duration::from_millis(100));
        if request.target() != "/whole" {
            conversation.reset_at_end();
        }
        Ok(())
    })
}

#[test]
fn an_answer_that_breaks_off_does_not_end_as_if_it_were_whole() {
    let stage = Stage::new(breaking_off(), "");
    for version in ["1.0", "1.1"] {
        for target in ["/chunked", "/length", "/closing", "/whole"] {
            let mut client = stage.connect();
            let close = "connection: close";
            client.send(
                format!("GET {target} HTTP/{version}\r\nhost: {NAME}\r\n{close}\r\n\r\n")
                    .as_bytes(),
            );
            let (answer, ending) = client.read_to_end();
            assert!(answer.contains(" 200 OK\r\n"), "{version} {target}: {answer}");
            assert!(answer.contains("half"), "{version} {target}: {answer}");
            let expected = if target == "/whole" { Ending::Said } else { Ending::CutOff };
            assert_eq!(ending, expected, "{version} {target}: {answer}");
        }
    }
}

#[test]
fn a_connection_that_is_closed_while_nobody_asks_is_told_so() {
    // Before it comes to rest, and after.
    for limit in ["600ms", "3s"] {
        let stage = Stage::new(Upstream::echo(), &format!("idle_timeout = \"{limit}\""));
        let (mut fresh, mut used) = (stage.connect(), stage.connect());
        used.send(format!("GET / HTTP/1.1\r\nhost: {NAME}\r\n\r\n").as_bytes());
        let mut answer = String::new();
        while !answer.ends_with('}') {
            answer.push_str(&used.read_some());
        }
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{limit}: {answer}");
        for client in [&mut fresh, &mut used] {
            assert_eq!(client.read_to_end(), (String::new(), Ending::Said), "{limit}");
        }
    }
}

const NAME: &str = "api.example.com";
