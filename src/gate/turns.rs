//! Decides whose shown key argon2 judges next, where many wait for one id: addresses take turns.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The queue of one id. Nothing runs for it but for whoever holds its [`Turn`].
#[derive(Debug, Default)]
pub struct Turns(Mutex<Line>);

#[derive(Debug, Default)]
struct Line {
    taken: bool,
    /// Addresses in the order of their turns, each with those who wait there.
    waiting: VecDeque<(IpAddr, VecDeque<oneshot::Sender<()>>)>,
    count: usize,
}

/// As many wait for this id as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineFull;

/// The right to run argon2 for one id; passed on when dropped.
#[derive(Debug)]
pub struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits for a turn; after it the world may have changed, so look again.
    pub async fn take(&self, address: IpAddr) -> Result<Turn<'_>, LineFull> {
        let Some(called) = self.line().join(address)? else { return Ok(Turn(self)) };
        let waiting = Waiting { turns: self, called: Some(called) };
        waiting.called().await
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.line().call_next();
    }
}

impl Line {
    /// Nothing to wait for, or the call to wait for.
    fn join(&mut self, address: IpAddr) -> Result<Option<oneshot::Receiver<()>>, LineFull> {
        if !self.taken {
            self.taken = true;
            return Ok(None);
        }
        if self.count >= WAITING_MAX || self.waiting_at(address) >= WAITING_PER_ADDRESS_MAX {
            self.forget_gone();
        }
        if self.waiting_at(address) >= WAITING_PER_ADDRESS_MAX {
            return Err(LineFull);
        }
        if self.count >= WAITING_MAX {
            self.make_room_for(address)?;
        }
        let (call, called) = oneshot::channel();
        match self.waiting.iter_mut().find(|(it, _)| *it == address) {
            Some((_, here)) => here.push_back(call),
            None => self.waiting.push_back((address, VecDeque::from([call]))),
        }
        self.count += 1;
        Ok(Some(called))
    }

    fn waiting_at(&self, address: IpAddr) -> usize {
        self.waiting.iter().find(|(it, _)| *it == address).map_or(0, |(_, here)| here.len())
    }

    /// Whoever gave up takes no place.
    fn forget_gone(&mut self) {
        self.waiting.retain_mut(|(_, here)| {
            here.retain(|it| !it.is_closed());
            !here.is_empty()
        });
        self.count = self.waiting.iter().map(|(_, here)| here.len()).sum();
    }

    /// An address where nobody waits takes the place of the last who came to the one where most do:
    /// few addresses must not fill the line for all others.
    fn make_room_for(&mut self, address: IpAddr) -> Result<(), LineFull> {
        let is_new = self.waiting_at(address) == 0;
        let longest = self.waiting.iter_mut().max_by_key(|(_, here)| here.len());
        match longest {
            Some((_, here)) if is_new && here.len() > 1 => drop(here.pop_back()),
            Some(_) | None => return Err(LineFull),
        }
        self.count -= 1;
        Ok(())
    }

    /// Calls the next address; whoever has gone is passed over.
    fn call_next(&mut self) {
        while let Some((address, mut here)) = self.waiting.pop_front() {
            let call = here.pop_front();
            self.count -= usize::from(call.is_some());
            if !here.is_empty() {
                self.waiting.push_back((address, here));
            }
            if call.is_some_and(|it| it.send(()).is_ok()) {
                return;
            }
        }
        self.taken = false;
    }
}

/// Somebody who waits; if they go just as they are called, the turn goes on.
struct Waiting<'a> {
    turns: &'a Turns,
    called: Option<oneshot::Receiver<()>>,
}

impl<'a> Waiting<'a> {
    async fn called(mut self) -> Result<Turn<'a>, LineFull> {
        if let Some(called) = &mut self.called {
            // Dropped without a word, it made room for another address.
            called.await.map_err(|_gone| LineFull)?;
        }
        self.called = None;
        Ok(Turn(self.turns))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(called) = &mut self.called else { return };
        called.close();
        if called.try_recv().is_ok() {
            self.turns.line().call_next();
        }
    }
}

