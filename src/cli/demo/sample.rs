//! Serves the sample API that the demo puts behind a gateway: contacts and campaigns.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};

use crate::tasks::Tasks;

/// A running sample API on a thread of its own; it ends when this is dropped.
#[derive(Debug)]
pub struct Sample {
    /// Where it listens.
    pub address: SocketAddr,
    tasks: Tasks,
}

impl Sample {
    /// Starts it anywhere on loopback.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let sample = Self { address: listener.local_addr()?, tasks: Tasks::default() };
        let tasks = sample.tasks.clone();
        thread::Builder::new()
            .name("sample-api".to_owned())
            .spawn(move || run(listener, &tasks))?;
        Ok(sample)
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

fn run(listener: TcpListener, tasks: &Tasks) {
    let done = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .and_then(|runtime| runtime.block_on(serve(listener, tasks)));
    if let Err(fault) = done {
        tracing::error!(%fault, "the sample API has ended");
    }
}

async fn serve(listener: TcpListener, tasks: &Tasks) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let shelf = Rc::new(RefCell::new(Shelf::filled()));
    loop {
        tokio::select! {
            () = tasks.stopped() => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((socket, _address)) => {
                    tasks.spawn_local(connection(socket, Rc::clone(&shelf)));
                }
                // Too many descriptors are open: others close theirs meanwhile.
                Err(_fault) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
}

async fn connection(socket: TcpStream, shelf: Rc<RefCell<Shelf>>) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let shelf = Rc::clone(&shelf);
        async move {
            let (head, body) = request.into_parts();
            // A body that is too long or breaks off reads as none.
            let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
            let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let answer = shelf.borrow_mut().answer(&head.method, head.uri.path(), &body);
            Ok::<_, http::Error>(answer.into_response(&head.headers))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new());
    // A gateway that goes away in the middle is no fault of the sample's.
    drop(http.serve_connection(TokioIo::new(socket), service).await);
}

/// What the API holds, in memory.
struct Shelf {
    contacts: Vec<Value>,
}

impl Shelf {
    fn filled() -> Self {
        Self {
            contacts: vec![
                json!({ "email": "ada@example.com", "name": "Ada Lovelace", "lists": ["beta"] }),
                json!({ "email": "grace@example.com", "name": "Grace Hopper", "lists": ["news"] }),
            ],
        }
    }

    fn answer(&mut self, method: &Method, path: &str, body: &[u8]) -> Answer {
        let get = *method == Method::GET;
        match path {
            "/v3/ping" if get => Answer(200, json!({ "pong": true })),
            "/v3/contacts" if get => Answer(200, json!({ "contacts": self.contacts })),
            "/v3/contacts" if *method == Method::POST => self.add(body),
            "/v3/campaigns" if get => Answer(200, campaigns()),
            _ => match path.strip_prefix("/v3/contacts/").filter(|_| get) {
                Some(email) => self.find(email),
                None => Answer(404, json!({ "message": "there is nothing here" })),
            },
        }
    }

    fn find(&self, email: &str) -> Answer {
        let email = email.replace("%40", "@");
        match self.contacts.iter().find(|it| it.get("email") == Some(&email.as_str().into())) {
            Some(contact) => Answer(200, contact.clone()),
            None => Answer(404, json!({ "message": "no such contact" })),
        }
    }

    fn add(&mut self, body: &[u8]) -> Answer {
        let contact: Value = serde_json::from_slice(body).unwrap_or_default();
        if contact.get("email").and_then(Value::as_str).is_none() {
            return Answer(422, json!({ "message": "expected a JSON object with an email" }));
        }
        if self.contacts.len() >= CONTACTS_MAX {
            return Answer(409, json!({ "message": "the sample is full" }));
        }
        self.contacts.push(contact.clone());
        Answer(201, contact)
    }
}

fn campaigns() -> Value {
    json!({ "campaigns": [
        { "id": 1, "subject": "Spring news", "state": "sent", "recipients": 1204 },
        { "id": 2, "subject": "Summer news", "state": "draft", "recipients": 0 },
    ] })
}

/// A status and a document.
struct Answer(u16, Value);

impl Answer {
    /// Says too who asked, as the gateway has told it.
    fn into_response(self, request: &HeaderMap) -> Response<Full<Bytes>> {
        let Self(status, document) = self;
        let mut response = Response::new(Full::from(format!("{document}\n")));
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(name) = request.get("x-keyward-key-name") {
            headers.insert("x-sample-asked-by", name.clone());
        }
        response
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const BODY_BYTES_MAX: usize = 64 * 1024;
const CONTACTS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(shelf: &mut Shelf, asked: (&Method, &str, &str), status: u16) -> Value {
        let (method, path, body) = asked;
        let Answer(answered, document) = shelf.answer(method, path, body.as_bytes());
        assert_eq!(answered, status, "{method} {path}");
        document
    }

    #[test]
    fn a_contact_that_was_added_is_found() {
        let shelf = &mut Shelf::filled();
        check(shelf, (&Method::GET, "/v3/contacts/alan%40example.com", ""), 404);
        let alan = r#"{"email":"alan@example.com"}"#;
        check(shelf, (&Method::POST, "/v3/contacts", alan), 201);
        let found = check(shelf, (&Method::GET, "/v3/contacts/alan@example.com", ""), 200);
        assert_eq!(found["email"], "alan@example.com");
    }

    #[test]
    fn what_is_no_contact_is_not_added() {
        let shelf = &mut Shelf::filled();
        for body in ["", "[]", "{}", r#"{"email":1}"#] {
            check(shelf, (&Method::POST, "/v3/contacts", body), 422);
        }
    }

    #[test]
    fn everything_that_the_demo_names_is_there() {
        let shelf = &mut Shelf::filled();
        for path in ["/v3/ping", "/v3/contacts", "/v3/campaigns", "/v3/contacts/ada@example.com"] {
            check(shelf, (&Method::GET, path, ""), 200);
        }
    }
}
