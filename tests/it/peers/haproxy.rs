//! `HAProxy` stands before the gateway, and says in both versions of the PROXY protocol who asks.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::json;
use tempfile::TempDir;

use super::Stage;
use crate::support::address::fresh;
use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::gateway::Gateway;
use crate::support::http::Response;
use crate::support::peer::{Peer, program};
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::wait::eventually;

/// A client's address, which only `HAProxy` sees.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 77));

/// A balancer that passes bytes on from one address to the gateway.
struct Balancer {
    address: SocketAddr,
    _peer: Peer,
    _directory: TempDir,
}

impl Balancer {
    /// `words` are what the gateway's line ends with: `send-proxy`.
    fn before(gateway: SocketAddr, words: &str, more: &str) -> Self {
        let (address, directory) = (fresh(), tempfile::tempdir().unwrap());
        let file = directory.path().join("haproxy.cfg");
        let text = format!(
            "defaults\n mode tcp\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n\
             listen all\n bind {address}\n{more} server gateway {gateway} {words}\n"
        );
        fs::write(&file, text).unwrap();
        let peer = Peer::start(program(&["haproxy"]).args(["-db", "-q", "-f"]).arg(&file));
        eventually("HAProxy listens", || std::net::TcpStream::connect(address).is_ok());
        Self { address, _peer: peer, _directory: directory }
    }

    #[track_caller]
    fn ask(&self, ask: &Ask) -> Response {
        Client::connect_from(CLIENT, self.address).ask(ask)
    }
}

fn setup(upstream: &Upstream) -> Setup {
    Setup::to(upstream.address()).gateway("proxy_protocol_from = [\"127.0.0.1\"]")
}

#[test]
fn the_upstream_sees_the_client_behind_haproxy() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&setup(&upstream));
    let key = gateway.mint("peer");
    for words in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"]
    {
        let balancer = Balancer::before(gateway.address(), words, " unique-id-format %pid\n");
        let mut client = Client::connect_from(CLIENT, balancer.address);
        for _ in 0..3 {
            assert_eq!(client.ask(&Ask::get("/").key(&key)).status, 200, "{words}");
            let seen = upstream.last();
            assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.77"), "{words}");
        }
    }
}

#[test]
fn a_key_is_bound_to_the_address_behind_haproxy() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&setup(&upstream));
    let allow =
        |address: &str| gateway.mint_as(&json!({ "name": address, "allow_addresses": [address] }));
    let (own, other) = (allow("127.0.0.77"), allow("127.0.0.1"));
    for words in ["send-proxy", "send-proxy-v2"] {
        let balancer = Balancer::before(gateway.address(), words, "");
        assert_eq!(balancer.ask(&Ask::get("/").key(&own)).status, 200, "{words}");
        let refused = balancer.ask(&Ask::get("/").key(&other));
        refused.assert_problem(403, "address_not_allowed");
    }
}

/// Before the handshake, as `HAProxy` sends it.
#[test]
fn tls_comes_after_the_header() {
    let upstream = Upstream::echo();
    let stage = Stage::new(&setup(&upstream));
    for words in ["send-proxy", "send-proxy-v2"] {
        let balancer = Balancer::before(stage.secure, words, "");
        let mut command = program(&["curl"]);
        command.args([
            "-sS",
            "-k",
            "--interface",
            "127.0.0.77",
            "--http2",
            "-w",
            "%{http_version}",
        ]);
        command.args(["-H", &format!("api-key: {}", stage.key.plaintext), "-o", "/dev/null"]);
        let said = crate::support::peer::run(command.arg(format!("https://{}/", balancer.address)));
        assert_eq!((said.code, said.out.as_str()), (Some(0), "2"), "{words}: {said:?}");
        let seen = upstream.last();
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.77"), "{words}");
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"), "{words}");
    }
}

/// It says `UNKNOWN` and `LOCAL` of itself: nobody is behind it then.
#[test]
fn what_haproxy_asks_for_itself_is_its_own() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&setup(&upstream));
    for words in ["send-proxy", "send-proxy-v2"] {
        let before = upstream.asked();
        let check = " option httpchk\n http-check send meth GET uri /public/health ver HTTP/1.1 hdr host api\n";
        let words = format!("{words} check check-send-proxy inter 200ms");
        let _balancer = Balancer::before(gateway.address(), &words, check);
        eventually("HAProxy has asked", || upstream.asked() > before + 1);
        let seen = upstream.last();
        assert_eq!(seen.target(), "/public/health");
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"), "{words}");
    }
}

#[test]
fn a_header_from_anybody_else_is_no_header() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&setup(&upstream));
    let ask = Ask::get("/public/x").bytes();
    for header in [V1.as_bytes(), &V2] {
        let mut client = Client::connect_from(CLIENT, gateway.address());
        client.send([header, &ask].concat());
        assert_eq!(client.read().status, 400);
        client.assert_closed();
    }
    assert_eq!(upstream.asked(), 0);
    let mut client = Client::connect_from(CLIENT, gateway.address());
    assert_eq!(client.ask(&Ask::get("/public/x")).status, 200);
}

#[test]
fn who_has_to_send_the_header_is_not_served_without_it() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&setup(&upstream));
    let mut client = Client::connect(gateway.address());
    client.send(Ask::get("/public/x").bytes());
    let answer = client.read_to_end();
    assert!(!answer.starts_with(b"HTTP/1.1 2"), "{:?}", String::from_utf8_lossy(&answer));
    assert_eq!(upstream.asked(), 0);
}

const V1: &str = "PROXY TCP4 192.0.2.1 192.0.2.2 40000 80\r\n";
/// The same in version 2.
const V2: [u8; 28] = [
    0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54,
    0x0a, // What it begins with.
    0x21, 0x11, 0, 12, // Version 2, PROXY, TCP over IPv4, twelve bytes.
    192, 0, 2, 1, 192, 0, 2, 2, 0x9c, 0x40, 0, 80,
];
