//! A client that speaks HTTP/2 frame by frame, and notes all that it hears.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use crate::support::client::Client;
use crate::support::h2::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PADDED, PING,
    PREFACE, RST_STREAM, Request, SETTINGS, WINDOW_UPDATE, frame, ping, settings, window_update,
};
use crate::support::h2::hpack::{Decoder, Field};
use crate::support::http::{Head, Response};

/// One connection.
#[derive(Debug)]
pub struct Peer {
    client: Client,
    decoder: Decoder,
    block: Vec<u8>,
    streams: BTreeMap<u32, Heard>,
    /// Frames that belong to the connection, but what opens it.
    others: Vec<Frame>,
    end: Option<End>,
    taking: Taking,
    next_stream: u32,
}

/// What was heard of one stream.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Of its answer.
    pub fields: Vec<Field>,
    pub body: Vec<u8>,
    pub trailers: Vec<Field>,
    /// Whether the answer is whole.
    pub is_whole: bool,
    pub reset: Option<u32>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With a GOAWAY that had this code.
    GoAway(u32),
    /// Without any.
    Closed,
}

/// How a stream ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    Answered(Response),
    Reset(u32),
    Ended(End),
}

/// What a client does with the bytes of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// It makes no more room than it had at first.
    Nothing,
    /// It makes room again on the connection for each DATA.
    Connection,
    /// The same, and on the stream.
    All,
}

