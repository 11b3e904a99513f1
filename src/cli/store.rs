//! Looks at a store from outside, or vouches for it.

use std::io::Write;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::cli::Streams;
use crate::cli::args::{Output, Store as Typed, StoreAction};
use crate::cli::credentials::write_whole;
use crate::cli::failure::Failure;
use crate::cli::transfer::{self, runtime};
use crate::cli::{serve, words};
use crate::clock::Timestamp;
use crate::config::{Location, Store as Settings};
use crate::key::seal::{Pepper, PepperName, Peppers};
use crate::server::accept::{Accepted, accept};
use crate::server::peppers;
use crate::store::Store;
use crate::store::inspection::{Inspection, Specifics};
use crate::store::redis::Redis;
use crate::store::sqlite::Sqlite;
use crate::store::sqlite::inspect::inspect;

/// Does what was typed after `keyward store`.
pub fn store(typed: &Typed, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let settings = serve::load(&typed.source)?.config.store;
    let output = typed.form.output;
    match &typed.action {
        StoreAction::Status => status(&settings, output, streams),
        StoreAction::Accept { yes: false } => ask(&settings),
        StoreAction::Accept { yes: true } => vouch(&settings, output, streams),
        StoreAction::Export { file } => transfer::export(&settings, file.as_deref(), streams),
        StoreAction::Import { file } => {
            transfer::import(&settings, file.as_deref(), output, streams)
        }
        StoreAction::Migrate { to } => transfer::migrate(&settings, to.clone(), output, streams),
        StoreAction::Restore { identity } => transfer::restore(&settings, identity, streams),
    }
}

fn status(settings: &Settings, output: Output, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let seen = seen(settings)?;
    let peppers = peppers::look(settings);
    let status = Status::new(&seen, peppers.as_ref().ok());
    let text = match output {
        Output::Json => words::json(&status.document(&seen)),
        Output::Table => status.text(&seen),
    };
    write_whole(streams.out, &text)?;
    if let Err(fault) = &peppers {
        writeln!(streams.err, "keyward: warning: {fault}")?;
    }
    Ok(warn(&status, streams.err)?)
}

/// Looks at the store, without changing anything.
fn seen(settings: &Settings) -> Result<Inspection, Failure> {
    match &settings.location {
        Location::Sqlite(path) => Ok(inspect(path)?),
        Location::Redis(_) => Ok(runtime()?.block_on(Redis::open(settings)?.inspect())?),
    }
}

/// The store, for as long as nobody else lives on it.
fn alone(settings: &Settings, seen: &Inspection) -> Result<Store, Failure> {
    match &settings.location {
        Location::Sqlite(path) => {
            let store = Sqlite::open_alone(path).map_err(|it| Failure::Failed(it.to_string()))?;
            Ok(Store::Embedded(Arc::new(store)))
        }
        Location::Redis(_) => {
            if let Specifics::Redis { gateways: 1.., .. } = seen.specifics {
                return Err(Failure::Failed(
                    "gateways follow this store: stop them, or have those that are gone for good \
                     forgotten (keyward fleet list)"
                        .to_owned(),
                ));
            }
            let store = Store::Redis(Arc::new(Redis::open(settings)?));
            runtime()?.block_on(store.meta())?;
            Ok(store)
        }
    }
}

/// What the peppers that are here can do with what is in the store.
struct Status {
    records: Vec<(Option<PepperName>, Role, u64)>,
    check: Role,
}

/// What a pepper is, here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Current,
    Retired,
    Unknown,
}

impl Role {
    fn of(peppers: &Peppers, name: PepperName) -> Self {
        if peppers.current().name() == name {
            Self::Current
        } else if peppers.named(name).is_some() {
            Self::Retired
        } else {
            Self::Unknown
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Retired => "retired",
            Self::Unknown => "unknown",
        }
    }
}

impl Status {
    fn new(seen: &Inspection, peppers: Option<&Peppers>) -> Self {
        let role = |name: Option<PepperName>| {
            let known = peppers.zip(name);
            known.map_or(Role::Unknown, |(peppers, name)| Role::of(peppers, name))
        };
        let checked = seen.check.and_then(|it| peppers?.checked(it));
        let records = seen.census.iter().map(|(name, count)| (*name, role(*name), *count));
        let mut records: Vec<_> = records.collect();
        records.sort_by_key(|(_, role, _)| *role);
        Self { records, check: role(checked.map(Pepper::name)) }
    }

    fn unknown(&self) -> u64 {
        self.records.iter().filter(|(_, role, _)| *role == Role::Unknown).map(|it| it.2).sum()
    }

