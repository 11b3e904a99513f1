//! Asks an endpoint one thing over a connection of its own, as health checks do.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use http::Request;

use crate::config::UrlScheme;
use crate::tasks::descriptors::Descriptor;
use crate::upstream::body::RequestBody;
use crate::upstream::connect::{self, ConnectFault, Way};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::head;
use crate::upstream::kept::KeptBody;
use crate::upstream::wire::Heard;

/// Opens a connection, sends a request that has no body, and gives the status of the answer, if
/// there is one. The connection counts in no limit, and is closed when this ends or is dropped.
pub async fn ask(
    way: Way<'_>,
    request: Request<RequestBody>,
) -> Result<hyper::Result<u16>, ConnectFault> {
    let _descriptor = descriptor(way.endpoint)?;
    match way.endpoint.address().scheme {
        UrlScheme::Http | UrlScheme::Https => {
            let mut opened = connect::http1(way, Heard::default(), None).await?;
            let answering = opened.sender.send_request(request);
            Ok(beside(answering, opened.driver).await.map(|it| it.status().as_u16()))
        }
        UrlScheme::H2 | UrlScheme::H2s => {
            let mut opened = connect::http2(way, None).await?;
            let request = head::to_http2(request, way.endpoint.address());
            let request = request.map(|it| KeptBody::new(it, opened.reader.clone()).0);
            let answering = opened.sender.send_request(request);
            Ok(beside(answering, opened.driver).await.map(|it| it.status().as_u16()))
        }
    }
}

/// For a connection that counts in no other limit.
pub fn descriptor(endpoint: &Endpoint) -> Result<Descriptor, ConnectFault> {
    endpoint.cap().descriptor().ok_or(ConnectFault::NoDescriptor)
}

/// As long as an answer is awaited, somebody has to keep the connection going.
async fn beside<T>(answering: impl Future<Output = T>, driver: impl Future) -> T {
    let (mut answering, mut driver) = (pin!(answering), pin!(driver));
    let mut ended = false;
    poll_fn(|context| {
        if let Poll::Ready(answer) = answering.as_mut().poll(context) {
            return Poll::Ready(answer);
        }
        if !ended && driver.as_mut().poll(context).is_ready() {
            ended = true;
            // What the end was is told to who waits for the answer.
            return answering.as_mut().poll(context);
        }
        Poll::Pending
    })
    .await
}
