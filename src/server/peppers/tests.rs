//! Claims about pepper files and the store that they belong to.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;
use crate::config::{Location, Network, WhenUnreachable};
use crate::key::seal::Identity;
use crate::store::Position;

/// A directory with pepper files in it, and the settings that name them.
struct Place {
    directory: tempfile::TempDir,
    settings: config::Store,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = config::Store {
            location: Location::Sqlite(directory.path().join("keyward.db")),
            network: Network::default(),
            response_timeout: Duration::from_millis(500),
            pepper_file: directory.path().join("keyward.pepper"),
            retired_pepper_files: Vec::new(),
            when_unreachable: WhenUnreachable::ServeKnown,
            serve_known_for: Duration::from_mins(10),
            lease: Duration::from_secs(2),
            max_keys_in_memory: 1.try_into().unwrap(),
        };
        Self { directory, settings }
    }

    fn with(self, name: &str, bytes: &[u8]) -> Self {
        fs::write(self.directory.path().join(name), bytes).unwrap();
        self
    }

    fn retiring(mut self, name: &str) -> Self {
        self.settings.retired_pepper_files.push(self.directory.path().join(name));
        self
    }

    fn load(&self, check: Option<[u8; 16]>, records: u64) -> Result<Peppers, PepperFault> {
        load(&self.settings, &meta(check, records))
    }

    /// The message, with the directory taken out.
    #[track_caller]
    fn refused(&self, check: Option<[u8; 16]>, records: u64) -> String {
        let directory = format!("{}/", self.directory.path().display());
        self.load(check, records).unwrap_err().to_string().replace(&directory, "")
    }
}

fn meta(check: Option<[u8; 16]>, records: u64) -> Meta {
    let identity = Identity("store".to_owned());
    let end = Position { epoch: String::new(), number: 0, nonce: 0 };
    Meta { identity, check, records, end }
}

fn check_of(byte: u8) -> [u8; 16] {
    Pepper::new([byte; 32]).check()
}

#[test]
fn the_first_pepper_is_made_for_an_empty_store_for_its_owner_alone_and_stays() {
    let place = Place::new();
    let first = place.load(None, 0).unwrap().current().check();
    let file = fs::metadata(&place.settings.pepper_file).unwrap();
    assert_eq!((file.len(), file.permissions().mode() & 0o777), (32, 0o600));
    assert_eq!(place.load(None, 0).unwrap().current().check(), first);
    assert_eq!(place.load(Some(first), 3).unwrap().current().check(), first);
}

#[test]
fn of_many_that_start_at_once_all_have_the_same_pepper() {
    let place = Place::new();
    let checks: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| place.load(None, 0).unwrap().current().check()))
            .collect();
        all.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert!(checks.windows(2).all(|it| it[0] == it[1]), "{checks:?}");
}

#[test]
fn a_pepper_is_never_made_for_a_store_that_was_sealed_with_another() {
    let place = Place::new();
    assert_eq!(
        place.refused(Some(check_of(1)), 7),
        "the pepper file keyward.pepper is missing, and the store was sealed with it (7 records): \
         put the file back; if it is lost for good, vouch for the store with `keyward store accept`"
    );
    assert!(place.load(None, 7).is_err());
    assert!(!place.settings.pepper_file.exists());
}

#[test]
fn another_stores_pepper_is_refused() {
    let place = Place::new().with("keyward.pepper", &[2; 32]);
    assert_eq!(
        place.refused(Some(check_of(1)), 7),
        "pepper_file does not belong to this store: keyward.pepper is another pepper than the one \
         that the store was sealed with, and that one is not among retired_pepper_files either: \
         put the right file back; after a change of pepper keep the old file in \
         retired_pepper_files; if it is lost for good, vouch for the store with \
         `keyward store accept`"
    );
}

#[test]
fn a_store_may_know_a_retired_pepper() {
    let place = Place::new().with("keyward.pepper", &[2; 32]).with("old.pepper", &[1; 32]);
    let place = place.retiring("old.pepper");
    let peppers = place.load(Some(check_of(1)), 7).unwrap();
    assert_eq!(peppers.current().check(), check_of(2));
}

#[test]
fn a_retired_pepper_that_is_missing_is_named() {
    let place = Place::new().with("keyward.pepper", &[2; 32]).retiring("old.pepper");
    assert_eq!(
        place.refused(Some(check_of(2)), 7),
        "the pepper file old.pepper is missing: put it there, 32 random bytes"
    );
}

#[test]
fn a_file_of_another_size_is_no_pepper_and_is_left_as_it_is() {
    for (bytes, count) in [(&b""[..], "0"), (&[b'a'; 31], "31"), (&[b'a'; 64], "more than 32")] {
        let place = Place::new().with("keyward.pepper", bytes);
        assert_eq!(
            place.refused(None, 0),
            format!(
                "the pepper file keyward.pepper has {count} bytes: a pepper is exactly 32 random \
                 bytes as they are, not their hexadecimal or base64 form, without a line end"
            )
        );
        assert_eq!(fs::read(&place.settings.pepper_file).unwrap(), bytes);
    }
}

#[test]
fn a_directory_in_the_pepper_files_place_is_named() {
    let place = Place::new();
    fs::create_dir(&place.settings.pepper_file).unwrap();
    let words = place.refused(None, 0);
    assert!(words.starts_with("the pepper file keyward.pepper cannot be read ("), "{words}");
}

#[test]
fn looking_makes_no_pepper_and_vouching_does() {
    let place = Place::new();
    assert!(look(&place.settings).is_err());
    assert!(!place.settings.pepper_file.exists());
    let made = vouched(&place.settings).unwrap();
    assert_eq!(look(&place.settings).unwrap().current().check(), made.current().check());
}
