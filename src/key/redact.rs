//! Strikes secrets out of what clients wrote, wherever it is to be written down.

use std::borrow::Cow;

/// The text without the secret of any key in it; the id stays. What is not quite a key, because a
/// character was lost or two were swapped, still says too much and is struck out too.
pub fn redacted(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut done = 0;
    for (at, _) in text.match_indices('_') {
        let Some(end) = end_of_secret(text, at) else { continue };
        shown.push_str(text.get(done..=at).unwrap_or_default());
        shown.push_str("<redacted>");
        done = end;
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    shown.push_str(text.get(done..).unwrap_or_default());
    Cow::Owned(shown)
}

/// Where the secret ends that begins after the `_` at this place, if one does.
fn end_of_secret(text: &str, at: usize) -> Option<usize> {
    let id = text.get(at.checked_sub(1 + ID_LEN)?..at)?.strip_prefix('_')?;
    let rest = text.get(at + 1..)?;
    let length = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let is_secret = length >= SECRET_LEN_MIN && id.bytes().all(|it| it.is_ascii_alphanumeric());
    is_secret.then_some(at + 1 + length)
}

const ID_LEN: usize = 12;

/// Half of a secret is one still.
const SECRET_LEN_MIN: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "7Hq2Kd9XbM3r";
    const SECRET: &str = "0123456789abcdefghijABCDEFGHIJ0123456789abcaQ2Zt9";

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(redacted(text), expected);
    }

    #[test]
    fn a_key_is_struck_out_and_its_id_stays() {
        check(&format!("kw_{ID}_{SECRET}"), &format!("kw_{ID}_<redacted>"));
        check(
            &format!("/a/kwop_{ID}_{SECRET}/b,kw_{ID}_{SECRET}"),
            &format!("/a/kwop_{ID}_<redacted>/b,kw_{ID}_<redacted>"),
        );
        check(&format!("é_{ID}_{}é", &SECRET[..24]), &format!("é_{ID}_<redacted>é"));
    }

    #[test]
    fn everything_else_stays() {
        for text in
            ["", "_", "/v3/contacts", "/a_b_c", "/é_é", "_7Hq2Kd9XbM3_", "/kw_7Hq2Kd9XbM3r_"]
        {
            assert!(matches!(redacted(text), Cow::Borrowed(it) if it == text));
        }
        check(&format!("/sha_{SECRET}"), &format!("/sha_{SECRET}"));
        check(&format!("kw_{ID}_short"), &format!("kw_{ID}_short"));
    }
}
