//! For each rule a history that violates it, and the nearest one that does not.

use super::check::{Rule, Verdict, check};
use super::{Answer, Change, History, Kind, Outcome, Recorder, now};
use crate::support::history::Request;

/// A history in the making. Its one key is minted from 10 to 20, where nothing else is said; the
/// gateways are 0, 1 and 2.
struct Story(History);

impl Story {
    fn new() -> Self {
        let this = Self::empty();
        this.change(MINT, (10, 20), Answer::Complete)
    }

    fn empty() -> Self {
        let gateways = ["zero", "one", "two"].map(str::to_owned).to_vec();
        let keys = ["first", "second"].map(str::to_owned).to_vec();
        Self(History { gateways, keys, ..History::default() })
    }

    fn change(self, kind: Kind, span: (u64, u64), answer: Answer) -> Self {
        self.change_of(FIRST, kind, span, answer)
    }

    fn change_of(
        mut self,
        key: u32,
        kind: Kind,
        (begun, ended): (u64, u64),
        answer: Answer,
    ) -> Self {
        self.0.changes.push(Change { key, kind, begun, ended, answer });
        self
    }

    /// Revoked from 100 to 200.
    fn revoked(self, answer: Answer) -> Self {
        self.change(Kind::Revoke, (100, 200), answer)
    }

    fn let_in(self, gateway: u16, span: (u64, u64)) -> Self {
        self.request(FIRST, gateway, span, Outcome::LetIn)
    }

    fn refused(self, gateway: u16, span: (u64, u64)) -> Self {
        self.request(FIRST, gateway, span, Outcome::Refused)
    }

    fn request(
        mut self,
        key: u32,
        gateway: u16,
        (begun, ended): (u64, u64),
        outcome: Outcome,
    ) -> Self {
        self.0.requests.push(Request { key, gateway, begun, ended, outcome });
        self
    }

    fn verdict(&self) -> Verdict {
        check(&self.0, SLACK)
    }

    /// How often each rule is violated.
    fn counts(&self) -> [usize; 4] {
        self.verdict().counts()
    }
}

const FIRST: u32 = 0;
const SECOND: u32 = 1;
const MINT: Kind = Kind::Mint { expires: None };
const SLACK: u64 = 5;
const NOTHING: [usize; 4] = [0, 0, 0, 0];
const R0: [usize; 4] = [1, 0, 0, 0];
const R1: [usize; 4] = [0, 1, 0, 0];
const R2: [usize; 4] = [0, 0, 1, 0];
const R1_AND_R2: [usize; 4] = [0, 1, 1, 0];
const R3: [usize; 4] = [0, 0, 0, 1];

#[test]
fn nothing_is_found_in_an_ordinary_life() {
    let story = Story::new()
        .revoked(Answer::Complete)
        .refused(0, (1, 9))
        .let_in(0, (21, 22))
        .let_in(1, (99, 300))
        .refused(1, (150, 160))
        .let_in(2, (170, 180))
        .refused(2, (201, 202));
    assert_eq!(story.verdict(), Verdict { violations: Vec::new(), requests: 6 });
    assert_eq!(check(&History::default(), 0), Verdict::default());
}

#[test]
fn r0_is_let_in_without_a_mint_or_before_it() {
    assert_eq!(Story::empty().let_in(0, (1, 2)).counts(), R0);
    assert_eq!(Story::new().let_in(0, (1, 9)).counts(), R0);
    // While it is minted, it may hold already.
    assert_eq!(Story::new().let_in(0, (1, 10)).counts(), NOTHING);
    assert_eq!(Story::new().request(SECOND, 0, (30, 40), Outcome::LetIn).counts(), R0);
    assert_eq!(Story::empty().refused(0, (1, 2)).counts(), NOTHING);
}

