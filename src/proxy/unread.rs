//! Answers what came and never became a request: with a problem, counted and logged like any other.

use std::net::IpAddr;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::listener::vitals::Unread;
use crate::proxy::Proxy;
use crate::proxy::rejection::Rejection;
use crate::telemetry::access;

impl Proxy {
    /// The whole answer to what was no request. Of it no more is known than what was wrong.
    pub fn refuse_unread(&self, peer: IpAddr, unread: Unread) -> Vec<u8> {
        let rejection = Rejection::from(unread);
        let row = rejection.row();
        let id = self.ids.next();
        let id = id.to_str().unwrap_or_default();
        self.counters.unread(row.status);
        if let Some(log) = &self.access {
            log.record(&access::Record {
                time: Timestamp::now(),
                request_id: id,
                client_ip: peer,
                method: "",
                host: "",
                path: "",
                status: row.status,
                reason: Some(row.code),
                key_id: None,
                route: None,
                shadow: None,
                admitted: None,
                duration: Duration::ZERO,
                upstream: None,
                bytes_out: 0,
            });
        }
        rejection.problem(self.credentials.header()).into_http1(id)
    }
}
