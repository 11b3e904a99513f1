//! Leases slices of limits from Redis: over the connection of what reads, and in a cluster over one
//! to the owner of each slot that limits are in.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::Value;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use crate::clock::Timestamp;
use crate::config::{RedisPlace, Topology};
use crate::key::text::KeyId;
use crate::rate::quota::{Quota, Span, Window};
use crate::store::Unavailable;
use crate::store::redis::Redis;
use crate::store::redis::client::Way;
use crate::store::redis::link::{Call, Link, LinkFault};
use crate::store::redis::reply::{Malformed, Reply};
use crate::store::redis::script::{Names, Operation, SHARDS};
use crate::store::redis::supervisor::{Terms, Voice};
use crate::store::redis::text::bytes;
use crate::store::slices::{Bucket, Leased, Rest, SLICE_LAPSES_AFTER, Slice, SliceRequest};
use crate::tasks::Tasks;

/// The ways to the slots of limits.
#[derive(Debug)]
pub struct Leasing {
    names: Names,
    /// None but in a cluster; each is made when it is needed.
    shards: Vec<Shard>,
    /// Where they are kept.
    background: (Tasks, Handle),
}

#[derive(Debug)]
struct Shard {
    terms: Arc<Terms>,
    link: OnceLock<Link>,
}

impl Leasing {
    /// Nothing is connected yet. They are kept on the runtime of the caller.
    pub fn new(
        place: &RedisPlace,
        names: &Names,
        terms: impl Fn(&str) -> Arc<Terms>,
        tasks: &Tasks,
    ) -> Self {
        let shard = |it| Shard { terms: terms(&names.shard(it)), link: OnceLock::new() };
        let shards = match place.topology {
            Topology::Cluster => (0..SHARDS).map(shard).collect(),
            Topology::Standalone | Topology::Sentinel(_) => Vec::new(),
        };
        Self { names: names.clone(), shards, background: (tasks.clone(), Handle::current()) }
    }

    fn link(&self, key: KeyId) -> Option<&Link> {
        let Shard { terms, link } = self.shards.get(Names::shard_of(key))?;
        let (tasks, runtime) = &self.background;
        Some(link.get_or_init(|| {
            let _inside = runtime.enter();
            Link::start(Arc::clone(terms), Voice::Silent, tasks)
        }))
    }
}

impl Redis {
    /// With which slot a key's limits are counted.
    pub fn limits_shard(&self, key: KeyId) -> usize {
        if self.leasing.shards.is_empty() { 0 } else { Names::shard_of(key) }
    }

    /// Leases tokens of a limit, and says what became of those that were leased before.
    pub async fn lease_slice(&self, request: &SliceRequest) -> Result<Leased, Unavailable> {
        self.lease_slice_at(request, None).await
    }

    /// The same at another time than the server's.
    pub async fn lease_slice_at(
        &self,
        request: &SliceRequest,
        time: Option<Timestamp>,
    ) -> Result<Leased, Unavailable> {
        let (operation, call) = self.leasing.call(request, time);
        Ok(read(self.ask_beside_limits(request.key, operation, &call).await?)?)
    }

    /// How everything is called.
    pub fn names(&self) -> &Names {
        &self.leasing.names
    }

    /// Has an operation carried out on what is in the slot of a key's limits.
    pub async fn ask_beside_limits(
        &self,
        key: KeyId,
        operation: Operation,
        call: &Call,
    ) -> Result<Value, Unavailable> {
        let link = self.leasing.link(key);
        let link = link.unwrap_or_else(|| self.client.link(Way::Read));
        let patience = self.client.response_timeout();
        let end = Instant::now() + patience;
        let silence =
            || LinkFault::Lost(format!("it did not answer within {} ms", patience.as_millis()));
        let live = timeout_at(end, link.live()).await.map_err(|_elapsed| silence())??;
        match timeout_at(end, link.run(&live, operation, call)).await {
            Ok(answer) => Ok(answer?),
            Err(_elapsed) => {
                link.give_up(&live);
                Err(silence().into())
            }
        }
    }
}

impl Leasing {
    fn call(&self, request: &SliceRequest, time: Option<Timestamp>) -> (Operation, Call) {
        let SliceRequest { key, bucket, account, question, spent, rest, wanted, least, away } =
            request;
        let name = |name: &str| self.names.bucket(*key, name);
        let (operation, keys, mut arguments, said_last) = match bucket {
            Bucket::Rate(rate, route) => {
                let bucket =
                    route.as_ref().map_or_else(|| "rate".into(), |it| format!("rate:{it}"));
                let terms =
                    [bytes(&rate.count), bytes(&rate.period.as_micros()), bytes(&rate.burst)];
                let time = away.time.as_micros();
                let life = SLICE_LAPSES_AFTER.as_micros();
                let said_last = vec![bytes(&away.owed), bytes(&time), bytes(&life)];
                (Operation::LeaseRate, vec![name(&bucket)], terms.to_vec(), said_last)
            }
            Bucket::Quota(quota, span, seen) => {
                let (here, beside) = match quota.window {
                    Window::Day => ("day", "month"),
                    Window::Month => ("month", "day"),
                };
                let terms = terms_of_quota(quota, span);
                let said_last = vec![bytes(seen)];
                (Operation::LeaseQuota, vec![name(here), name(beside)], terms, said_last)
            }
        };
        arguments.extend([
            format!("{account:016x}").into_bytes(),
            bytes(spent),
            bytes(&u8::from(matches!(rest, Rest::Kept(_)))),
            bytes(wanted),
            bytes(least),
            bytes(&away.told),
            bytes(&away.spent),
        ]);
        arguments.extend(said_last);
        let time = time.map(|it| it.as_micros().to_string()).unwrap_or_default();
        arguments.extend([bytes(question), bytes(&time)]);
        (operation, Call { keys, arguments })
    }
}

/// How much in which window, and which one is counted beside it.
fn terms_of_quota(quota: &Quota, span: &Span) -> Vec<Vec<u8>> {
    let ends = |it: Span| [it.start, it.end].map(|it| bytes(&it.as_micros()));
    let beside = match quota.window {
        Window::Day => ends(Window::Month.at(span.start)),
        // Which day it is the server knows.
        Window::Month => [Vec::new(), Vec::new()],
    };
    std::iter::once(bytes(&quota.count)).chain(ends(*span)).chain(beside).collect()
}

fn read(answer: Value) -> Result<Leased, Malformed> {
    let mut values = Reply::of(answer)?;
    let first = values.number()?;
    let Ok(left) = values.number() else { return Ok(Leased::OtherWindow(time(first)?)) };
    let (wait, spent, now) = (values.number()?, values.number()?, values.number()?);
    let enough_in = Duration::from_micros(wait);
    Ok(Leased::Slice(Slice { granted: first, left, enough_in, spent, now: time(now)? }))
}

fn time(micros: u64) -> Result<Timestamp, Malformed> {
    i64::try_from(micros).map(Timestamp::from_micros).map_err(|_large| Malformed)
}
