//! Decides where settings come from: flag, environment, file, default, in this order.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::config::Config;
use crate::config::check::check;
use crate::config::fault::{Fault, Faults, Place, Report};
use crate::config::nearest::nearest;
use crate::config::raw::{Content, Node};
use crate::config::reader::{Around, Field};
use crate::config::schema;

/// A configuration without faults.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What was told.
    pub config: Config,
    /// What is seldom meant: one line each, with its place.
    pub warnings: Vec<String>,
}

/// Reads and checks everything. `sets` are the arguments of `--set`, like `store.lease=5s`.
pub fn load(
    file: Option<&Path>,
    sets: &[String],
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Loaded, Faults> {
    let mut root = file.map_or_else(|| Ok(Node::empty(Place::Nowhere)), read)?;
    let report = Report::default();
    for (name, value) in environment {
        apply_variable(&mut root, &name, &value).unwrap_or_else(|it| report.fault(it));
    }
    for set in sets {
        apply_set(&mut root, set).unwrap_or_else(|it| report.fault(it));
    }
    schema::inspect(&root, &report);
    let directory = root.place.directory();
    let around = Around { report: &report, directory: &directory };
    let config = check(&Field::root(&root, around));
    Ok(Loaded { config, warnings: report.into_result()? })
}

fn read(file: &Path) -> Result<Node, Faults> {
    let file: Arc<Path> = file.into();
    let text = fs::read_to_string(&file).map_err(|error| {
        let place = Place::File(file.clone());
        Fault { place, path: String::new(), message: format!("cannot be read: {error}") }
    })?;
    Ok(Node::from_toml(&file, &text)?)
}

fn apply_set(root: &mut Node, set: &str) -> Result<(), Fault> {
    let Some((path, text)) = set.split_once('=') else {
        let place = Place::Flag(set.to_owned());
        let message = "expected a setting and its value, like store.lease=5s".to_owned();
        return Err(Fault { place, path: String::new(), message });
    };
    let path = path.trim();
    let suggest = || nearest(path, schema::settable());
    apply(root, &Outside { place: Place::Flag(path.to_owned()), path, text }, suggest)
}

fn apply_variable(root: &mut Node, name: &OsStr, value: &OsStr) -> Result<(), Fault> {
    let name = name.to_string_lossy();
    let Some(rest) = name.strip_prefix(PREFIX).filter(|it| !is_of_others(it)) else {
        return Ok(());
    };
    let place = Place::Environment(name.clone().into_owned());
    let path = rest.replace("__", ".").to_ascii_lowercase();
    let Some(text) = value.to_str() else {
        return Err(Fault { place, path, message: "is not UTF-8".to_owned() });
    };
    let suggest = || {
        let names = schema::settable().map(|it| it.replace('.', "__").to_ascii_uppercase());
        let names = names.chain(COMMAND_LINE.iter().map(ToString::to_string));
        nearest(rest, names).map(|it| format!("{PREFIX}{it}"))
    };
    apply(root, &Outside { place, path: &path, text }, suggest)
}

/// A setting from outside the file.
struct Outside<'a> {
    place: Place,
    path: &'a str,
    text: &'a str,
}

fn apply(
    root: &mut Node,
    outside: &Outside<'_>,
    suggest: impl Fn() -> Option<String>,
) -> Result<(), Fault> {
    let path: Vec<String> = outside.path.split('.').map(str::to_owned).collect();
    let fault = |message| {
        Err(Fault { place: outside.place.clone(), path: outside.path.to_owned(), message })
    };
    if let Some(tables) = TABLES.iter().find(|it| outside.path.starts_with(**it)) {
        return fault(format!("can only be written in the file, under [[{tables}]]"));
    }
    if !schema::is_known(&path) {
        return fault(format!("unknown setting{}", schema::suggestion(suggest())));
    }
    let value = value(outside);
    if schema::is_table(outside.path) && value.table().is_none() {
        return fault(format!("is a table of settings, {}", value.found()));
    }
    root.set(&path, value);
    Ok(())
}

/// Where a list is expected, text is a list: `a,b`.
fn value(outside: &Outside<'_>) -> Node {
    let node = Node::from_outside(outside.place.clone(), outside.text);
    let Some(text) = node.text().filter(|_| schema::is_list(outside.path)) else { return node };
    let items = text.split(',').map(str::trim).filter(|it| !it.is_empty());
    let items =
        items.map(|it| Node { place: node.place.clone(), content: Content::Text(it.to_owned()) });
    Node { place: node.place.clone(), content: Content::List(items.collect()) }
}

/// What the command line reads itself, and what Kubernetes sets in every container beside a
/// service named `keyward`.
fn is_of_others(name: &str) -> bool {
    let is_service = name == "SERVICE_HOST" || name.starts_with("SERVICE_PORT");
    let is_port = name == "PORT" || name.starts_with("PORT_");
    COMMAND_LINE.contains(&name) || is_service || is_port
}

const PREFIX: &str = "KEYWARD_";
const COMMAND_LINE: [&str; 5] =
    ["ADMIN_CA", "ADMIN_URL", "ADMIN_TOKEN", "ADMIN_TOKEN_FILE", "CONFIG"];
const TABLES: [&str; 3] = ["schemes", "upstreams", "routes"];