#[test]
fn a_mint_of_unknown_outcome_allows_both_for_ever() {
    let story = || Story::empty().change(MINT, (10, 20), Answer::Unknown);
    assert_eq!(story().let_in(0, (15, 16)).refused(0, (900, 901)).counts(), NOTHING);
    assert_eq!(story().refused(0, (15, 16)).let_in(0, (900, 901)).counts(), NOTHING);
    assert_eq!(story().let_in(0, (1, 9)).counts(), R0);
}

#[test]
fn r1_is_let_in_after_a_complete_answer() {
    let story = || Story::new().revoked(Answer::Complete);
    let verdict = story().let_in(1, (207, 300)).verdict();
    assert_eq!((verdict.counts(), verdict.latest()), (R1, 7));
    assert!(verdict.violations[0].was_complete);
    assert_eq!(story().let_in(1, (200, 300)).counts(), NOTHING);
    assert_eq!(story().request(FIRST, 1, (201, 300), Outcome::Unavailable).counts(), NOTHING);
    assert_eq!(story().request(FIRST, 1, (201, 300), Outcome::Other).counts(), NOTHING);
    // Another key's end is its own.
    let both = story().change_of(SECOND, MINT, (10, 20), Answer::Complete);
    assert_eq!(both.request(SECOND, 1, (201, 300), Outcome::LetIn).counts(), NOTHING);
}

#[test]
fn r1_is_let_in_by_one_whom_an_incomplete_answer_does_not_name() {
    let story = || Story::new().revoked(Answer::Unconfirmed(vec![1]));
    let verdict = story().let_in(0, (201, 300)).verdict();
    assert_eq!(verdict.counts(), R1);
    assert!(!verdict.violations[0].was_complete);
    assert_eq!(story().let_in(1, (201, 300)).counts(), NOTHING);
    assert_eq!(story().let_in(0, (200, 300)).counts(), NOTHING);
}

#[test]
fn the_first_answer_that_counts_for_a_gateway_is_its_barrier() {
    let story = || {
        let story = Story::new().change(Kind::Revoke, (300, 400), Answer::Complete);
        story.revoked(Answer::Unconfirmed(vec![1, 2]))
    };
    assert_eq!(story().let_in(1, (399, 500)).counts(), NOTHING);
    let verdict = story().let_in(1, (401, 500)).let_in(0, (401, 500)).verdict();
    let late: Vec<u64> = verdict.violations.iter().map(|it| it.late).collect();
    assert_eq!((verdict.count(Rule::R1), late), (2, vec![1, 201]));
}

#[test]
fn a_revocation_of_unknown_outcome_bars_nobody_and_excuses_refusals() {
    let story = || Story::new().revoked(Answer::Unknown);
    assert_eq!(story().let_in(0, (900, 901)).counts(), NOTHING);
    assert_eq!(story().refused(0, (100, 101)).let_in(0, (900, 901)).counts(), NOTHING);
    assert_eq!(story().refused(0, (30, 99)).counts(), R3);
    // It is repeated, and that is complete.
    let repeated = story().change(Kind::Revoke, (300, 400), Answer::Complete);
    assert_eq!(repeated.refused(0, (101, 102)).let_in(1, (390, 395)).counts(), NOTHING);
}

#[test]
fn what_too_few_replicas_hold_may_be_lost() {
    let story = || Story::new().revoked(Answer::NotHeld);
    assert_eq!(story().refused(0, (100, 101)).let_in(0, (900, 901)).counts(), NOTHING);
    assert_eq!(story().refused(0, (30, 99)).counts(), R3);
    let story = || Story::empty().change(MINT, (10, 20), Answer::NotHeld);
    assert_eq!(story().let_in(0, (30, 40)).refused(0, (50, 60)).counts(), NOTHING);
    assert_eq!(story().let_in(0, (1, 9)).counts(), R0);
}

