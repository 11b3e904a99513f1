//! Lists keys, newest first, and goes on where a cursor says.

use serde::Serialize;

use crate::admin::Admin;
use crate::admin::answer::{Answer, Done};
use crate::admin::asked::Asked;
use crate::admin::cursor;
use crate::admin::documents::Document;
use crate::admin::records::Found;
use crate::admin::rejection::{Fault, Rejection};
use crate::clock::Timestamp;
use crate::key::record::{Holder, Label, State};
use crate::store::{Kind, PageMark, Row};

#[derive(Serialize)]
struct Page<'a> {
    items: Vec<Document<'a>>,
    next_cursor: Option<String>,
}

/// Lists keys. A question that fits few of many keys may get a page with fewer items than it
/// asked for, or none, and a cursor: one call looks at so many records and no more.
pub async fn list(asked: Asked) -> Result<Answer, Rejection> {
    let (question, now) = (Question::read(asked.query()?)?, asked.now());
    let (found, next) = walk(&asked.admin, &question, now).await?;
    let next_cursor = next.map(|it| cursor::write(it, &question.filter.text()));
    let items = found.iter().map(|it| it.document(now)).collect();
    Answer::json(Done::Well, &Page { items, next_cursor })
}

/// The keys of one page, and where the next one goes on.
async fn walk(
    admin: &Admin,
    question: &Question,
    now: Timestamp,
) -> Result<(Vec<Found>, Option<PageMark>), Rejection> {
    let (mut found, mut place) = (Vec::new(), question.after);
    let mut last = question.after;
    for _ in 0..BATCHES_MAX {
        let rows = admin.keyring.store().page(place, BATCH).await?;
        let is_last = rows.len() < BATCH;
        let rows = admin.keyring.all_current(rows).await?;
        for row in rows {
            place = Some(row.mark());
            let Some(key) = fitting(admin, &row, &question.filter, now) else { continue };
            // One more than asked for fits: so there is a next page.
            if found.len() == question.limit {
                return Ok((found, last));
            }
            last = place;
            found.push(key);
        }
        if is_last {
            return Ok((found, None));
        }
    }
    Ok((found, place))
}

/// The key in a row, if it fits.
fn fitting(admin: &Admin, row: &Row, filter: &Filter, now: Timestamp) -> Option<Found> {
    if row.kind != Kind::Key {
        return None;
    }
    admin.read_listed(row, Kind::Key).filter(|it| filter.fits(it, now))
}

/// What is asked for.
#[derive(Debug)]
struct Question {
    filter: Filter,
    limit: usize,
    after: Option<PageMark>,
}

#[derive(Debug, Default)]
struct Filter {
    state: Option<State>,
    owner: Option<String>,
    /// In lower case.
    q: Option<String>,
}

impl Question {
    fn read(pairs: Vec<(String, String)>) -> Result<Self, Rejection> {
        let mut faults = Vec::new();
        let mut fault = |path: &str, detail: &str| {
            faults.push(Fault { path: path.to_owned(), detail: detail.to_owned() });
        };
        let mut said: Vec<String> = Vec::new();
        let (mut filter, mut limit, mut cursor) = (Filter::default(), LIMIT_DEFAULT, None);
        for (name, value) in pairs {
            match name.as_str() {
                _ if said.contains(&name) => fault(&name, "stands here more than once"),
                "state" => match state(&value) {
                    Some(state) => filter.state = Some(state),
                    None => fault("state", EXPECTED_STATE),
                },
                "owner" => filter.owner = Some(value),
                "q" => filter.q = Some(value.to_lowercase()),
                "limit" => match value.parse() {
                    Ok(count) if (1..=LIMIT_MAX).contains(&count) => limit = count,
                    _ => fault("limit", "expected a number from 1 to 500"),
                },
                "cursor" => cursor = Some(value),
                _ => fault(&name, "unknown parameter; there are state, owner, q, limit, cursor"),
            }
            said.push(name);
        }
        let after = cursor.as_deref().map(|it| cursor::read(it, &filter.text()));
        if after == Some(None) {
            fault("cursor", "was not given for this question");
        }
        if faults.is_empty() {
            Ok(Self { filter, limit, after: after.flatten() })
        } else {
            Err(Rejection::BadRequest(faults))
        }
    }
}

impl Filter {
    /// Different for different filters.
    fn text(&self) -> String {
        format!("{self:?}")
    }

    fn fits(&self, found: &Found, now: Timestamp) -> bool {
        let record = &found.record;
        let Holder::Caller(scope) = &record.holder else { return false };
        let owner = scope.owner.as_ref().map(Label::as_str);
        let texts = [
            Some(record.name.as_str()),
            owner,
            Some(record.id.as_str()),
            Some(record.last_digits.as_str()),
        ];
        let has = |q: &String| texts.iter().flatten().any(|it| it.to_lowercase().contains(q));
        self.state.is_none_or(|it| it == record.state(now))
            && self.owner.as_deref().is_none_or(|it| Some(it) == owner)
            && self.q.as_ref().is_none_or(has)
    }
}

fn state(text: &str) -> Option<State> {
    serde_json::from_value(text.into()).ok()
}

const EXPECTED_STATE: &str = "expected active, disabled, retiring, expired or revoked";
const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 500;
const BATCH: usize = 500;
const BATCHES_MAX: usize = 10;
