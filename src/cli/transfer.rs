//! Moves records between stores, and gives an empty store the name of one that was lost.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::cli::Streams;
use crate::cli::args::{Output, Source};
use crate::cli::credentials::write_whole;
use crate::cli::failure::Failure;
use crate::cli::{serve, words};
use crate::config::{Location, Store as Settings};
use crate::key::seal::Identity;
use crate::server::peppers;
use crate::server::transfer::{Moved, Stock, TransferFault};
use crate::store::Store;
use crate::store::redis::Redis;
use crate::store::register::{Receipt, ReceiptState, receipts};
use crate::store::sqlite::Sqlite;

/// A runtime for one command.
pub fn runtime() -> Result<Runtime, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|it| Failure::Failed(format!("no runtime can be started: {it}")))
}

/// Writes every record to a file that only its owner can read, or to standard output.
pub fn export(
    settings: &Settings,
    file: Option<&Path>,
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    let stock = runtime()?.block_on(open(settings, Wanted::Used))?;
    let moved = match file {
        None => runtime()?.block_on(stock.export(streams.out))?,
        Some(path) => {
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let mut file = BufWriter::new(file.map_err(|it| cannot("written", path, &it))?);
            runtime()?.block_on(stock.export(&mut file))?
        }
    };
    let said = format!("keyward: {} exported", words::count(&moved.taken, "record"));
    writeln!(streams.err, "{said}")?;
    left(&moved, streams)
}

/// Takes over the records in a file, or on standard input.
pub fn import(
    settings: &Settings,
    file: Option<&Path>,
    output: Output,
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    let stock = runtime()?.block_on(open(settings, Wanted::UsedOrNew))?;
    let moved = match file {
        None => runtime()?.block_on(stock.import(&mut io::stdin().lock()))?,
        Some(path) => {
            let file = File::open(path).map_err(|it| cannot("read", path, &it))?;
            runtime()?.block_on(stock.import(&mut BufReader::new(file)))?
        }
    };
    say(&stock, &moved, output, streams)
}

/// Takes the records of this store over into that of another configuration.
pub fn migrate(
    settings: &Settings,
    to: PathBuf,
    output: Output,
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    let other = serve::load(&Source { config: Some(to), sets: Vec::new() })?.config.store;
    if other.location == settings.location && other.network.namespace == settings.network.namespace
    {
        return Err(Failure::Usage("both configurations name the same store".to_owned()));
    }
    let runtime = runtime()?;
    let (from, to) = runtime.block_on(async {
        let from = open(settings, Wanted::Used).await?;
        let to = open(&other, Wanted::UsedOrNew).await?;
        Ok::<_, Failure>((from, to))
    })?;
    let moved = runtime.block_on(to.migrate_from(&from))?;
    say(&to, &moved, output, streams)
}

/// Gives an empty Redis the name of the store that was in its place, so that the gateways which
/// followed that one know it again and write back what they know.
pub fn restore(
    settings: &Settings,
    identity: &str,
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    if matches!(settings.location, Location::Sqlite(_)) {
        return Err(Failure::Usage(
            "an SQLite file is restored from a copy, or from an export: this is for a Redis that \
             gateways have followed"
                .to_owned(),
        ));
    }
    let peppers = peppers::look(settings)?;
    let redis = Redis::open(settings)?;
    let name = Identity(identity.to_owned());
    runtime()?.block_on(redis.restore(&name, peppers.current().check()))?;
    let said = "the store has its name again: gateways that still run write back what they know. \
                Look at `keyward store status` in a moment\n";
    Ok(write_whole(streams.out, said)?)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Used,
    UsedOrNew,
}

async fn open(settings: &Settings, wanted: Wanted) -> Result<Stock, Failure> {
    let store = match &settings.location {
        Location::Sqlite(path) => {
            if wanted == Wanted::Used && !path.exists() {
                return Err(Failure::Failed(format!("there is no store at {}", path.display())));
            }
            Store::Embedded(Arc::new(Sqlite::open(path)?))
        }
        Location::Redis(_) => {
            let redis = Redis::open(settings)?;
            if wanted == Wanted::Used {
                // An empty one stays empty.
                redis.inspect().await?;
            }
            Store::Redis(Arc::new(redis))
        }
    };
    let meta = store.meta().await?;
    let peppers = match &store {
        Store::Embedded(_) => peppers::load(settings, &meta)?,
        Store::Redis(_) => peppers::look(settings)?,
    };
    peppers::fit(&peppers, settings, &meta)?;
    if meta.check.is_none() {
        store.set_check(peppers.current().check()).await?;
    }
    Ok(Stock::new(store, peppers))
}

/// Says what was moved, once every gateway that follows the store has confirmed it.
fn say(
    stock: &Stock,
    moved: &Moved,
    output: Output,
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    let propagation = runtime()?.block_on(async {
        let ticket = stock.store.ticket().await?;
        Ok::<_, Failure>(receipts(&stock.store, &ticket).await)
    })?;
    let text = match output {
        Output::Json => words::json(&json!({
            "read": moved.read,
            "taken": moved.taken,
            "left": moved.left,
            "propagation": propagation,
        })),
        Output::Table => {
            let has_confirmed = |it: &&Receipt| it.state == ReceiptState::Confirmed;
            let gateways = propagation.gateways.iter().filter(has_confirmed).count();
            let read = words::count(&moved.read, "record");
            let confirmed = words::count(&gateways, "gateway");
            format!("{read} read, {} taken; {confirmed} confirmed\n", moved.taken)
        }
    };
    write_whole(streams.out, &text)?;
    for gateway in &propagation.unconfirmed {
        writeln!(streams.err, "keyward: warning: {} has not confirmed", gateway.0)?;
    }
    if propagation.too_few_replicas {
        writeln!(
            streams.err,
            "keyward: warning: too few replicas hold it: a failover may lose it"
        )?;
    }
    if propagation.complete { left(moved, streams) } else { Err(Failure::Partly) }
}

fn left(moved: &Moved, streams: &mut Streams<'_>) -> Result<(), Failure> {
    for left in &moved.left {
        writeln!(streams.err, "keyward: warning: left out: {left}")?;
    }
    if moved.left.is_empty() { Ok(()) } else { Err(Failure::Partly) }
}

fn cannot(what: &str, path: &Path, fault: &io::Error) -> Failure {
    Failure::Failed(format!("{} cannot be {what}: {fault}", path.display()))
}

impl From<TransferFault> for Failure {
    fn from(fault: TransferFault) -> Self {
        Self::Failed(fault.to_string())
    }
}
