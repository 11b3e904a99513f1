//! Runs inputs against the real program, many at once, and judges what came of them.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::corpus::fuzz::book::{Book, contains, hash, marker};
use crate::corpus::fuzz::client::{Answer, Played, play};
use crate::corpus::fuzz::shrink::said;
use crate::corpus::fuzz::upstream::{answers_early, start};
use crate::corpus::strict::{Found, Request};
use crate::support::gateway::{Gateway, Key};
use crate::support::setup::Setup;

/// The program, and an upstream that keeps a book.
#[derive(Debug)]
pub struct Run {
    runtime: Runtime,
    book: Arc<Book>,
    gateway: Gateway,
    key: Key,
}

/// What came of a batch.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Answers, and connections without any.
    pub executions: u64,
    /// Of them requests that reached the upstream whole.
    pub forwarded: u64,
    /// What is wrong.
    pub findings: Vec<String>,
}

impl Run {
    /// Starts both.
    pub fn start() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (gateway, key, book) = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let started = tokio::task::spawn_blocking(move || {
                let setup = Setup::empty().upstream("api", &[address]);
                let setup = setup.route("all", "path = \"/\"").gateway("workers = 2");
                let gateway = Gateway::start(&setup.limits("failures_per_address = \"100000/s\""));
                let key = gateway.mint("fuzz");
                (gateway, key)
            });
            let (gateway, key) = started.await.unwrap();
            let book = Arc::new(Book::new(&key.id));
            start(listener, Arc::clone(&book));
            (gateway, key, book)
        });
        Self { runtime, book, gateway, key }
    }

    /// The key that is let in.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Plays inputs with their numbers.
    pub fn batch(&self, inputs: &[(u64, Vec<u8>)]) -> Outcome {
        let played = self.runtime.block_on(self.play_all(inputs));
        let mut outcome = Outcome::default();
        for (played, (number, input)) in played.iter().zip(inputs) {
            outcome.executions += played.answers.len().max(1) as u64;
            outcome.forwarded += played.answers.iter().filter(|it| it.status == 200).count() as u64;
            if let Err(finding) = self.judge(played, input) {
                outcome.findings.push(format!("{} {finding}", said(*number)));
            }
        }
        // Read first, so that what comes meanwhile is let in meanwhile.
        let heads = self.book.heads();
        let allowed = self.gateway.metrics().count(ALLOWED);
        if heads > allowed {
            outcome.findings.push(format!("{heads} requests for {allowed} that were let in"));
        }
        outcome.findings.extend(self.book.findings());
        self.book.turn_page();
        outcome
    }

    async fn play_all(&self, inputs: &[(u64, Vec<u8>)]) -> Vec<Played> {
        let address = self.gateway.address();
        let (mut tasks, mut played) = (JoinSet::new(), HashMap::new());
        for (place, (number, input)) in inputs.iter().enumerate() {
            if tasks.len() == AT_ONCE {
                let (place, it) = tasks.join_next().await.unwrap().unwrap();
                played.insert(place, it);
            }
            let (number, input) = (*number, input.clone());
            tasks.spawn(async move { (place, play(address, &input, number).await) });
        }
        while let Some(done) = tasks.join_next().await {
            let (place, it) = done.unwrap();
            played.insert(place, it);
        }
        let in_order = (0..inputs.len()).map(|it| played.remove(&it).unwrap().unwrap());
        in_order.collect()
    }

    /// What has one reading is forwarded as it is or refused; half of one is never made whole;
    /// nothing is forwarded more often than it was sent.
    fn judge(&self, played: &Played, input: &[u8]) -> Result<(), String> {
        for (request, answer) in played.clear.iter().zip(&played.answers) {
            self.judge_clear(request, answer)?;
        }
        if let Some(fault) = played.answers.iter().find(|it| it.status >= 500) {
            return Err(format!("answered {}", fault.status));
        }
        if let Found::Begun(Some(half)) = &played.rest
            && let Some(marker) = marker(half.target())
            && times(input, marker) == 1
            && self.book.count(marker) > 0
        {
            return Err(format!("half a request was made whole: {half:?}"));
        }
        for request in &played.clear {
            let Some(marker) = marker(request.target()) else { continue };
            let (sent, came) = (times(input, marker), self.book.count(marker));
            if came > sent {
                return Err(format!("sent {sent} times, came {came} times: {request:?}"));
            }
        }
        Ok(())
    }

    fn judge_clear(&self, request: &Request, answer: &Answer) -> Result<(), String> {
        if answer.status != 200 {
            return Ok(());
        }
        if request.one("api-key") != Some(self.key.plaintext.as_bytes()) {
            return Err(format!("let in without its key: {request:?}"));
        }
        let Some(seen) = self.book.seen(&answer.id) else {
            let is_early = answers_early(request);
            let text = || format!("answered, and did not come whole: {request:?}");
            return if is_early { Ok(()) } else { Err(text()) };
        };
        let is_same = seen.method == request.method()
            && seen.body == hash(&request.body)
            && (seen.marker == marker(request.target()) || climbs(request.target()));
        is_same.then_some(()).ok_or_else(|| format!("came as {seen:?}: {request:?}"))
    }
}

/// Whether a path leads out of where it begins: then the marker in it may be gone.
fn climbs(target: &[u8]) -> bool {
    String::from_utf8_lossy(target).to_lowercase().replace("%2e", ".").contains("/..")
}

/// How often a marker was sent.
fn times(input: &[u8], marker: u64) -> usize {
    let text = format!("{marker:016x}");
    if !contains(input, text.as_bytes()) {
        return 0;
    }
    input.windows(16).filter(|it| *it == text.as_bytes()).count()
}

const AT_ONCE: usize = 192;
const ALLOWED: &str = r#"keyward_auth_decisions_total{result="allowed"}"#;