const WAITING_MAX: usize = 256;
const WAITING_PER_ADDRESS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    async fn serve(
        turns: Arc<Turns>,
        called: oneshot::Receiver<()>,
        told: tokio::sync::mpsc::Sender<u8>,
        last: u8,
    ) {
        called.await.unwrap();
        told.send(last).await.unwrap();
        drop(Turn(&turns));
    }

    #[tokio::test]
    async fn addresses_take_turns_however_many_wait_at_one() {
        let turns = Arc::new(Turns::default());
        let first = turns.take(address(1)).await.unwrap();
        let (told, mut order) = tokio::sync::mpsc::channel(16);
        let tasks = crate::tasks::Tasks::default();
        for last in [1, 1, 1, 2] {
            let called = turns.line().join(address(last)).unwrap().unwrap();
            tasks.spawn(serve(Arc::clone(&turns), called, told.clone(), last));
        }
        drop(first);
        let mut served = Vec::new();
        order.recv_many(&mut served, 1).await;
        while served.len() < 4 {
            order.recv_many(&mut served, 4).await;
        }
        assert_eq!(served, [1, 2, 1, 1]);
    }

    #[tokio::test]
    async fn a_turn_is_passed_on_by_whoever_gives_up() {
        let turns = Turns::default();
        let first = turns.take(address(1)).await.unwrap();
        {
            let mut gone = Box::pin(turns.take(address(2)));
            assert!(futures_util::poll!(&mut gone).is_pending());
            drop(first);
        }
        turns.take(address(3)).await.unwrap();
    }

    #[tokio::test]
    async fn a_line_is_bounded_in_all_and_for_each_address() {
        let turns = Turns::default();
        let _held = turns.take(address(0)).await.unwrap();
        let mut calls = Vec::new();
        for _ in 0..WAITING_PER_ADDRESS_MAX {
            calls.push(turns.line().join(address(1)).unwrap());
        }
        assert_eq!(turns.line().join(address(1)).err(), Some(LineFull));
        calls.push(turns.line().join(address(2)).unwrap());
    }

    #[tokio::test]
    async fn who_gave_up_takes_no_place_in_a_line() {
        let turns = Turns::default();
        let _held = turns.take(address(0)).await.unwrap();
        for _ in 0..2 * WAITING_PER_ADDRESS_MAX {
            drop(turns.line().join(address(1)).unwrap());
        }
        let last = |at: usize| address(u8::try_from(at).unwrap());
        let calls = || (2..18).map(last).flat_map(|it| [it; WAITING_PER_ADDRESS_MAX]);
        let whole = calls().map(|it| turns.line().join(it).unwrap()).collect::<Vec<_>>();
        assert_eq!((whole.len(), turns.line().count), (WAITING_MAX, WAITING_MAX));
        drop(whole);
        let again = calls().map(|it| turns.line().join(it).unwrap()).collect::<Vec<_>>();
        assert_eq!(again.len(), WAITING_MAX);
    }

    #[tokio::test]
    async fn few_addresses_cannot_keep_all_others_out_of_a_line() {
        let turns = Turns::default();
        let first = turns.take(address(0)).await.unwrap();
        let mut calls = Vec::new();
        for at in 0..WAITING_MAX {
            let at = u8::try_from(at / WAITING_PER_ADDRESS_MAX).unwrap();
            calls.push(turns.line().join(address(at)).unwrap().unwrap());
        }
        assert_eq!(turns.line().join(address(0)).err(), Some(LineFull));
        let mut late = turns.line().join(address(99)).unwrap().unwrap();
        assert_eq!(turns.line().count, WAITING_MAX);
        // Who had to go hears of it at once: one, and the last of its address.
        let gone = |it: &mut oneshot::Receiver<()>| {
            it.try_recv() == Err(oneshot::error::TryRecvError::Closed)
        };
        let places = calls.iter_mut().enumerate().filter_map(|(at, it)| gone(it).then_some(at));
        let places: Vec<usize> = places.collect();
        assert_eq!(places.len(), 1);
        assert_eq!(places[0] % WAITING_PER_ADDRESS_MAX, WAITING_PER_ADDRESS_MAX - 1);
        // One turn for each address, and it is the newcomer's.
        drop(first);
        for _ in 0..WAITING_MAX / WAITING_PER_ADDRESS_MAX {
            assert!(late.try_recv().is_err());
            drop(Turn(&turns));
        }
        assert_eq!(late.try_recv(), Ok(()));
    }

    #[tokio::test]
    async fn where_everybody_waits_alone_nobody_has_to_go() {
        let turns = Turns::default();
        let _held = turns.take(address(0)).await.unwrap();
        let calls = (0..=u8::MAX).map(|it| turns.line().join(address(it)).unwrap().unwrap());
        let calls = calls.collect::<Vec<_>>();
        assert_eq!(calls.len(), WAITING_MAX);
        let another = IpAddr::from([10, 0, 1, 0]);
        assert_eq!(turns.line().join(another).err(), Some(LineFull));
    }
}