#[test]
fn r2_is_let_in_once_it_was_refused_from_the_answer_on() {
    let story = || Story::new().revoked(Answer::Complete).refused(0, (120, 130));
    assert_eq!(story().let_in(1, (201, 202)).counts(), R1_AND_R2);
    assert_eq!(story().let_in(1, (200, 202)).counts(), NOTHING);
    // A refusal that comes later, or of what was not there yet, is none of it.
    let story = || Story::new().revoked(Answer::Complete);
    assert_eq!(story().refused(0, (150, 250)).let_in(1, (201, 300)).counts(), R1);
    assert_eq!(story().refused(0, (150, 201)).let_in(1, (202, 300)).counts(), R1_AND_R2);
    assert_eq!(story().refused(0, (19, 99)).let_in(1, (202, 300)).counts(), R1);
}

#[test]
fn r2_is_for_one_that_is_named_only_its_own_refusal() {
    let story = || Story::new().revoked(Answer::Unconfirmed(vec![1]));
    assert_eq!(story().refused(1, (150, 160)).let_in(1, (201, 202)).counts(), R2);
    assert_eq!(story().refused(1, (150, 160)).let_in(1, (199, 202)).counts(), NOTHING);
    assert_eq!(story().refused(0, (150, 160)).let_in(1, (201, 202)).counts(), NOTHING);
    assert_eq!(story().refused(1, (150, 160)).let_in(0, (201, 202)).counts(), R1_AND_R2);
}

#[test]
fn r3_is_a_valid_key_that_is_refused() {
    let story = || Story::new().revoked(Answer::Complete);
    assert_eq!(story().refused(0, (21, 99)).counts(), R3);
    assert_eq!(story().refused(0, (20, 99)).counts(), NOTHING);
    assert_eq!(story().refused(0, (21, 100)).counts(), NOTHING);
    assert_eq!(story().request(FIRST, 0, (21, 99), Outcome::Unavailable).counts(), NOTHING);
    // A mint that not everybody has confirmed is a mint.
    let incomplete = Story::empty().change(MINT, (10, 20), Answer::Unconfirmed(vec![0]));
    assert_eq!(incomplete.refused(0, (21, 22)).counts(), R3);
}

#[test]
fn the_earlier_of_two_revocations_that_overlap_counts_on_both_sides() {
    let story = || {
        let story = Story::new().revoked(Answer::Complete);
        story.change(Kind::Revoke, (90, 300), Answer::Complete)
    };
    assert_eq!(story().refused(0, (30, 95)).counts(), NOTHING);
    assert_eq!(story().refused(0, (30, 89)).counts(), R3);
    assert_eq!(story().let_in(0, (201, 202)).counts(), R1);
}

#[test]
fn a_key_lapses_when_it_expires() {
    let expiring = Kind::Mint { expires: Some(100) };
    let story = || Story::empty().change(expiring.clone(), (10, 20), Answer::Complete);
    assert_eq!(story().refused(0, (21, 94)).counts(), R3);
    assert_eq!(story().refused(0, (21, 95)).let_in(1, (105, 200)).counts(), NOTHING);
    assert_eq!(story().let_in(1, (106, 200)).counts(), R1);
    assert_eq!(story().refused(0, (98, 99)).let_in(1, (106, 200)).counts(), R1_AND_R2);
}

