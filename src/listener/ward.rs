//! Looks after every connection of one worker: its deadlines, and the word to finish.

use std::cell::RefCell;
use std::fmt::Debug;
use std::rc::Rc;

use slab::Slab;

use crate::clock::Moment;

/// A connection as the ward knows it.
pub trait Patient: Debug {
    /// Looks at its deadlines. Waking a connection only schedules it.
    fn tick(&self, now: Moment);

    /// No request is to begin any more, as far as the client can be told so.
    fn drain(&self);
}

/// Every connection of one worker.
#[derive(Debug, Default)]
pub struct Ward(RefCell<Slab<Rc<dyn Patient>>>);

/// A connection's bed in the ward; given up when dropped.
#[derive(Debug)]
pub struct Bed {
    ward: Rc<Ward>,
    place: usize,
}

impl Ward {
    /// Looks after one more connection.
    pub fn admit(self: &Rc<Self>, patient: Rc<dyn Patient>) -> Bed {
        let place = self.0.borrow_mut().insert(patient);
        Bed { ward: Rc::clone(self), place }
    }

    /// How many connections there are.
    pub fn count(&self) -> usize {
        self.0.borrow().len()
    }

    /// Looks at every connection's deadlines.
    pub fn tick(&self, now: Moment) {
        for (_, patient) in self.0.borrow().iter() {
            patient.tick(now);
        }
    }

    /// Says to every connection that it is to finish.
    pub fn drain(&self) {
        for (_, patient) in self.0.borrow().iter() {
            patient.drain();
        }
    }
}

impl Bed {
    /// The same connection, looked after by other rules from now on.
    pub fn transfer(&self, patient: Rc<dyn Patient>) {
        if let Some(bed) = self.ward.0.borrow_mut().get_mut(self.place) {
            *bed = patient;
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        drop(self.ward.0.borrow_mut().try_remove(self.place));
    }
}