    fn text(&self, seen: &Inspection) -> String {
        let known_by = if seen.check.is_some() { self.check.as_str() } else { "none yet" };
        let first = [
            ["store", &seen.location],
            ["identity", &seen.identity.0],
            ["format", &seen.format.to_string()],
        ];
        let rows = [
            ["keys", &format!("{}, and {} revoked", seen.keys.kept, seen.keys.revoked)],
            [
                "operators",
                &format!("{}, and {} revoked", seen.operators.kept, seen.operators.revoked),
            ],
            ["sealed with", &format!("{known_by} pepper")],
        ];
        let owned = |row: [&str; 2]| row.map(str::to_owned);
        let rows = first.map(owned).into_iter().chain(specifics(seen)).chain(rows.map(owned));
        let peppers = self.records.iter().map(|(name, role, count)| {
            let name = name.map_or_else(|| "unreadable".to_owned(), |it| it.to_string());
            [
                format!("pepper {name}"),
                format!("{}, {}", role.as_str(), words::count(count, "record")),
            ]
        });
        words::list(rows.chain(peppers))
    }

    fn document(&self, seen: &Inspection) -> Value {
        let peppers = self.records.iter().map(|(name, role, count)| {
            json!({ "name": name.map(|it| it.to_string()), "role": role.as_str(), "records": count })
        });
        let specifics = match &seen.specifics {
            Specifics::File { schema, journal_mode } => json!({
                "path": seen.location, "schema": schema, "journal_mode": journal_mode,
            }),
            Specifics::Redis { primary, epoch, changes, gateways, survives } => json!({
                "url": seen.location,
                "primary": primary,
                "epoch": epoch,
                "changes": changes,
                "gateways": gateways,
                "survives": survives,
            }),
        };
        let mut document = json!({
            "identity": seen.identity,
            "format": seen.format,
            "keys": { "kept": seen.keys.kept, "revoked": seen.keys.revoked },
            "operators": { "kept": seen.operators.kept, "revoked": seen.operators.revoked },
            "sealed_with": seen.check.map(|_| self.check.as_str()),
            "peppers": peppers.collect::<Vec<_>>(),
        });
        if let (Value::Object(document), Value::Object(specifics)) = (&mut document, specifics) {
            document.extend(specifics);
        }
        document
    }
}

/// What only stores of its kind have, a line each.
fn specifics(seen: &Inspection) -> Vec<[String; 2]> {
    let rows = match &seen.specifics {
        Specifics::File { schema, journal_mode } => {
            vec![("schema", schema.to_string()), ("journal", journal_mode.clone())]
        }
        Specifics::Redis { primary, epoch, changes, gateways, survives } => vec![
            ("primary", primary.clone()),
            ("epoch", epoch.clone()),
            ("changes", changes.to_string()),
            ("gateways", gateways.to_string()),
            ("survives", survives.join(", ")),
        ],
    };
    rows.into_iter().map(|(name, value)| [name.to_owned(), value]).collect()
}

fn warn(status: &Status, to: &mut dyn Write) -> std::io::Result<()> {
    let unknown = status.unknown();
    if unknown > 0 {
        writeln!(
            to,
            "keyward: warning: {} sealed under peppers that are not here, and answered 503: add \
             their files to retired_pepper_files; if they are lost for good, vouch for the store \
             with `keyward store accept`",
            words::count(&unknown, "record")
        )?;
    }
    Ok(())
}

fn ask(settings: &Settings) -> Result<(), Failure> {
    let seen = seen(settings)?;
    let status = Status::new(&seen, peppers::look(settings).ok().as_ref());
    Err(Failure::Usage(format!(
        "the store holds {keys} and {operators}; {unknown} sealed under peppers that are not here \
         would be sealed anew with {pepper}, though nothing but your word says that nobody has \
         changed them. Stop every keyward on the store, make a copy of it, and repeat with --yes",
        unknown = words::count(&status.unknown(), "record"),
        pepper = settings.pepper_file.display(),
        keys = words::count(&seen.keys.kept, "key"),
        operators = words::count(&seen.operators.kept, "operator"),
    )))
}

fn vouch(settings: &Settings, output: Output, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let seen = seen(settings)?;
    let store = alone(settings, &seen)?;
    let peppers = peppers::vouched(settings)?;
    let accepted = runtime()?.block_on(accept(&store, peppers, Timestamp::now()))?;
    let text = match output {
        Output::Json => words::json(&accepted_document(&accepted)),
        Output::Table => accepted_text(&accepted),
    };
    write_whole(streams.out, &text)?;
    for left in &accepted.left {
        writeln!(streams.err, "keyward: warning: left as it was: {left}")?;
    }
    Ok(())
}

fn accepted_text(accepted: &Accepted) -> String {
    let Accepted { resealed, vouched, tags_dropped, operators, left: _ } = accepted;
    let mut text = format!(
        "{} sealed anew, {vouched} on your word; {tags_dropped} will be checked with argon2 once, \
         when next shown.\n\
         These operators may use the admin listener; revoke those whom you do not know:\n",
        words::count(resealed, "record"),
    );
    text.push_str(&words::list(
        operators.iter().map(|(id, name)| [format!("  {id}"), name.clone()]),
    ));
    text
}

fn accepted_document(accepted: &Accepted) -> Value {
    let operators = accepted.operators.iter().map(|(id, name)| json!({ "id": id, "name": name }));
    json!({
        "resealed": accepted.resealed,
        "vouched": accepted.vouched,
        "tags_dropped": accepted.tags_dropped,
        "operators": operators.collect::<Vec<_>>(),
        "left": accepted.left,
    })
}

#[cfg(test)]
mod tests;
