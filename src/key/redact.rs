//! Strikes secrets out of what clients wrote, wherever it is to be written down.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The text without the secret of any key in it; the id stays. What is not quite a key, because a
/// character was lost or two were swapped, still says too much and is struck out too. So is what
/// becomes one by percent-decoding, once or several times: then the decoded text is given.
pub fn redacted(text: &str) -> Cow<'_, str> {
    if text.len() < BEHIND_ID_MIN {
        return Cow::Borrowed(text);
    }
    if text.contains('%') {
        let mut decoded = text.to_owned();
        for _ in 0..DECODED_MAX {
            decoded = percent_decode_str(&decoded).decode_utf8_lossy().into_owned();
            if let Some(shown) = strike(&decoded) {
                return Cow::Owned(shown);
            }
        }
    }
    strike(text).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// The text without secrets, if there were any.
fn strike(text: &str) -> Option<String> {
    let mut shown = String::new();
    let mut done = 0;
    for (start, run) in runs(text) {
        if is_secret(run, text.get(..start).unwrap_or_default()) {
            shown.push_str(text.get(done..start).unwrap_or_default());
            shown.push_str("<redacted>");
            done = start + run.len();
        }
    }
    if done == 0 {
        return None;
    }
    shown.push_str(text.get(done..).unwrap_or_default());
    Some(shown)
}

/// Every longest run of letters and digits, and where it starts.
fn runs(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let runs = text.split(|it: char| !it.is_ascii_alphanumeric()).filter(|it| !it.is_empty());
    runs.map(|it| (it.as_ptr().addr() - text.as_ptr().addr(), it))
}

/// Half of a secret is one still where it stands behind an id, and most of one anywhere. Numbers in
/// hexadecimal and names in one case are none.
fn is_secret(run: &str, before: &str) -> bool {
    if run.len() < BEHIND_ID_MIN {
        return false;
    }
    let id = before.strip_suffix('_').map(|it| it.rsplit('_').next().unwrap_or_default());
    let has_id = id.is_some_and(|it| {
        it.len() == ID_LEN
            && it.len() + 1 < before.len()
            && it.bytes().all(|it| it.is_ascii_alphanumeric())
    });
    let holds = |kind: fn(&u8) -> bool| run.bytes().any(|it| kind(&it));
    let is_mixed = holds(u8::is_ascii_uppercase) && holds(u8::is_ascii_lowercase);
    has_id || run.len() >= ANYWHERE_MIN && is_mixed
}

const ID_LEN: usize = 12;

/// Of the 49 characters behind the id.
const BEHIND_ID_MIN: usize = 24;
const ANYWHERE_MIN: usize = 40;

/// How often something may be encoded.
const DECODED_MAX: usize = 3;

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
        check(&format!("_{ID}_{}", &SECRET[..24]), &format!("_{ID}_<redacted>"));
    }

    #[test]
    fn everything_else_stays() {
        for text in
            ["", "_", "/v3/contacts", "/a_b_c", "/é_é", "_7Hq2Kd9XbM3_", "/kw_7Hq2Kd9XbM3r_"]
        {
            assert!(matches!(redacted(text), Cow::Borrowed(it) if it == text));
        }
        check(&format!("kw_{ID}_short"), &format!("kw_{ID}_short"));
        check("/2HkYcW1ZxQp0aBcDeFgHiJkLmNo", "/2HkYcW1ZxQp0aBcDeFgHiJkLmNo");
        check("/a%20b/%C3%A9%", "/a%20b/%C3%A9%");
        let hexadecimal = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        check(hexadecimal, hexadecimal);
    }

    #[test]
    fn a_key_in_disguise_is_struck_out_too() {
        let key = format!("kw_{ID}_{SECRET}");
        let encoded: String =
            key.bytes().fold(String::new(), |text, it| text + &format!("%{it:02X}"));
        let struck = format!("/a/kw_{ID}_<redacted>/b");
        check(&format!("/a/{encoded}/b"), &struck);
        check(&format!("/a/{}/b", encoded.replace('%', "%25")), &struck);
        check(&format!("/a/kw%5F{ID}%5f{SECRET}/b"), &struck);
        check(&format!("kw-{ID}-{SECRET}"), &format!("kw-{ID}-<redacted>"));
        let (first, rest) = SECRET.split_at(4);
        check(&format!("kw_{ID}_{first}\0{rest}"), &format!("kw_{ID}_{first}\0<redacted>"));
        check(SECRET, "<redacted>");
        let (first, rest) = SECRET.split_at(30);
        check(&format!("/kw_{ID}_{first}/../{rest}"), &format!("/kw_{ID}_<redacted>/../{rest}"));
    }
}
