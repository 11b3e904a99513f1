//! Heads that two readers could read differently go no further, and disturb nobody.

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::gateway::{Gateway, Key};
use crate::support::http::Response;
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;

/// A gateway with one worker, so that everybody is everybody's neighbour.
struct Stage {
    upstream: Upstream,
    gateway: Gateway,
    key: Key,
}

impl Stage {
    fn new() -> Self {
        let upstream = Upstream::echo();
        let gateway = Gateway::start(&Setup::to(upstream.address()).gateway("workers = 1"));
        let key = gateway.mint("crm");
        Self { upstream, gateway, key }
    }

    /// Sends bytes over a connection of their own; the answer. The upstream sees nothing of it,
    /// and a neighbour on the same worker goes on.
    #[track_caller]
    fn refused(&self, bytes: impl AsRef<[u8]>) -> (Response, Client) {
        let mut neighbour = self.gateway.client();
        let ask = Ask::get("/neighbour").key(&self.key);
        assert_eq!(neighbour.ask(&ask).status, 200);
        let before = self.upstream.asked();
        let mut client = self.gateway.client();
        client.send(bytes);
        let answer = client.read();
        assert_eq!(self.upstream.asked(), before, "the upstream was asked");
        assert_eq!(neighbour.ask(&ask).status, 200, "a neighbour noticed");
        (answer, client)
    }

    /// A GET with a good key, which would be let in if it were not for `lines`.
    fn get_with(&self, target: &str, lines: &str) -> String {
        format!("GET {target} HTTP/1.1\r\napi-key: {}\r\n{lines}\r\n", self.key.plaintext)
    }
}

#[test]
fn a_head_that_is_in_order_is_forwarded() {
    let stage = Stage::new();
    let mut client = stage.gateway.client();
    client.send(stage.get_with("/", "host: a\r\n"));
    assert_eq!(client.read().status, 200);
}

#[test]
fn there_is_exactly_one_valid_host() {
    let stage = Stage::new();
    for lines in [
        "",
        "host: a\r\nhost: a\r\n",
        "host: a\r\nHost: b\r\n",
        "host: \r\n",
        "host: a b\r\n",
        "host: a/b\r\n",
        "host: a@b\r\n",
        "host: a:99999\r\n",
        "host: a,b\r\n",
        "host: a#\r\n",
    ] {
        stage.refused(stage.get_with("/", lines)).0.assert_problem(400, "bad_request");
    }
}

#[test]
fn http_1_0_needs_a_host_too() {
    let stage = Stage::new();
    let request = stage.get_with("/", "").replace("HTTP/1.1", "HTTP/1.0");
    stage.refused(request).0.assert_problem(400, "bad_request");
}
