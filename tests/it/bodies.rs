//! Bodies pass through as they come, whole, and are never gathered.

use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::sync_channel;
use std::thread;

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::gateway::{Gateway, Key};
use crate::support::http::{Framing, Response, read_body};
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};
use crate::support::wait::{eventually, rounds};

fn start(upstream: &Upstream) -> (Gateway, Key) {
    let gateway = Gateway::start(&Setup::to(upstream.address()));
    let key = gateway.mint("crm");
    (gateway, key)
}

/// What passes while the gateway grows by less than [`GROWTH_KIB_MAX`].
#[track_caller]
fn assert_not_gathered(gateway: &Gateway, passing: impl FnOnce()) {
    gateway.forget_peak();
    let before = gateway.rss_kib();
    passing();
    let grown = gateway.peak_rss_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB_MAX, "it grew by {grown} KiB");
}

#[test]
fn an_upload_of_1_gib_is_not_gathered() {
    let upstream = Upstream::echo();
    let (gateway, key) = start(&upstream);
    let head = Ask::new("PUT", "/big").key(&key).header("content-length", &GIB.to_string());
    assert_not_gathered(&gateway, || {
        let mut client = gateway.client();
        client.send(head.bytes());
        send_zeros(client.stream(), GIB).unwrap();
        assert_eq!(client.read().json()["body_bytes"], GIB);
    });
}

#[test]
fn a_chunked_upload_of_1_gib_is_not_gathered() {
    let upstream = Upstream::echo();
    let (gateway, key) = start(&upstream);
    let head = Ask::new("PUT", "/big").key(&key).header("transfer-encoding", "chunked");
    assert_not_gathered(&gateway, || {
        let mut client = gateway.client();
        client.send(head.bytes());
        for _ in 0..GIB / MIB {
            client.send(format!("{MIB:x}\r\n"));
            send_zeros(client.stream(), MIB).unwrap();
            client.send("\r\n");
        }
        client.send("0\r\n\r\n");
        assert_eq!(client.read().json()["body_bytes"], GIB);
    });
}

#[test]
fn a_download_of_1_gib_is_not_gathered() {
    let upstream = endless_zeros();
    let (gateway, key) = start(&upstream);
    assert_not_gathered(&gateway, || {
        let mut client = gateway.client();
        client.send(Ask::get(&format!("/{GIB}")).key(&key).bytes());
        let head = client.read_head();
        let mut count = 0_u64;
        let framing = head.framing_of_answer("GET");
        read_body(client.reader(), framing, |bytes| count += bytes.len() as u64).unwrap();
        assert_eq!((framing, count), (Framing::Length(GIB), GIB));
    });
}

#[test]
fn a_slow_reader_does_not_make_it_grow() {
    let upstream = endless_zeros();
    let (gateway, key) = start(&upstream);
    assert_not_gathered(&gateway, || {
        let mut client = Client::connect_narrow(gateway.address());
        client.send(Ask::get(&format!("/{GIB}")).key(&key).bytes());
        assert_eq!(client.read_head().status, 200);
        let mut piece = vec![0; 64 * 1024];
        for _ in 0..20 {
            thread::sleep(STALL / 20);
            client.reader().read_exact(&mut piece).unwrap();
        }
    });
}

#[test]
fn uploads_that_nobody_reads_are_not_gathered() {
    let upstream = Upstream::scripted(|conversation| {
        conversation.head()?;
        // Takes nothing until the test is over.
        thread::park();
        Ok(())
    });
    let (gateway, key) = start(&upstream);
    let fill_all = |count: u64| {
        let uploads: Vec<_> = (0..count).map(|_| fill(&gateway, &key)).collect();
        let taken: u64 = uploads.into_iter().map(|it| it.join().unwrap()).sum();
        assert!(taken < count * 32 * MIB, "{taken} bytes were taken that nobody read");
    };
    // What each worker needs once is no growth.
    fill_all(4);
    assert_not_gathered(&gateway, || fill_all(6));
}

/// Uploads until nobody takes any more for a while; how much was taken.
fn fill(gateway: &Gateway, key: &Key) -> thread::JoinHandle<u64> {
    let client = gateway.client();
    let head = Ask::new("PUT", "/").key(key).header("content-length", &GIB.to_string());
    client.send(head.bytes());
    thread::spawn(move || {
        let mut taken = 0;
        client.stream().set_write_timeout(Some(STALL)).unwrap();
        let zeros = vec![0; 256 * 1024];
        while let Ok(count) = client.stream().write(&zeros) {
            taken += count as u64;
        }
        taken
    })
}

