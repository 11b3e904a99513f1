//! Holds a setting while it is read: its value if it was written, and where to complain.

use std::path::Path;

use crate::config::fault::{Fault, Place, Report};
use crate::config::raw::{Content, Node};
use crate::config::schema::join;

/// A setting, written or not.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    path: String,
    place: Place,
    node: Option<&'a Node>,
    around: Around<'a>,
}

/// What all settings share.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// Where faults go.
    pub report: &'a Report,
    /// Where relative paths start that nobody wrote: beside the file, so that writing down a
    /// default changes nothing.
    pub directory: &'a Path,
}

impl<'a> Field<'a> {
    /// The whole configuration.
    pub fn root(node: &'a Node, around: Around<'a>) -> Self {
        Self { path: String::new(), place: node.place.clone(), node: Some(node), around }
    }

    /// Which setting it is: `routes[1].upstream`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where it was written, or else the table that it belongs to.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Where relative paths start that nobody wrote.
    pub fn directory(&self) -> &'a Path {
        self.around.directory
    }

    /// Whether it was written.
    pub fn is_written(&self) -> bool {
        self.node.is_some()
    }

    /// A setting in this table.
    pub fn field(&self, key: &str) -> Self {
        let entry = self.node.and_then(Node::table).and_then(|it| it.get(key));
        let node = entry.map(|it| &it.node);
        let place = node.map_or(&self.place, |it| &it.place).clone();
        Self { path: join(&self.path, key), place, node, around: self.around }
    }

    /// A table in this table; what is there may be nothing else.
    pub fn section(&self, key: &str) -> Self {
        let field = self.field(key);
        field.is_table("a table");
        field
    }

    /// The tables of this list: `[[upstreams]]`.
    pub fn sections(&self) -> Vec<Self> {
        let expected = format!("tables under [[{}]]", self.path);
        let mut items = self.items(&expected).unwrap_or_default();
        items.retain(|it| it.is_table(&expected));
        items
    }

    /// Its value, or `default` where it was not written or is wrong.
    pub fn read<T>(&self, default: T, parse: impl Fn(&Node) -> Result<T, String>) -> T {
        self.node.and_then(|it| self.parse(it, parse)).unwrap_or(default)
    }

    /// Its value; that there is none is a fault.
    pub fn required<T>(&self, parse: impl Fn(&Node) -> Result<T, String>) -> Option<T> {
        if self.node.is_none() {
            self.fault("is missing");
        }
        self.node.and_then(|it| self.parse(it, parse))
    }

    /// The values of this list; those that are wrong are left out.
    pub fn list<T>(&self, parse: impl Fn(&Node) -> Result<T, String>) -> Vec<T> {
        self.each(parse).into_iter().filter_map(|(_field, value)| value).collect()
    }

    /// The values of this list; `None` where one is wrong.
    pub fn whole_list<T>(&self, parse: impl Fn(&Node) -> Result<T, String>) -> Option<Vec<T>> {
        self.each(parse).into_iter().map(|(_field, value)| value).collect()
    }

    /// The items of this list, `None` for what is wrong; a list that is none is one wrong item.
    pub fn each<T>(&self, parse: impl Fn(&Node) -> Result<T, String>) -> Vec<(Self, Option<T>)> {
        match self.items("a list like [\"…\", \"…\"]") {
            Some(items) => items.into_iter().map(|it| (it.clone(), it.required(&parse))).collect(),
            None => vec![(self.clone(), None)],
        }
    }

    /// Whether it was written as a text, and as this one.
    pub fn says(&self, word: &str) -> bool {
        self.node.and_then(Node::text) == Some(word)
    }

    /// Whether it was written, and not as an empty list.
    pub fn is_filled(&self) -> bool {
        self.node.is_some_and(|it| !matches!(&it.content, Content::List(it) if it.is_empty()))
    }

    /// Whether it was written as a table.
    pub fn holds_table(&self) -> bool {
        self.node.is_some_and(|it| it.table().is_some())
    }

    /// The settings of this table, whose names are anybody's; one that is none has none.
    pub fn entries(&self) -> Vec<(&'a str, Self)> {
        self.is_table("a table like { name = \"value\" }");
        let table = self.node.and_then(Node::table);
        table
            .into_iter()
            .flatten()
            .map(|(name, _entry)| (name.as_str(), self.field(name)))
            .collect()
    }

    /// Notes what is wrong with it.
    pub fn fault(&self, message: impl Into<String>) {
        self.around.report.fault(self.note(message.into()));
    }

    /// Notes what is seldom meant.
    pub fn warn(&self, message: impl Into<String>) {
        self.around.report.warn(self.note(message.into()));
    }

    /// The items, none where it was not written; `None`, and a fault, where it is no list.
    pub fn items(&self, expected: &str) -> Option<Vec<Self>> {
        let Some(node) = self.node else { return Some(Vec::new()) };
        let Content::List(nodes) = &node.content else {
            self.fault(format!("expected {expected}, {}", node.found()));
            return None;
        };
        Some(nodes.iter().enumerate().map(|(at, it)| self.item(at, it)).collect())
    }

    /// Whether it is a table, or was not written; anything else is a fault.
    pub fn is_table(&self, expected: &str) -> bool {
        let wrong = self.node.filter(|it| it.table().is_none());
        if let Some(node) = wrong {
            self.fault(format!("expected {expected}, {}", node.found()));
        }
        wrong.is_none()
    }

    fn note(&self, message: String) -> Fault {
        Fault { place: self.place.clone(), path: self.path.clone(), message }
    }

    fn item(&self, at: usize, node: &'a Node) -> Self {
        let path = format!("{}[{at}]", self.path);
        Self { path, place: node.place.clone(), node: Some(node), around: self.around }
    }

    fn parse<T>(&self, node: &Node, parse: impl Fn(&Node) -> Result<T, String>) -> Option<T> {
        parse(node).map_err(|message| self.fault(message)).ok()
    }
}
