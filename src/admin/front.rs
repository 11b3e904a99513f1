//! The straight line of a call: meant for us, from whom, to what, allowed; then its handler.

use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, header};
use uuid::Uuid;

use crate::admin::Admin;
use crate::admin::answer::Answer;
use crate::admin::asked::{Asked, Visit, read_away};
use crate::admin::hosts::Hosts;
use crate::admin::rejection::Rejection;
use crate::admin::router::{Answering, Call, Need, allowed};
use crate::admin::sign_in::Operator;
use crate::admin::tally::Tally;

/// Between whom a connection is.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Whoever asks.
    pub peer: IpAddr,
    /// Where they reached us.
    pub own: SocketAddr,
}

/// What the router found.
#[derive(Debug)]
pub enum Found {
    /// A call, and what its path names.
    Call(&'static Call, Option<String>),
    /// A path that takes other methods.
    Path(&'static str),
    /// Nothing.
    Nothing,
}

impl Admin {
    /// Answers a request, whatever happens.
    pub async fn answer(self: Arc<Self>, found: Found, request: Request<Body>) -> Response<Body> {
        let id = Uuid::now_v7().simple().to_string();
        let tally = Arc::clone(&self.tally);
        let passed = AssertUnwindSafe(self.pass(found, request)).catch_unwind().await;
        let panicked = |_panic| Err(Rejection::Internal("a handler panicked"));
        let mut response = match passed.unwrap_or_else(panicked) {
            Ok(answer) => answer.into_response(),
            Err(rejection) => refuse(&rejection, &id, &tally),
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.extend(HeaderValue::from_str(&id).map(|it| (X_REQUEST_ID, it)));
        response
    }

    async fn pass(
        self: Arc<Self>,
        found: Found,
        request: Request<Body>,
    ) -> Result<Answer, Rejection> {
        let (head, body) = request.into_parts();
        match self.enter(found, &head).await {
            Ok(Entry::Open(handler, operator)) => handler(Visit { admin: self, operator }).await,
            Ok(Entry::Permitted(handler, operator, id)) => {
                handler(Asked { admin: self, operator, id, head, body }).await
            }
            Err(rejection) => {
                read_away(&head, body).await;
                Err(rejection)
            }
        }
    }

    /// Nobody without a token learns what there is: it is asked for before anything is found.
    async fn enter(&self, found: Found, head: &Parts) -> Result<Entry, Rejection> {
        let ends = head.extensions.get::<Ends>().ok_or(Rejection::Internal("no connection"))?;
        Hosts::new(self.config().admin.hosts.clone()).check(head, ends.own)?;
        let operator = self.sign_in(&head.headers, ends.peer).await;
        let (call, id) = match found {
            Found::Call(call, id) => (call, id),
            Found::Path(path) => {
                operator?;
                return Err(Rejection::MethodNotAllowed(allowed(path)));
            }
            Found::Nothing => {
                operator?;
                return Err(Rejection::NotFound);
            }
        };
        match call.need {
            Need::Nothing(handler) => Ok(Entry::Open(handler, operator.ok())),
            Need::Permission(permission, handler) => {
                let operator = operator?;
                operator.must_hold(permission)?;
                Ok(Entry::Permitted(handler, operator, id))
            }
        }
    }
}

/// Who may go in, and to whom.
enum Entry {
    Open(fn(Visit) -> Answering, Option<Operator>),
    Permitted(fn(Asked) -> Answering, Operator, Option<String>),
}

fn refuse(rejection: &Rejection, id: &str, tally: &Tally) -> Response<Body> {
    if rejection.row().status >= 500 {
        let code = rejection.row().code;
        tally.failed(code);
        tracing::warn!(request_id = id, code, fault = ?rejection, "a call on the admin listener failed");
    }
    rejection.problem().into_response(id).map(Body::new)
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