impl Peer {
    /// Connects and says what a client says first.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &[])
    }

    /// The same, with settings.
    #[track_caller]
    pub fn connect_with(address: SocketAddr, values: &[(u16, u32)]) -> Self {
        let mut this = Self::silent(address);
        this.send([PREFACE, &settings(values)].concat());
        while !this.others.iter().any(|it| it.kind == SETTINGS && it.has(ACK)) {
            assert!(this.step(), "it was closed at once");
        }
        this.others.clear();
        this
    }

    /// Connects and says nothing.
    #[track_caller]
    pub fn silent(address: SocketAddr) -> Self {
        Self::over(Client::connect(address))
    }

    /// Over a connection that stands already.
    pub fn over(client: Client) -> Self {
        let (decoder, streams) = (Decoder::default(), BTreeMap::new());
        let (block, others) = (Vec::new(), Vec::new());
        Self {
            client,
            decoder,
            block,
            streams,
            others,
            end: None,
            taking: Taking::Nothing,
            next_stream: 1,
        }
    }

    /// From here on it does so with the bytes of answers.
    pub fn take(&mut self, taking: Taking) {
        self.taking = taking;
    }

    /// Sends bytes.
    #[track_caller]
    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        self.client.send(bytes);
    }

    /// Sends bytes to someone who may have gone.
    pub fn try_send(&self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.client.try_send(bytes)
    }

    /// Its own address.
    pub fn address(&self) -> SocketAddr {
        self.client.stream().local_addr().unwrap()
    }

    /// A stream that nobody has used.
    pub fn new_stream(&mut self) -> u32 {
        self.next_stream += 2;
        self.next_stream - 2
    }

    /// Sends a request without a body and waits for what becomes of it.
    #[track_caller]
    pub fn ask(&mut self, request: &Request) -> Outcome {
        let stream = self.new_stream();
        drop(self.try_send(request.whole(stream)));
        self.outcome(stream)
    }

    /// What is known of a stream now.
    pub fn heard(&self, stream: u32) -> Heard {
        self.streams.get(&stream).cloned().unwrap_or_default()
    }

    /// How much of all answers has come.
    pub fn body_bytes(&self) -> usize {
        self.streams.values().map(|it| it.body.len()).sum()
    }

    /// Frames of the connection that have come since it was opened.
    pub fn others(&self) -> &[Frame] {
        &self.others
    }

    /// Forgets them.
    pub fn forget_others(&mut self) {
        self.others.clear();
    }

    /// How the connection ended, if it has.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Waits for a stream's end.
    #[track_caller]
    pub fn outcome(&mut self, stream: u32) -> Outcome {
        loop {
            let heard = self.streams.entry(stream).or_default();
            if heard.is_whole {
                return Outcome::Answered(heard.response());
            }
            if let Some(code) = heard.reset {
                return Outcome::Reset(code);
            }
            if !self.step() {
                return Outcome::Ended(self.end.unwrap());
            }
        }
    }

    /// Waits until so much of a stream's answer has come.
    #[track_caller]
    pub fn until_body(&mut self, stream: u32, bytes: usize) {
        while self.heard(stream).body.len() < bytes {
            let heard = self.heard(stream);
            assert!(heard.reset.is_none() && self.step(), "it ended before: {:?}", heard.reset);
        }
    }

    /// Waits until all was looked at that was sent, and what it sets free has come.
    #[track_caller]
    pub fn barrier(&mut self) {
        for number in [u64::MAX, u64::MAX - 1] {
            let (sent, ack) = (ping(number), number.to_be_bytes());
            self.send(sent);
            while !self.others.iter().any(|it| it.kind == PING && it.payload == ack) {
                assert!(self.step(), "the connection ended: {:?}", self.end);
            }
            self.others.retain(|it| it.payload != ack);
        }
    }

    /// Waits for the connection's end.
    #[track_caller]
    pub fn until_end(&mut self) -> End {
        while self.step() {}
        self.end.unwrap()
    }

    /// What comes before the end, where it may be no frames.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        self.client.read_to_end()
    }

    /// Reads one frame and notes it; whether the connection goes on.
    #[track_caller]
    pub fn step(&mut self) -> bool {
        let Some(frame) = self.read() else {
            self.end.get_or_insert(End::Closed);
            return false;
        };
        self.hear(&frame);
        true
    }

    /// The next DATA, which is not noted.
    #[track_caller]
    pub fn next_data(&mut self) -> Option<Frame> {
        loop {
            let frame = self.read()?;
            if frame.kind == DATA {
                return Some(frame);
            }
            self.hear(&frame);
        }
    }

    fn hear(&mut self, frame: &Frame) {
        match frame.kind {
            HEADERS | CONTINUATION => self.hear_block(frame),
            DATA => self.hear_data(frame),
            RST_STREAM => {
                self.streams.entry(frame.stream).or_default().reset = Some(frame.number(0));
            }
            _ => self.hear_other(frame.clone()),
        }
    }

    #[track_caller]
    fn read(&mut self) -> Option<Frame> {
        match Frame::read(self.client.reader()) {
            Ok(frame) => Some(frame),
            Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {
                panic!("nothing more comes; heard {:?} {:?}", self.streams, self.others)
            }
            Err(_closed) => None,
        }
    }

    fn hear_block(&mut self, frame: &Frame) {
        self.block.extend_from_slice(&frame.payload);
        let heard = self.streams.entry(frame.stream).or_default();
        heard.is_whole |= frame.kind == HEADERS && frame.has(END_STREAM);
        if frame.has(END_HEADERS) {
            let fields = self.decoder.decode(&std::mem::take(&mut self.block));
            let place =
                if heard.fields.is_empty() { &mut heard.fields } else { &mut heard.trailers };
            // An answer that only says "go on" is passed over.
            if !fields.iter().any(|(name, value)| name == ":status" && value.starts_with('1')) {
                *place = fields;
            }
        }
    }

    fn hear_data(&mut self, frame: &Frame) {
        assert!(!frame.has(PADDED));
        let heard = self.streams.entry(frame.stream).or_default();
        heard.body.extend_from_slice(&frame.payload);
        heard.is_whole |= frame.has(END_STREAM);
        let more = u32::try_from(frame.payload.len()).unwrap();
        if self.taking != Taking::Nothing && more > 0 {
            drop(self.try_send(window_update(0, more)));
        }
        if self.taking == Taking::All && more > 0 {
            drop(self.try_send(window_update(frame.stream, more)));
        }
    }

    fn hear_other(&mut self, heard: Frame) {
        match heard.kind {
            SETTINGS if !heard.has(ACK) => drop(self.try_send(frame(SETTINGS, ACK, 0, []))),
            PING if !heard.has(ACK) => drop(self.try_send(frame(PING, ACK, 0, &heard.payload))),
            GOAWAY => self.end = Some(End::GoAway(heard.number(4))),
            _ => {}
        }
        if heard.kind != WINDOW_UPDATE {
            self.others.push(heard);
        }
    }
}

impl Heard {
    fn response(&self) -> Response {
        let status = self.fields.iter().find(|it| it.0 == ":status").unwrap().1.parse().unwrap();
        let head = Head { first: String::new(), headers: self.fields.clone() };
        Response { status, head, body: self.body.clone(), trailers: self.trailers.clone() }
    }
}

impl Outcome {
    /// The answer, where one came.
    #[track_caller]
    pub fn answer(self) -> Response {
        match self {
            Self::Answered(response) => response,
            Self::Reset(code) => panic!("the stream was reset with {code}"),
            Self::Ended(end) => panic!("the connection ended: {end:?}"),
        }
    }

    /// The code of the reset, where one came.
    #[track_caller]
    pub fn reset(self) -> u32 {
        match self {
            Self::Reset(code) => code,
            Self::Answered(answer) => panic!("it was answered with {}", answer.status),
            Self::Ended(end) => panic!("the connection ended: {end:?}"),
        }
    }
}