#[test]
fn a_key_that_is_rotated_lapses_after_the_overlap() {
    let rotate = |overlap| Kind::Rotate { successor: Some(SECOND), overlap };
    let story = || Story::new().change(rotate(1000), (100, 200), Answer::Complete);
    assert_eq!(story().let_in(0, (1205, 1300)).refused(0, (300, 1095)).counts(), NOTHING);
    assert_eq!(story().let_in(0, (1206, 1300)).counts(), R1);
    assert_eq!(story().refused(0, (300, 1094)).counts(), R3);
    // Its successor lives from the same answer on.
    let second = |span, outcome| story().request(SECOND, 0, span, outcome).counts();
    assert_eq!(second((50, 99), Outcome::LetIn), R0);
    assert_eq!(second((50, 100), Outcome::LetIn), NOTHING);
    assert_eq!(second((201, 5000), Outcome::Refused), R3);
    assert_eq!(second((200, 5000), Outcome::Refused), NOTHING);
    // Without an overlap it is a revocation.
    let story = || Story::new().change(rotate(0), (100, 200), Answer::Unconfirmed(vec![1]));
    assert_eq!(story().let_in(0, (201, 300)).let_in(1, (201, 300)).counts(), R1);
    assert_eq!(story().refused(0, (21, 99)).counts(), R3);
    assert_eq!(story().refused(0, (21, 100)).counts(), NOTHING);
    // One whose outcome is unknown may have withdrawn it at any time, or never.
    let unknown = Kind::Rotate { successor: None, overlap: 0 };
    let story = Story::new().change(unknown, (100, 200), Answer::Unknown);
    assert_eq!(story.refused(0, (100, 101)).let_in(0, (900, 901)).counts(), NOTHING);
}

#[test]
fn a_history_is_the_same_after_it_was_written_and_read() {
    let expiring = Kind::Mint { expires: Some(u64::MAX) };
    let rotate = Kind::Rotate { successor: Some(SECOND), overlap: 7 };
    let story = Story::new()
        .revoked(Answer::Unconfirmed(vec![0, 2]))
        .change(expiring, (1, 2), Answer::Unknown)
        .change(MINT, (1, 2), Answer::NotHeld)
        .change(rotate, (3, 4), Answer::Complete)
        .let_in(2, (5, u64::MAX))
        .refused(1, (6, 7))
        .request(SECOND, 0, (8, 9), Outcome::Unavailable)
        .request(SECOND, 0, (8, 9), Outcome::Other);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    story.0.write(&path).unwrap();
    assert_eq!(History::read(&path).unwrap(), story.0);
}

#[test]
fn what_many_threads_note_is_one_history() {
    let recorder = Recorder::of(&["zero", "one"].map(str::to_owned));
    let key = recorder.key("first");
    std::thread::scope(|scope| {
        for gateway in 0..2 {
            let recorder = &recorder;
            scope.spawn(move || {
                let mut notes = recorder.notes();
                let begun = now();
                let mut note = |it| notes.request(key, gateway, begun, Outcome::of(it));
                [200, 401, 503, 500].into_iter().for_each(&mut note);
                notes.change(key, Kind::Revoke, begun, Answer::Complete);
            });
        }
    });
    recorder.rename(1, "another");
    assert_eq!(recorder.gateways(&["another", "one", "unknown"]), [1]);
    let history = recorder.history();
    assert_eq!((history.requests.len(), history.changes.len()), (8, 2));
    assert!(history.requests.iter().all(|it| it.begun <= it.ended && it.ended <= now()));
    let of = |outcome| history.count(outcome);
    let all = [Outcome::LetIn, Outcome::Refused, Outcome::Unavailable, Outcome::Other];
    assert_eq!(all.map(of), [2; 4]);
    let told = history.to_string();
    assert!(told.starts_with("let in 2, 401 2, 503 2, other 2, longest "), "{told}");
    assert!(
        told.ends_with("revocations: complete 2, unconfirmed 0, not held 0, unknown 0"),
        "{told}"
    );
}

#[test]
fn a_verdict_that_is_not_clean_says_so_and_leaves_its_history() {
    let story = Story::new().revoked(Answer::Complete).let_in(0, (201, 300));
    let verdict = story.verdict();
    let failed = std::panic::catch_unwind(|| verdict.assert_clean(&story.0)).unwrap_err();
    let words = failed.downcast::<String>().unwrap();
    assert!(words.starts_with("R0=0 R1=1 R2=0 R3=0 of 1 requests, 1 ns late\n"), "{words}");
    let path = words.rsplit_once("the history is in ").unwrap().1;
    assert_eq!(check(&History::read(path.as_ref()).unwrap(), SLACK), verdict);
    std::fs::remove_file(path).unwrap();
}