#[test]
fn an_event_is_at_the_client_before_the_next_one_is_sent() {
    for framing in ["transfer-encoding: chunked", "connection: close"] {
        let (go_on, told) = sync_channel::<()>(0);
        let told = std::sync::Mutex::new(told);
        let upstream = Upstream::scripted(move |conversation| {
            let Some(_request) = conversation.request()? else { return Ok(()) };
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream";
            conversation.send(format!("{head}\r\n{framing}\r\n\r\n"))?;
            let is_chunked = framing.contains("chunked");
            let event = if is_chunked { "9\r\ndata: x\n\n\r\n" } else { "data: x\n\n" };
            let told = told.lock().unwrap();
            while told.recv().is_ok() {
                conversation.send(event)?;
            }
            Ok(())
        });
        let (gateway, key) = start(&upstream);
        let mut client = gateway.client();
        client.send(Ask::get("/events").key(&key).bytes());
        assert_eq!(client.read_head().head.get("content-type"), Some("text/event-stream"));
        for _ in 0..1_000 {
            go_on.send(()).unwrap();
            let mut event = [0; 9];
            read_event(&mut client, &mut event);
            assert_eq!(&event, b"data: x\n\n");
        }
    }
}

/// One event, in a chunk of its own.
fn read_event(client: &mut Client, event: &mut [u8; 9]) {
    let mut size = String::new();
    client.reader().read_line(&mut size).unwrap();
    assert_eq!(size, "9\r\n");
    client.reader().read_exact(event).unwrap();
    let mut end = [0; 2];
    client.reader().read_exact(&mut end).unwrap();
}

#[test]
fn a_piece_of_an_upload_is_at_the_upstream_before_the_next_one_is_sent() {
    let (arrived, seen) = sync_channel::<u64>(0);
    let upstream = Upstream::scripted(move |conversation| {
        let Some(head) = conversation.head()? else { return Ok(()) };
        let framing = head.framing(Framing::Length(0));
        read_body(conversation.reader(), framing, |bytes| {
            arrived.send(bytes.len() as u64).unwrap();
        })?;
        conversation.send(ok("thanks"))
    });
    let (gateway, key) = start(&upstream);
    let mut client = gateway.client();
    client.send(Ask::new("POST", "/").key(&key).header("transfer-encoding", "chunked").bytes());
    for _ in 0..1_000 {
        client.send("9\r\ndata: x\n\n\r\n");
        let mut count = 0;
        while count < 9 {
            count += seen.recv().unwrap();
        }
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.read().body, b"thanks");
}

/// An upload of 100 MiB with a bad key, by a client that reads while it writes, as curl does, or
/// only after.
fn upload_unwelcome(gateway: &Gateway, reads: Reads) -> std::io::Result<Response> {
    let length = (100 * MIB).to_string();
    let ask = Ask::new("POST", "/").key(&Key::unknown()).header("content-length", &length);
    let mut client = gateway.client();
    let writer = client.stream().try_clone().unwrap();
    let send = move || {
        let mut writer = &writer;
        let sent = writer.write_all(&ask.bytes()).and_then(|()| send_zeros(writer, 100 * MIB));
        // Told to stop while it still sends: what counts is the answer.
        drop(sent);
    };
    match reads {
        Reads::Meanwhile => {
            let sending = thread::spawn(send);
            let answer = client.try_read();
            drop(client.stream().shutdown(std::net::Shutdown::Both));
            sending.join().unwrap();
            answer
        }
        Reads::Afterwards => {
            send();
            client.try_read()
        }
    }
}

#[derive(Clone, Copy)]
enum Reads {
    Meanwhile,
    Afterwards,
}

#[track_caller]
fn assert_every_refusal_is_read(reads: Reads, count: usize) {
    let upstream = Upstream::echo();
    let setup = Setup::to(upstream.address()).limits("failures_per_address = \"unlimited\"");
    let gateway = Gateway::start(&setup);
    let upload = |round: usize| {
        let answer = upload_unwelcome(&gateway, reads);
        let answer = answer.unwrap_or_else(|fault| panic!("round {round}: {fault}"));
        answer.assert_problem(401, "unknown_key");
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..count.div_ceil(4)).for_each(upload));
        }
    });
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn who_uploads_100_mib_with_a_bad_key_reads_the_refusal() {
    assert_every_refusal_is_read(Reads::Meanwhile, rounds(100, 1_000));
}

