//! What reached the upstream, and whether it may have.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use crate::corpus::fuzz::generate::{FORGED_ID, PLACE};
use crate::corpus::strict::Request;

/// The book of one run.
#[derive(Debug, Default)]
pub struct Book {
    key_id: String,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    /// How many heads came in all.
    heads: u64,
    /// By which requests were called.
    ids: HashSet<Box<[u8]>>,
    /// Those that came whole, by their ids.
    whole: HashMap<Box<[u8]>, Seen>,
    /// How often each marker came in a whole request.
    markers: HashMap<u64, usize>,
    findings: Vec<String>,
}

/// What is kept of a whole request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Vec<u8>,
    pub marker: Option<u64>,
    pub body: u64,
}

impl Book {
    /// An empty one; every request is to be this key's.
    pub fn new(key_id: &str) -> Self {
        Self { key_id: key_id.to_owned(), pages: Mutex::default() }
    }

    /// A head came: it is ours, and its id is new.
    pub fn head(&self, request: &Request) {
        let id = request.one("x-request-id").unwrap_or_default();
        let is_id = id.len() == 32 && id.iter().all(u8::is_ascii_hexdigit);
        let mut pages = self.pages.lock().unwrap();
        pages.heads += 1;
        let mut fault = None;
        if request.one("x-keyward-key-id") != Some(self.key_id.as_bytes()) {
            fault = Some("a request that the gate did not let in");
        } else if !is_id || id == FORGED_ID.as_bytes() {
            fault = Some("a request with an id that is none of ours");
        } else if !pages.ids.insert(id.into()) {
            fault = Some("two requests with one id");
        } else if !request.all("api-key").is_empty() {
            fault = Some("a key went upstream");
        }
        if let Some(fault) = fault {
            pages.findings.push(format!("{fault}: {request:?}"));
        }
    }

    /// A request came whole.
    pub fn whole(&self, request: &Request) {
        let marker = marker(request.target());
        let seen = Seen { method: request.method().to_vec(), marker, body: hash(&request.body) };
        let id = request.one("x-request-id").unwrap_or_default().into();
        let mut pages = self.pages.lock().unwrap();
        if let Some(marker) = marker {
            *pages.markers.entry(marker).or_default() += 1;
        }
        pages.whole.insert(id, seen);
        // A client may send what we write beside it, and frame that as a body.
        if contains(&request.body, b"x-keyward-key-name: fuzz") {
            pages
                .findings
                .push(format!("a request of ours inside another one's body: {request:?}"));
        }
    }

    /// Something is wrong.
    pub fn find(&self, finding: String) {
        self.pages.lock().unwrap().findings.push(finding);
    }

    /// What came whole under an id.
    pub fn seen(&self, id: &[u8]) -> Option<Seen> {
        self.pages.lock().unwrap().whole.get(id).cloned()
    }

    /// How often a marker came whole.
    pub fn count(&self, marker: u64) -> usize {
        self.pages.lock().unwrap().markers.get(&marker).copied().unwrap_or_default()
    }

    /// How many heads came so far.
    pub fn heads(&self) -> u64 {
        self.pages.lock().unwrap().heads
    }

    /// All that was found since it was last asked.
    pub fn findings(&self) -> Vec<String> {
        std::mem::take(&mut self.pages.lock().unwrap().findings)
    }

    /// Forgets requests that nobody asks for any more, but not that they came.
    pub fn turn_page(&self) {
        let mut pages = self.pages.lock().unwrap();
        pages.whole.clear();
        pages.markers.clear();
        if pages.ids.len() > IDS_MAX {
            pages.ids.clear();
        }
    }
}

/// The marker in a target, where it has one.
pub fn marker(target: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(target).ok()?;
    let text = text.strip_prefix("http://a").unwrap_or(text);
    let text = text.strip_prefix(PLACE)?.get(..16)?;
    let marker = u64::from_str_radix(text, 16).ok()?;
    // There is one way to write it.
    (format!("{marker:016x}") == text).then_some(marker)
}

/// FNV-1a.
pub fn hash(bytes: &[u8]) -> u64 {
    let mix = |hash: u64, it: &u8| (hash ^ u64::from(*it)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

/// Whether some bytes stand in others.
pub fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|it| it == part)
}

const IDS_MAX: usize = 1_000_000;
