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
use crate::rate::quota::Window;
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
        let account = format!("{account:016x}");
        let keeps = u8::from(matches!(rest, Rest::Kept(_)));
        let time = time.map(|it| it.as_micros().to_string()).unwrap_or_default();
        let name = |name: &str| self.names.bucket(*key, name);
        let (operation, keys, arguments) = match bucket {
            Bucket::Rate(rate, route) => {
                let bucket =
                    route.as_ref().map_or_else(|| "rate".into(), |it| format!("rate:{it}"));
                let arguments = vec![
                    bytes(&rate.count),
                    bytes(&rate.period.as_micros()),
                    bytes(&rate.burst),
                    bytes(&account),
                    bytes(spent),
                    bytes(&keeps),
                    bytes(wanted),
                    bytes(least),
                    bytes(&away.told),
                    bytes(&away.spent),
                    bytes(&away.owed),
                    bytes(&away.time.as_micros()),
                    bytes(&SLICE_LAPSES_AFTER.as_micros()),
                    bytes(question),
                    bytes(&time),
                ];
                (Operation::LeaseRate, vec![name(&bucket)], arguments)
            }
            Bucket::Quota(quota, span, seen) => {
                let keys = match quota.window {
                    Window::Day => vec![name("day")],
                    Window::Month => vec![name("month"), name("day")],
                };
                let arguments = vec![
                    bytes(&quota.count),
                    bytes(&span.name),
                    bytes(&span.start.as_micros()),
                    bytes(&span.end.as_micros()),
                    bytes(&account),
                    bytes(spent),
                    bytes(&keeps),
                    bytes(wanted),
                    bytes(least),
                    bytes(&away.told),
                    bytes(&away.spent),
                    bytes(seen),
                    bytes(question),
                    bytes(&time),
                ];
                (Operation::LeaseQuota, keys, arguments)
            }
        };
        (operation, Call { keys, arguments })
    }
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
