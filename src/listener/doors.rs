//! Decides who may connect: how many in all, how many from one address, and at which worker.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::tasks::descriptors::{Descriptor, Descriptors};

/// The doors of the whole process.
#[derive(Clone, Debug)]
pub struct Doors(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    places: Arc<Semaphore>,
    per_address: Option<NonZeroU32>,
    addresses: DashMap<IpAddr, u32, ahash::RandomState>,
    loads: Box<[AtomicUsize]>,
    descriptors: Descriptors,
}

/// A place for one connection.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub struct Seat {
    _place: Place,
    doors: Doors,
    /// Known once it is counted.
    address: Option<IpAddr>,
    worker: usize,
    _descriptor: Descriptor,
}

impl Doors {
    /// For `max` connections, `per_address` from each address, over `workers`; each is one of
    /// `descriptors`.
    pub fn new(
        max: usize,
        per_address: Option<NonZeroU32>,
        workers: usize,
        descriptors: Descriptors,
    ) -> Self {
        Self(Arc::new(Shared {
            places: Arc::new(Semaphore::new(max)),
            per_address,
            addresses: DashMap::with_hasher(ahash::RandomState::new()),
            loads: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            descriptors,
        }))
    }

    /// Waits for a free place.
    pub async fn place(&self) -> Option<Place> {
        Arc::clone(&self.0.places).acquire_owned().await.ok().map(|it| Place { _permit: it })
    }

    /// Seats a connection at `worker`.
    pub fn seat(&self, place: Place, worker: usize) -> Seat {
        if let Some(load) = self.0.loads.get(worker) {
            load.fetch_add(1, Ordering::Relaxed);
        }
        let descriptor = self.0.descriptors.take_over();
        Seat { _place: place, doors: self.clone(), address: None, worker, _descriptor: descriptor }
    }

    /// The worker that should have the next connection that `worker` accepts: another one only
    /// where `worker` clearly holds more than the emptiest.
    pub fn worker_for(&self, worker: usize) -> usize {
        let load = |it: usize| self.0.loads.get(it).map_or(0, |it| it.load(Ordering::Relaxed));
        let emptiest = (0..self.0.loads.len()).min_by_key(|it| load(*it)).unwrap_or(worker);
        let clearly_more = load(worker) > load(emptiest) + load(emptiest) / 4 + SLACK;
        if clearly_more { emptiest } else { worker }
    }
}

impl Seat {
    /// Counts the connection as one of `address`; whether it may have one more.
    pub fn is_open_to(&mut self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if let Some(max) = self.doors.0.per_address {
            let mut count = self.doors.0.addresses.entry(address).or_insert(0);
            if *count >= max.get() {
                return false;
            }
            *count += 1;
            self.address = Some(address);
        }
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let shared = &self.doors.0;
        if let Some(load) = shared.loads.get(self.worker) {
            load.fetch_sub(1, Ordering::Relaxed);
        }
        let Some(address) = self.address else { return };
        if let Entry::Occupied(mut count) = shared.addresses.entry(address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// A few connections more are no reason to move a socket.
const SLACK: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_has_so_many_connections_and_no_more() {
        let doors = Doors::new(10, NonZeroU32::new(2), 1, Descriptors::new(10));
        let seat = async || {
            let mut seat = doors.seat(doors.place().await.unwrap(), 0);
            seat.is_open_to(IpAddr::from([127, 0, 0, 1])).then_some(seat)
        };
        let (first, second) = (seat().await, seat().await);
        assert!(first.is_some() && second.is_some() && seat().await.is_none());
        drop(first);
        assert!(seat().await.is_some());
    }

    #[tokio::test]
    async fn a_worker_hands_over_only_what_is_clearly_too_much() {
        let doors = Doors::new(100, None, 2, Descriptors::new(100));
        let mut seats = Vec::new();
        for _ in 0..=SLACK {
            assert_eq!(doors.worker_for(0), 0);
            let place = doors.place().await.unwrap();
            seats.push(doors.seat(place, 0));
        }
        assert_eq!(doors.worker_for(0), 1);
        assert_eq!(doors.worker_for(1), 1);
    }
}
