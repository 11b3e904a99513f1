//! Reads the cases of `tests/corpus/`, as their README says.

use std::fs;
use std::path::Path;

/// What one case sends, and what must become of it.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub steps: Vec<Step>,
    pub answers: Vec<Answer>,
    pub then: Then,
    pub upstream: Expected,
}

/// What is done, in order.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sends bytes, with `{key}` in it.
    Send(Vec<u8>),
    /// Waits for an answer before it goes on.
    Wait,
    /// Sends no more.
    End,
}

/// An answer that must come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Body,
}

/// Whether an answer can have a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    AsFramed,
    /// It answers `HEAD`.
    Never,
}

/// What becomes of the connection behind the last answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The gateway closes it.
    Close,
    /// The next request over it is served.
    Open,
}

/// What may reach the upstream.
#[derive(Clone, Debug)]
pub enum Expected {
    Nothing,
    /// Exactly these requests.
    Whole(Vec<u8>),
    /// No more than the beginning of this one, on a connection that is then closed.
    Begins(Vec<u8>),
}

/// The cases of one file.
#[track_caller]
pub fn cases(theme: &str) -> Vec<Case> {
    let path = Path::new(FOLDER).join(format!("{theme}.txt"));
    let text = fs::read_to_string(&path).unwrap();
    let blocks = text.split("\ncase ").skip(1);
    blocks.map(|it| case(theme, it)).collect()
}

/// The names of all files.
pub fn themes() -> Vec<String> {
    let names = fs::read_dir(FOLDER).unwrap().map(|it| it.unwrap().file_name());
    let names = names.map(|it| it.into_string().unwrap());
    let mut names: Vec<String> =
        names.filter_map(|it| it.strip_suffix(".txt").map(str::to_owned)).collect();
    names.sort();
    names
}

fn case(theme: &str, block: &str) -> Case {
    let (title, rest) = block.split_once('\n').unwrap();
    let name = format!("{theme}: {title}");
    let mut answers = None;
    let (mut steps, mut kind, mut upstream) = (Vec::new(), None, Vec::new());
    for line in rest.lines() {
        let (word, text) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            ">" => send(&mut steps, &bytes(text, &name)),
            "=" => upstream.extend(bytes(text, &name)),
            "wait" => steps.push(Step::Wait),
            "end" => steps.push(Step::End),
            "answers" => answers = Some(outcome(text, &name)),
            "upstream" => kind = Some(text),
            "" | "#" => {}
            _ => panic!("{name}: what is {line:?}?"),
        }
    }
    let (answers, then) = answers.unwrap_or_else(|| panic!("{name}: which answers?"));
    let upstream = match kind {
        Some("nothing") => Expected::Nothing,
        Some("whole") => Expected::Whole(upstream),
        Some("begins") => Expected::Begins(upstream),
        _ => panic!("{name}: what reaches the upstream?"),
    };
    Case { name, steps, answers, then, upstream }
}

/// `400 close`, `200 head:200 open`, `close`
fn outcome(text: &str, name: &str) -> (Vec<Answer>, Then) {
    let mut words: Vec<&str> = text.split(' ').collect();
    let then = match words.pop() {
        Some("close") => Then::Close,
        Some("open") => Then::Open,
        _ => panic!("{name}: is the connection closed?"),
    };
    let answers = words.into_iter().map(|word| match word.strip_prefix("head:") {
        Some(status) => Answer { status: status.parse().unwrap(), body: Body::Never },
        None => Answer { status: word.parse().unwrap(), body: Body::AsFramed },
    });
    (answers.collect(), then)
}

fn send(steps: &mut Vec<Step>, bytes: &[u8]) {
    if let Some(Step::Send(sent)) = steps.last_mut() {
        sent.extend_from_slice(bytes);
    } else {
        steps.push(Step::Send(bytes.to_vec()));
    }
}

/// One line: `\r`, `\n`, `\t`, `\0`, `\xHH` and `\\` are bytes, `{a*100}` is repeated, a `\` at
/// the end says that no line end follows.
fn bytes(text: &str, name: &str) -> Vec<u8> {
    let (text, ends) = text.strip_suffix('\\').map_or((text, true), |it| (it, false));
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        match first {
            b'\\' => rest = escape(rest, &mut bytes).unwrap_or_else(|| panic!("{name}: {text}")),
            b'{' => rest = braces(rest, &mut bytes, name),
            byte => bytes.push(*byte),
        }
    }
    if ends {
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn escape<'a>(rest: &'a [u8], bytes: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (letter, rest) = rest.split_first()?;
    let byte = match letter {
        b'r' => b'\r',
        b'n' => b'\n',
        b't' => b'\t',
        b'0' => 0,
        b'\\' => b'\\',
        b'x' => {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            return rest.get(2..);
        }
        _ => return None,
    };
    bytes.push(byte);
    Some(rest)
}

/// `{key}` and `{ours}` are left for later; `{text*9}` is `text` nine times.
fn braces<'a>(rest: &'a [u8], bytes: &mut Vec<u8>, name: &str) -> &'a [u8] {
    let end = rest.iter().position(|it| *it == b'}').unwrap_or_else(|| panic!("{name}: no brace"));
    let inner = std::str::from_utf8(&rest[..end]).unwrap();
    match inner.rsplit_once('*') {
        Some((text, count)) => {
            let count = count.parse().unwrap_or_else(|_| panic!("{name}: {{{inner}}}"));
            let mut plain = Vec::new();
            let mut text = text.as_bytes();
            while let Some((first, more)) = text.split_first() {
                text = more;
                match first {
                    b'\\' => text = escape(text, &mut plain).unwrap(),
                    byte => plain.push(*byte),
                }
            }
            bytes.extend(plain.repeat(count));
        }
        None => bytes.extend_from_slice(format!("{{{inner}}}").as_bytes()),
    }
    &rest[end + 1..]
}

const FOLDER: &str = "tests/corpus";
