//! Writes requests down.

use crate::support::client::Client;
use crate::support::gateway::{Gateway, Key};
use crate::support::http::Response;

/// A request, as its bytes will stand on the wire.
#[derive(Clone, Debug)]
pub struct Ask {
    method: String,
    target: String,
    headers: String,
    body: Vec<u8>,
}

impl Ask {
    /// By any method.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: String::new(),
            body: Vec::new(),
        }
    }

    /// A GET.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST of `body`.
    pub fn post(target: &str, body: impl AsRef<[u8]>) -> Self {
        Self::with_body("POST", target, body)
    }

    /// By any method, with a body of known length.
    pub fn with_body(method: &str, target: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref().to_vec();
        let this = Self::new(method, target).header("content-length", &body.len().to_string());
        Self { body, ..this }
    }

    /// With one more header. Without a `host` there will be [`HOST`].
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.extend([name, ": ", value, "\r\n"]);
        self
    }

    /// With a key.
    pub fn key(self, key: &Key) -> Self {
        self.header("api-key", &key.plaintext)
    }

    /// The method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The whole request.
    pub fn bytes(&self) -> Vec<u8> {
        let Self { method, target, headers, body } = self;
        let names_host = headers.lines().any(|it| it.to_ascii_lowercase().starts_with("host:"));
        let host = if names_host { String::new() } else { format!("host: {HOST}\r\n") };
        let mut bytes = format!("{method} {target} HTTP/1.1\r\n{host}{headers}\r\n").into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    /// Asks a gateway over a connection of its own.
    #[track_caller]
    pub fn to(&self, gateway: &Gateway) -> Response {
        Client::connect(gateway.address()).ask(self)
    }
}

/// What requests name as their host where they name nothing else.
pub const HOST: &str = "api.example.com";
