//! Writes down where a list goes on, in a form that is only good for the same question.

use crate::clock::Timestamp;
use crate::store::PageMark;

/// The text for who asks `question` and has seen everything up to `mark`.
pub fn write(mark: PageMark, question: &str) -> String {
    let micros = mark.created_at.as_micros().cast_unsigned();
    let place = format!("{micros:016x}{}", mark.id);
    let check = check(&place, question);
    format!("{place}{check}")
}

/// Where the list goes on; `None`: nobody who asked this question was given this text.
pub fn read(text: &str, question: &str) -> Option<PageMark> {
    let (place, shown) = text.split_at_checked(PLACE_LEN)?;
    let (micros, id) = place.split_at_checked(MICROS_LEN)?;
    let micros = u64::from_str_radix(micros, 16).ok()?.cast_signed();
    let created_at = Timestamp::from_micros(micros);
    let is_ours = shown == check(place, question);
    is_ours.then(|| id.parse().ok().map(|id| PageMark { created_at, id }))?
}

/// Not a secret: whoever makes one up sees nothing that they could not see otherwise.
fn check(place: &str, question: &str) -> String {
    let hash =
        blake3::derive_key("keyward 2026-11 cursor", format!("{place}{question}").as_bytes());
    let hash = blake3::Hash::from_bytes(hash).to_hex();
    hash.get(..CHECK_LEN).unwrap_or_default().to_owned()
}

const MICROS_LEN: usize = 16;
const PLACE_LEN: usize = MICROS_LEN + 12;
const CHECK_LEN: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn twisted(text: &str, at: usize) -> String {
        let other = if text.as_bytes()[at] == b'1' { "2" } else { "1" };
        [&text[..at], other, &text[at + 1..]].concat()
    }

    #[test]
    fn a_cursor_reads_back_and_is_good_for_nothing_else() {
        let id = "Ab0000000001".parse().unwrap();
        for micros in [0, -1, 1_800_000_000_000_000, i64::MAX] {
            let mark = PageMark { created_at: Timestamp::from_micros(micros), id };
            let text = write(mark, "owner=a");
            assert_eq!(read(&text, "owner=a"), Some(mark));
            assert_eq!(read(&text, "owner=b"), None);
            for at in 0..text.len() {
                assert_eq!(read(&twisted(&text, at), "owner=a"), None);
                assert_eq!(read(&text[..at], "owner=a"), None);
            }
        }
        assert_eq!(read("é".repeat(40).as_str(), ""), None);
    }
}
