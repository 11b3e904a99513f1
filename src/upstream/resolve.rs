//! Looks up the names of endpoints, again and again.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::upstream::endpoint::Endpoint;

/// Keeps the addresses of an endpoint that is a name: looks it up with `look_up` now, and every
/// `every` from then on. What was found stays if it cannot be looked up any more. Never ends.
pub async fn follow(
    upstream: &str,
    endpoint: &Endpoint,
    every: Duration,
    look_up: impl AsyncFn(&str, u16) -> io::Result<Vec<SocketAddr>>,
) {
    let mut failing = false;
    loop {
        match look_up_once(endpoint, &look_up).await {
            Ok(found) => {
                if endpoint.set_addresses(&found) {
                    tracing::info!(upstream, %endpoint, addresses = ?found, "a name was looked up");
                }
                failing = false;
            }
            Err(fault) if !failing => {
                tracing::warn!(
                    upstream, %endpoint, %fault,
                    "a name cannot be looked up; what was found before stays"
                );
                failing = true;
            }
            Err(_still) => {}
        }
        sleep(pause(every, endpoint)).await;
    }
}

/// Without any address there is nothing to go on with.
fn pause(every: Duration, endpoint: &Endpoint) -> Duration {
    if endpoint.addresses().is_empty() { every.min(AGAIN_AFTER) } else { every }
}

/// The addresses of an endpoint; asks for them if nobody has yet. The others wait for whoever does:
/// each look-up keeps a thread of its own busy.
pub async fn addresses(endpoint: &Endpoint) -> io::Result<Arc<[SocketAddr]>> {
    let known = endpoint.addresses();
    if !known.is_empty() {
        return Ok(known);
    }
    let _alone = endpoint.looking_up().lock().await;
    let known = endpoint.addresses();
    if !known.is_empty() {
        return Ok(known);
    }
    let found = look_up_once(endpoint, &system).await?;
    endpoint.set_addresses(&found);
    Ok(found)
}

/// Asks the system.
pub async fn system(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

async fn look_up_once(
    endpoint: &Endpoint,
    look_up: &impl AsyncFn(&str, u16) -> io::Result<Vec<SocketAddr>>,
) -> io::Result<Arc<[SocketAddr]>> {
    let address = endpoint.address();
    let looking = look_up(&address.host, address.port);
    let found = timeout(LOOK_UP_MAX, looking)
        .await
        .map_err(|_elapsed| io::Error::new(io::ErrorKind::TimedOut, "nobody answered in time"))??;
    let found: Arc<[SocketAddr]> = found.into_iter().take(ADDRESSES_MAX).collect();
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(found)
}

const LOOK_UP_MAX: Duration = Duration::from_secs(10);
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A name may have any number; nobody connects to more of them in turn.
const ADDRESSES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::num::NonZeroU32;

    use super::*;
    use crate::config::{self, UrlScheme};
    use crate::tasks::descriptors::Descriptors;

    fn endpoint() -> Endpoint {
        let (scheme, weight) = (UrlScheme::Http, NonZeroU32::MIN);
        let host = "api.internal".to_owned();
        Endpoint::new(config::Endpoint { scheme, host, port: 80, weight }, 1, Descriptors::new(1))
    }

    fn addresses(hosts: &[u8]) -> Arc<[SocketAddr]> {
        hosts.iter().map(|it| SocketAddr::from(([10, 0, 0, *it], 80))).collect()
    }

    /// What is known after each look-up that brings this, or brings nothing.
    #[track_caller]
    fn assert_known(looked_up: &[(Option<&[u8]>, &[u8])]) {
        let endpoint = endpoint();
        let (left, known) = (RefCell::new(looked_up.iter()), RefCell::new(Vec::new()));
        let done = tokio::sync::Notify::new();
        let look_up = async |host: &str, port: u16| {
            assert_eq!((host, port), ("api.internal", 80));
            known.borrow_mut().push(endpoint.addresses());
            let Some((found, _)) = left.borrow_mut().next() else {
                done.notify_one();
                return std::future::pending().await;
            };
            found.map(|it| addresses(it).to_vec()).ok_or_else(|| io::ErrorKind::TimedOut.into())
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                () = follow("api", &endpoint, Duration::from_millis(1), look_up) => {}
                () = done.notified() => {}
            }
        });
        let expected = looked_up.iter().map(|(_, known)| addresses(known));
        assert_eq!(known.into_inner()[1..], expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_name_that_comes_to_mean_another_address_is_followed() {
        assert_known(&[(Some(&[1]), &[1]), (Some(&[1, 2]), &[1, 2]), (Some(&[3]), &[3])]);
    }

    #[test]
    fn what_was_found_stays_while_nobody_answers_or_nothing_is_found() {
        assert_known(&[
            (None, &[]),
            (Some(&[1]), &[1]),
            (None, &[1]),
            (Some(&[]), &[1]),
            (Some(&[2]), &[2]),
        ]);
    }

    #[test]
    fn a_name_of_which_nothing_is_known_is_asked_for_every_second() {
        let (endpoint, minute) = (endpoint(), Duration::from_mins(1));
        assert_eq!(pause(minute, &endpoint), Duration::from_secs(1));
        endpoint.set_addresses(&addresses(&[1]));
        assert_eq!(pause(minute, &endpoint), minute);
    }
}