#[test]
fn who_uploads_100_mib_with_a_bad_key_and_reads_afterwards_reads_it_too() {
    assert_every_refusal_is_read(Reads::Afterwards, rounds(20, 1_000));
}

#[test]
fn who_is_refused_is_not_asked_to_continue() {
    let upstream = Upstream::echo();
    let (gateway, key) = start(&upstream);
    let expecting = |ask: Ask| ask.header("expect", "100-continue").header("content-length", "5");
    let mut client = gateway.client();
    client.send(expecting(Ask::new("POST", "/")).bytes());
    let answer = String::from_utf8(client.read_to_end()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(!answer.contains(" 100 "), "{answer}");
    assert_eq!(upstream.connections(), 0);

    let mut client = gateway.client();
    client.send(expecting(Ask::new("POST", "/").key(&key)).bytes());
    let mut line = String::new();
    client.reader().read_line(&mut line).unwrap();
    assert_eq!(line, "HTTP/1.1 100 Continue\r\n");
    client.reader().read_line(&mut line).unwrap();
    client.send("hello");
    assert_eq!(client.read().json()["body_bytes"], 5);
}

#[test]
fn a_malformed_body_is_the_clients_fault() {
    let upstream = Upstream::echo();
    let (gateway, key) = start(&upstream);
    for body in [
        "z\r\n",
        "-1\r\n",
        "5\r\nhelloworld\r\n",
        "fffffffffffffffff\r\n",
        "5\r\nhello\r\n0\r\nx y: z\r\n\r\n",
    ] {
        let ask = Ask::new("POST", "/").key(&key).header("transfer-encoding", "chunked");
        let mut client = gateway.client();
        client.send([&*ask.bytes(), body.as_bytes()].concat());
        let answer = client.read();
        assert_eq!(answer.status, 400, "{body:?}");
        client.assert_closed();
    }
    assert_eq!(upstream.asked(), 0, "a request came to its end");
    assert_eq!(gateway.metrics().count("keyward_upstream_errors_total"), 0, "it was blamed");
}

#[test]
fn a_client_that_goes_away_leaves_half_a_request_and_no_more() {
    let upstream = Upstream::echo();
    let (gateway, key) = start(&upstream);
    let client = gateway.client();
    client.send(Ask::new("POST", "/").key(&key).header("content-length", "1000").bytes());
    client.send("half");
    eventually("the upstream sees the beginning", || {
        upstream.bytes().iter().any(|it| it.ends_with(b"half"))
    });
    drop(client);
    assert_eq!(Ask::get("/").key(&key).to(&gateway).status, 200);
    assert_eq!(upstream.asked(), 1, "half a request counted as one");
}

#[test]
fn an_answer_before_the_end_of_an_upload_reaches_the_client() {
    let upstream = Upstream::scripted(|conversation| {
        conversation.head()?;
        conversation.send("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
    });
    let (gateway, key) = start(&upstream);
    let mut client = gateway.client();
    let ask = Ask::new("POST", "/").key(&key).header("content-length", &(10 * MIB).to_string());
    client.send(ask.bytes());
    let answer = client.read();
    assert_eq!((answer.status, &*answer.body), (413, &b"no"[..]));
}

/// Answers `/COUNT` with so many zeros.
fn endless_zeros() -> Upstream {
    Upstream::scripted(|conversation| {
        let Some(request) = conversation.request()? else { return Ok(()) };
        let count: u64 = request.target()[1..].parse().unwrap();
        conversation.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {count}\r\n\r\n"))?;
        send_zeros(conversation.stream(), count)
    })
}

fn send_zeros(mut stream: &TcpStream, count: u64) -> std::io::Result<()> {
    let piece = vec![0; 256 * 1024];
    for _ in 0..count / piece.len() as u64 {
        stream.write_all(&piece)?;
    }
    Ok(())
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const GROWTH_KIB_MAX: u64 = 16 * 1024;
const STALL: std::time::Duration = std::time::Duration::from_secs(2);
