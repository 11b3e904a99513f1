//! Claims about how keys are written.

use std::collections::HashSet;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

fn mint(seed: u64) -> ApiKey {
    ApiKey::mint(&"kw".parse().unwrap(), &mut rng(seed))
}

fn parses(text: &[u8]) -> bool {
    ApiKey::parse(text).is_ok()
}

/// The pattern that is published for scanners: `kw_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}`.
fn matches_published_pattern(text: &str) -> bool {
    let parts: Vec<&str> = text.split('_').collect();
    let lengths: Vec<usize> = parts.iter().map(|it| it.len()).collect();
    parts.first() == Some(&"kw")
        && lengths == [2, 12, 49]
        && parts[1..].iter().all(|it| it.bytes().all(|it| it.is_ascii_alphanumeric()))
}

#[test]
fn the_checksum_is_the_crc_32_of_zip_in_six_base62_digits() {
    // CRC-32("123456789") is 0xCBF43926 = 3421780262.
    assert_eq!(&checksum(b"123456789"), b"3jZRME");
    assert_eq!(&checksum(b""), b"000000");
}

#[test]
fn a_million_minted_keys_are_distinct_and_match_the_published_pattern() {
    let mut rng = rng(7);
    let prefix = "kw".parse().unwrap();
    let mut ids = HashSet::new();
    let mut digests = HashSet::new();
    for _ in 0..1_000_000 {
        let key = ApiKey::mint(&prefix, &mut rng);
        assert!(matches_published_pattern(key.expose()), "{}", key.expose());
        assert!(ids.insert(key.id()), "the id {} was drawn twice", key.id());
        assert!(digests.insert(
            u64::from(crc32fast::hash(&key.expose().as_bytes()[16..]))
                | (u64::from(crc32fast::hash(&key.expose().as_bytes()[30..])) << 32)
        ));
    }
}

#[test]
fn every_character_is_drawn_about_equally_often() {
    let mut rng = rng(11);
    let mut counts = [0_u32; 256];
    for _ in 0..620_000 {
        counts[usize::from(draw_base62(&mut rng))] += 1;
    }
    for (character, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        assert!((9_400..10_600).contains(count), "{character} was drawn {count} times");
    }
    assert_eq!(counts.iter().filter(|it| **it > 0).count(), 62);
}

#[test]
fn no_changed_character_ever_parses() {
    let key = mint(1);
    let text = key.expose().as_bytes();
    for at in 0..text.len() {
        for other in 0..=255_u8 {
            let mut changed = text.to_vec();
            changed[at] = other;
            assert_eq!(parses(&changed), other == text[at], "byte {at} as {other}");
        }
    }
}

#[test]
fn a_key_is_65_characters_and_shows_its_last_four() {
    let key = mint(5);
    assert_eq!(key.expose().len(), 65);
    assert!(key.expose().ends_with(key.last_digits()));
    assert_eq!(key.last_digits().len(), 4);
}

#[test]
fn what_is_far_too_long_or_short_does_not_parse() {
    for length in [0, 1, 5, 6, 63, 64, 66, 76, 10_000_000] {
        assert!(!parses(&vec![b'k'; length]), "{length}");
    }
}

#[test]
fn a_prefix_is_two_to_twelve_lower_case_letters_and_digits() {
    for good in ["kw", "kwop", "a1", "abcdefghijkl"] {
        assert!(good.parse::<Prefix>().is_ok(), "{good}");
    }
    for bad in ["", "k", "1a", "Kw", "k_w", "kW", "abcdefghijklm", "kä"] {
        assert_eq!(bad.parse::<Prefix>(), Err(MalformedPrefix), "{bad}");
    }
}

#[test]
fn nothing_printed_holds_the_secret() {
    let key = mint(3);
    let secret = &key.expose()[16..59];
    let presented = PresentedKey::parse(key.expose().as_bytes()).unwrap();
    for printed in [format!("{key:?}"), format!("{presented:?}"), format!("{:?}", key.digest())] {
        assert!(!printed.contains(secret) && printed.contains("<redacted>"), "{printed}");
    }
}

proptest! {
    #[test]
    fn parsing_what_was_printed_gives_the_same_key(seed: u64, prefix in "[a-z][a-z0-9]{1,11}") {
        let key = ApiKey::mint(&prefix.parse().unwrap(), &mut rng(seed));
        let parsed = ApiKey::parse(key.expose().as_bytes()).unwrap();
        prop_assert_eq!(parsed.expose(), key.expose());
        prop_assert_eq!(parsed.id(), key.id());
    }

    #[test]
    fn no_dropped_character_ever_parses(seed: u64) {
        let key = mint(seed);
        for at in 0..key.expose().len() {
            let mut dropped = key.expose().to_owned();
            dropped.remove(at);
            prop_assert!(!parses(dropped.as_bytes()), "without character {}", at);
        }
    }

    #[test]
    fn no_two_swapped_characters_ever_parse(seed: u64) {
        let key = mint(seed);
        let text = key.expose().as_bytes();
        for first in 0..text.len() {
            for second in first + 1..text.len() {
                let mut swapped = text.to_vec();
                swapped.swap(first, second);
                prop_assert_eq!(parses(&swapped), text[first] == text[second], "{} and {}", first, second);
            }
        }
    }

    #[test]
    fn noise_never_parses(noise in proptest::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(!parses(&noise));
    }
}
