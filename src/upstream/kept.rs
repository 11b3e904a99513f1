//! Keeps the beginning of a request's body that goes over HTTP/2, so that it can be sent once more
//! if the upstream says that it did not look at it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::timeout;

use crate::upstream::body::RequestBody;
use crate::upstream::upload::{Upload, UploadFault};

/// The body, as hyper gets it.
#[derive(Debug)]
pub struct KeptBody {
    /// None once it was taken out.
    body: Option<RequestBody>,
    record: Rc<Record>,
    /// None once it was read from.
    reader: Option<Reader>,
}

/// Whose body hyper has just begun to read on a connection. What it starts next reads on: its
/// `poll_pipe` looks at a new body at once, and has a task go on with it only if that is not all.
#[derive(Clone, Debug, Default)]
pub struct Reader(Rc<RefCell<Option<Upload>>>);

impl Reader {
    /// Whose it was, once.
    pub fn take(&self) -> Option<Upload> {
        self.0.borrow_mut().take()
    }
}

/// What was read of a body that hyper owns, and what is left of it once hyper has dropped it.
#[derive(Debug, Default)]
pub struct Record(RefCell<State>);

#[derive(Debug, Default)]
struct State {
    read: VecDeque<Bytes>,
    bytes: usize,
    rest: Rest,
    waiting: Option<Waker>,
}

#[derive(Debug, Default)]
enum Rest {
    #[default]
    InUse,
    Left(RequestBody),
    /// More was read than is kept.
    Gone,
}

impl KeptBody {
    /// The body, and what will be known of it.
    pub fn new(body: RequestBody, reader: Reader) -> (Self, Rc<Record>) {
        let record = Rc::new(Record::default());
        let this = Self { body: Some(body), record: Rc::clone(&record), reader: Some(reader) };
        (this, record)
    }

    /// The body itself, of which nothing was read.
    pub fn unread(mut self) -> Option<RequestBody> {
        self.body.take()
    }
}

impl Record {
    /// The body from its beginning, once hyper is done with it; `None`: too much of it was read.
    pub async fn again(&self) -> Option<RequestBody> {
        let left = poll_fn(|context| {
            let mut state = self.0.borrow_mut();
            match std::mem::take(&mut state.rest) {
                Rest::InUse => {
                    state.waiting = Some(context.waker().clone());
                    Poll::Pending
                }
                Rest::Gone => Poll::Ready(None),
                Rest::Left(mut body) => {
                    body.put_before(std::mem::take(&mut state.read));
                    Poll::Ready(Some(body))
                }
            }
        });
        // The task that reads it is woken by what was told to who asks here.
        timeout(RETURN_TIME_MAX, left).await.ok().flatten()
    }

    /// It will not be needed again.
    pub fn forget(&self) {
        let mut state = self.0.borrow_mut();
        state.read = VecDeque::new();
        state.rest = Rest::Gone;
    }

    fn note(&self, polled: &Poll<Option<Result<Frame<Bytes>, UploadFault>>>) {
        let mut state = self.0.borrow_mut();
        let (Poll::Ready(Some(read)), Rest::InUse) = (polled, &state.rest) else { return };
        let data = read.as_ref().ok().and_then(Frame::data_ref);
        match data {
            Some(data) if state.bytes + data.len() <= KEPT_BYTES_MAX => {
                state.bytes += data.len();
                state.read.push_back(data.clone());
            }
            Some(_) | None => {
                state.read = VecDeque::new();
                state.rest = Rest::Gone;
            }
        }
    }
}

impl Drop for KeptBody {
    fn drop(&mut self) {
        let mut state = self.record.0.borrow_mut();
        if let (Rest::InUse, Some(body)) = (&state.rest, self.body.take()) {
            state.rest = Rest::Left(body);
        }
        if let Some(waker) = state.waiting.take() {
            waker.wake();
        }
    }
}

impl Body for KeptBody {
    type Data = Bytes;
    type Error = UploadFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadFault>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *body).poll_frame(context);
        if let Some(Reader(reader)) = this.reader.take() {
            *reader.borrow_mut() = Some(body.upload());
        }
        this.record.note(&polled);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// As much as an upstream over HTTP/1.1 may have in its buffer unread.
const KEPT_BYTES_MAX: usize = 64 * 1024;

const RETURN_TIME_MAX: Duration = Duration::from_secs(1);
