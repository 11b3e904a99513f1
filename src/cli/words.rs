//! Decides how documents of the admin API read to people.

use std::io::{self, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use serde_json::Value;

use crate::cli::args::Output;
use crate::cli::documents::{
    Confirmation, Credential, Gateway, Preview, Problem, Propagation, Receipt, Reloaded,
};
use crate::key::record::Permission;

/// A refusal, and, a line each, everything that is wrong with what was sent.
pub fn problem(to: &mut dyn Write, problem: &Problem) -> io::Result<()> {
    let Problem { title, detail, code, request_id, errors } = problem;
    let request = request_id.as_ref().map(|it| format!(", request {it}")).unwrap_or_default();
    let said = match errors.len() {
        0 => detail.clone(),
        faults => count(&faults, "fault"),
    };
    writeln!(to, "{}", plain(&format!("keyward: {title}: {said} ({code}{request})")))?;
    errors
        .iter()
        .try_for_each(|it| writeln!(to, "{}", plain(&format!("  {}: {}", it.path, it.detail))))
}

/// Keys, a line each.
pub fn keys(items: &[Credential]) -> String {
    let header = ["ID", "NAME", "DIGITS", "OWNER", "STATE", "LIMITS", "CREATED", "LAST USED"];
    let rows = items.iter().map(|it| {
        [
            it.id.clone(),
            it.name.clone(),
            format!("…{}", it.last_digits),
            or_dash(it.owner.as_deref()),
            it.state.clone(),
            limits(it),
            moment(it.created_at.as_deref()),
            moment(it.last_used_at.as_deref()),
        ]
    });
    table(header, rows)
}

/// Operators, a line each.
pub fn operators(items: &[Credential]) -> String {
    let header = ["ID", "NAME", "STATE", "PERMISSIONS", "CREATED", "LAST USED"];
    let rows = items.iter().map(|it| {
        [
            it.id.clone(),
            it.name.clone(),
            it.state.clone(),
            permissions(&it.permissions),
            moment(it.created_at.as_deref()),
            moment(it.last_used_at.as_deref()),
        ]
    });
    table(header, rows)
}

/// Gateways, a line each.
pub fn gateways(items: &[Gateway]) -> String {
    let header = ["ID", "NAME", "VERSION", "STATE", "LAG MS", "KEYS", "KNOWS ALL", "STARTED"];
    let rows = items.iter().map(|it| {
        [
            it.id.clone(),
            it.name.clone(),
            it.version.clone(),
            it.state.clone(),
            or_dash(it.lag_ms),
            or_dash(it.keys),
            if it.complete { "yes" } else { "no" }.to_owned(),
            moment(it.started_at.as_deref()),
        ]
    });
    table(header, rows)
}

/// What a reload has changed, a setting each line.
pub fn reloaded(changes: &Reloaded) -> String {
    let applied = changes.applied.iter().map(|it| format!("{it}: applied\n"));
    let waits = changes.waits_for_restart.iter().map(|it| format!("{it}: waits for a restart\n"));
    let lines: String = applied.chain(waits).collect();
    if lines.is_empty() { "nothing has changed\n".to_owned() } else { lines }
}

/// What limits would have refused: first all together, then each by itself.
pub fn preview(preview: &Preview) -> String {
    let Preview { since, until, requests, note, .. } = preview;
    let [since, until] = [since, until].map(|it| moment(Some(it)));
    let first = format!("{} from {since} to {until} UTC\n", count(requests, "request"));
    let row = |name: &str, limit: String, refused: u64, share: f64| {
        [name.to_owned(), limit, refused.to_string(), format!("{:.2} %", share * 100.0)]
    };
    let dash = || "-".to_owned();
    let all = row("all together", dash(), preview.refused, preview.share);
    let each = ["rate", "quota", "max_in_flight"].into_iter().filter_map(|name| {
        let limit = preview.proposed.get(name).map(cell).filter(|it| it != "unlimited")?;
        Some(match preview.by_limit.get(name) {
            Some(Some(it)) => row(name, limit, it.refused, it.share),
            Some(None) | None => [name.to_owned(), limit, dash(), dash()],
        })
    });
    let rows = std::iter::once(all).chain(each);
    let note = note.as_ref().map(|it| plain(it) + "\n").unwrap_or_default();
    plain_lines(&first) + &table(["LIMIT", "WOULD BE", "REFUSED", "SHARE"], rows) + &note
}

/// A revocation's receipt: who has confirmed it, after how long, ending how much.
pub fn receipt(receipt: &Receipt) -> String {
    let Receipt { id, revoked_at, propagation } = receipt;
    let at = revoked_at.as_ref().map(|it| format!(" at {it}")).unwrap_or_default();
    let first = format!("{id} is revoked{at}, {}\n", confirmed(propagation));
    let header = ["  GATEWAY", "NAME", "STATE", "MS", "CLOSED STREAMS"];
    let seen = propagation.gateways.iter().map(|it: &Confirmation| {
        [
            format!("  {}", it.id),
            it.name.clone(),
            it.state.clone(),
            or_dash(it.applied_ms),
            or_dash(it.closed_streams),
        ]
    });
    let missing = propagation.unconfirmed.iter().map(|it| {
        let dash = || "-".to_owned();
        [format!("  {it}"), dash(), "not confirmed".to_owned(), dash(), dash()]
    });
    plain_lines(&first) + &table(header, seen.chain(missing))
}

/// What is to be known of a credential that was just minted, beside its plaintext.
pub fn minted(kind: &str, minted: &Credential) -> String {
    let Credential { id, name, last_digits, .. } = minted;
    let digits =
        if last_digits.is_empty() { String::new() } else { format!(", ending in {last_digits}") };
    let what = format!("minted {kind} {id} for \"{name}\"{digits}");
    plain_lines(&format!("{what}; it is shown this once and kept nowhere\n"))
}

/// Says who knows of a change, and loudly who may not.
pub fn propagation(to: &mut dyn Write, propagation: Option<&Propagation>) -> io::Result<()> {
    let Some(propagation) = propagation else { return Ok(()) };
    writeln!(to, "known by {}", share(propagation))?;
    warn_of_missing(to, propagation)
}

/// Says loudly who may not know of a change; nothing if everyone does.
pub fn warn_of_missing(to: &mut dyn Write, propagation: &Propagation) -> io::Result<()> {
    missing(propagation).map_or(Ok(()), |it| writeln!(to, "keyward: warning: {it}"))
}

/// A document: as it is, or a line for each of its members.
pub fn document(document: &Value, output: Output) -> String {
    match (output, document) {
        (Output::Table, Value::Object(members)) => {
            let mut shown: Vec<_> =
                members.iter().filter(|(name, _value)| *name != "propagation").collect();
            shown.sort_by_key(|(name, _value)| {
                FIRST.iter().position(|it| it == name).unwrap_or(FIRST.len())
            });
            list(shown.into_iter().map(|(name, value)| [name.clone(), cell(value)]))
        }
        (Output::Table | Output::Json, _) => json(document),
    }
}

/// So many of them: `1 key`, `2 keys`.
pub fn count(count: &impl ToString, noun: &str) -> String {
    let count = count.to_string();
    let ending = if count == "1" { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// For scripts.
pub fn json(document: &Value) -> String {
    format!("{document:#}\n")
}

/// Who is missing from an incomplete answer, and what that means; nothing if nobody is.
fn missing(propagation: &Propagation) -> Option<String> {
    if propagation.complete {
        return None;
    }
    let who = propagation.unconfirmed.join(", ");
    let who = if who.is_empty() { "some gateways".to_owned() } else { who };
    Some(plain(&format!(
        "not confirmed by {who}: until it hears from the store, or its time to serve known keys \
         is over, it may go on with what it knew; ask again, or, if it is certainly gone, \
         `keyward fleet forget` it"
    )))
}

fn confirmed(propagation: &Propagation) -> String {
    format!("confirmed by {}", share(propagation))
}

fn share(propagation: &Propagation) -> String {
    let known = propagation.gateways.len();
    let all = count(&(known + propagation.unconfirmed.len()), "gateway");
    format!("{known} of {all} in {} ms", propagation.elapsed_ms)
}

/// Columns two blanks apart, without lines.
fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.set_header(header);
    render(table, rows)
}

/// The same without a header.
pub fn list<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> String {
    render(Table::new(), rows)
}

fn render<const N: usize>(mut table: Table, rows: impl Iterator<Item = [String; N]>) -> String {
    table.load_style(NOTHING).force_no_tty().set_content_arrangement(ContentArrangement::Disabled);
    table.add_rows(rows.map(|row| row.map(|cell| plain(&cell))));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = table.lines().map(|it| format!("{}\n", it.trim_end()));
    lines.collect()
}

/// What a key says of its limits itself: `rate 100/s, in flight 50`.
fn limits(of: &Credential) -> String {
    let said = [
        of.rate.as_ref().map(|it| format!("rate {it}")),
        of.quota.as_ref().map(|it| format!("quota {it}")),
        of.max_in_flight.as_ref().map(|it| format!("in flight {}", cell(it))),
    ];
    let said: Vec<String> = said.into_iter().flatten().collect();
    if said.is_empty() { "-".to_owned() } else { said.join(", ") }
}

/// To the second: `2026-11-21 22:50:01`.
fn moment(time: Option<&str>) -> String {
    let Some(time) = time else { return "-".to_owned() };
    let seconds = time.get(..19).unwrap_or(time);
    seconds.replace('T', " ")
}

fn permissions(held: &[String]) -> String {
    if held.len() == Permission::ALL.len() { "all".to_owned() } else { held.join(" ") }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |it| it.to_string())
}

/// What a terminal would obey is shown instead.
fn plain(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { '\u{fffd}' } else { it }).collect()
}

fn plain_lines(text: &str) -> String {
    text.lines().map(|it| plain(it) + "\n").collect()
}

/// What people look for first in a document, in this order.
const FIRST: [&str; 10] = [
    "id",
    "name",
    "last_digits",
    "owner",
    "scheme",
    "state",
    "rate",
    "quota",
    "max_in_flight",
    "revision",
];

#[cfg(test)]
mod tests;
