//! Holds settings as they were written, each with its place.

use std::collections::BTreeMap;
use std::iter;
use std::mem;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml_edit::{Document, Item, TableLike, TomlError, Value};

use crate::config::fault::{Fault, Place};

/// Something written.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where.
    pub place: Place,
    /// What.
    pub content: Content,
}

/// What was written.
#[derive(Clone, Debug)]
pub enum Content {
    /// In quotes, or from outside a file.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// `true` or `false`.
    Boolean(bool),
    /// What no setting is, a date or a number with a fraction; holds what it is called.
    Other(&'static str),
    /// `[…]`, or tables under `[[…]]`.
    List(Vec<Node>),
    /// `{…}`, or what stands under `[…]`.
    Table(Table),
}

/// Settings by their names.
pub type Table = BTreeMap<String, Entry>;

/// A setting of a table.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where its name stands.
    pub place: Place,
    /// What it is set to.
    pub node: Node,
}

impl Node {
    /// Reads a file's text.
    pub fn from_toml(file: &Arc<Path>, text: &str) -> Result<Self, Fault> {
        let starts = text.match_indices('\n').map(|(at, _newline)| at + 1);
        let lines: Vec<usize> = iter::once(0).chain(starts).collect();
        let source = Source::Toml { file, text, lines: &lines };
        let whole = Place::File(file.clone());
        let document = Document::parse(text).map_err(|it| source.syntax_fault(&it, &whole))?;
        Ok(source.table(document.as_table(), &whole))
    }

    /// Reads what a flag or a variable says: TOML if it can be, otherwise text.
    pub fn from_outside(place: Place, text: &str) -> Self {
        match text.parse::<Value>() {
            Ok(value) => Source::Outside.value(&value, &place),
            Err(_not_toml) => Self { place, content: Content::Text(text.to_owned()) },
        }
    }

    /// A table without settings.
    pub fn empty(place: Place) -> Self {
        Self { place, content: Content::Table(Table::new()) }
    }

    /// The settings of a table; `None` where it is none.
    pub fn table(&self) -> Option<&Table> {
        if let Content::Table(table) = &self.content { Some(table) } else { None }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        if let Content::Text(text) = &self.content { Some(text) } else { None }
    }

    /// Puts `node` at `path`, over what is there; a table over a table setting by setting.
    pub fn set(&mut self, path: &[String], node: Self) {
        let Some((key, rest)) = path.split_first() else { return self.put(node) };
        let mut table = self.take_table();
        let place = node.place.clone();
        let entry = table.entry(key.clone());
        entry
            .or_insert_with(|| Entry { place: place.clone(), node: Self::empty(place) })
            .node
            .set(rest, node);
        self.content = Content::Table(table);
    }

    /// As a fault names it: `found "soon"`.
    pub fn found(&self) -> String {
        match &self.content {
            Content::Text(text) => format!("found {text:?}"),
            Content::Integer(number) => format!("found {number}"),
            Content::Boolean(boolean) => format!("found {boolean}"),
            Content::Other(name) => format!("found a {name}"),
            Content::List(_) => "found a list".to_owned(),
            Content::Table(_) => "found a table".to_owned(),
        }
    }

    fn put(&mut self, node: Self) {
        let is_merged = self.table().is_some() && node.table().is_some();
        if !is_merged {
            *self = node;
            return;
        }
        let mut node = node;
        for (key, entry) in node.take_table() {
            self.set(&[key], entry.node);
        }
    }

    /// Its settings, none where it was no table; leaves an empty table behind.
    fn take_table(&mut self) -> Table {
        match mem::replace(&mut self.content, Content::Table(Table::new())) {
            Content::Table(table) => table,
            Content::Text(_)
            | Content::Integer(_)
            | Content::Boolean(_)
            | Content::Other(_)
            | Content::List(_) => Table::new(),
        }
    }
}

/// What is being read, for places in it.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// A file, and where its lines begin.
    Toml { file: &'a Arc<Path>, text: &'a str, lines: &'a [usize] },
    /// A flag or a variable, which is one place.
    Outside,
}

impl Source<'_> {
    fn table(self, table: &dyn TableLike, place: &Place) -> Node {
        let entries = table.iter().map(|(key, item)| {
            let span = table.key(key).and_then(toml_edit::Key::span);
            let place = self.place(span, place);
            (key.to_owned(), Entry { node: self.item(item, &place), place })
        });
        Node { content: Content::Table(entries.collect()), place: place.clone() }
    }

    fn item(self, item: &Item, around: &Place) -> Node {
        let place = self.place(item.span(), around);
        match item {
            Item::None => Node::empty(place),
            Item::Value(value) => self.value(value, around),
            Item::Table(table) => self.table(table, &place),
            Item::ArrayOfTables(tables) => {
                let tables = tables.iter().map(|it| self.table(it, &self.place(it.span(), &place)));
                Node { content: Content::List(tables.collect()), place: place.clone() }
            }
        }
    }

    fn value(self, value: &Value, around: &Place) -> Node {
        let place = self.place(value.span(), around);
        let content = match value {
            Value::String(text) => Content::Text(text.value().clone()),
            Value::Integer(number) => Content::Integer(*number.value()),
            Value::Boolean(boolean) => Content::Boolean(*boolean.value()),
            Value::Float(_) => Content::Other("number with a fraction"),
            Value::Datetime(_) => Content::Other("date or time"),
            Value::Array(list) => {
                Content::List(list.iter().map(|it| self.value(it, &place)).collect())
            }
            Value::InlineTable(table) => return self.table(table, &place),
        };
        Node { place, content }
    }

    fn place(self, span: Option<Range<usize>>, around: &Place) -> Place {
        let (Self::Toml { file, text, lines }, Some(span)) = (self, span) else {
            return around.clone();
        };
        let line = lines.partition_point(|it| *it <= span.start);
        let line_start = line.checked_sub(1).and_then(|it| lines.get(it)).copied().unwrap_or(0);
        let before = text.get(line_start..span.start).unwrap_or_default();
        Place::Line(file.clone(), line, before.chars().count() + 1)
    }

    fn syntax_fault(self, error: &TomlError, around: &Place) -> Fault {
        let place = self.place(error.span(), around);
        let message = format!("this is not TOML: {}", error.message().replace('\n', "; "));
        Fault { place, path: String::new(), message }
    }
}
