//! Tells a connection how far a request on it has come: one at a time, or one of many.

use std::rc::Rc;

use crate::listener::session::Strand;
use crate::listener::tunnel::Tunnel;
use crate::listener::vitals::{Remainder, Vitals};
use crate::tasks::Ending;

/// What a request says of itself to its connection.
#[derive(Clone, Debug)]
pub enum Progress {
    /// HTTP/1.1: what happens to the request happens to the connection.
    Http1(Rc<Vitals>),
    /// HTTP/2: one stream of it.
    Http2(Rc<Strand>),
}

impl Progress {
    /// The head is complete.
    pub fn begin(&self) {
        match self {
            Self::Http1(vitals) => vitals.begin(),
            Self::Http2(_begun_already) => {}
        }
    }

    /// The request was let in; it may be told to end.
    pub fn attend(&self, request: Rc<dyn Ending>) {
        match self {
            Self::Http1(vitals) => vitals.attend(request),
            Self::Http2(strand) => strand.attend(request),
        }
    }

    /// The answer begins.
    pub fn answer(&self) {
        match self {
            Self::Http1(vitals) => vitals.answer(),
            Self::Http2(strand) => strand.answer(),
        }
    }

    /// There is room for more of the answer.
    pub fn has_room(&self) {
        match self {
            Self::Http1(_the_socket_knows) => {}
            Self::Http2(strand) => strand.has_room(),
        }
    }

    /// A part of the answer was handed over.
    pub fn has_passed(&self) {
        match self {
            Self::Http1(_the_socket_knows) => {}
            Self::Http2(strand) => strand.has_passed(),
        }
    }

    /// The answer goes no further, and was not whole.
    pub fn break_off(&self) {
        match self {
            Self::Http1(vitals) => vitals.break_off(),
            Self::Http2(_hyper_resets_it) => {}
        }
    }

    /// The answer's last byte was handed over.
    pub fn finish(&self, remainder: Remainder) {
        match self {
            Self::Http1(vitals) => vitals.finish(remainder),
            Self::Http2(strand) => strand.finish(),
        }
    }

    /// Once the answer is out, the connection is `tunnel`'s. Only HTTP/1.1 can change its protocol.
    pub fn change_over(&self, tunnel: Box<dyn Tunnel>) {
        match self {
            Self::Http1(vitals) => vitals.change_over(tunnel),
            Self::Http2(_strand) => drop(tunnel),
        }
    }

    /// Whether closing the connection after an answer says that a body was left unread; a stream
    /// of HTTP/2 ends alone.
    pub fn ends_by_closing(&self) -> bool {
        matches!(self, Self::Http1(_))
    }
}
