//! Holds the shape of the source: floors, sizes, and words that have no place here.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

use std::fs;
use std::path::{Path, PathBuf};

/// The floors of `src/`, lowest first. A module may name only modules on lower floors,
/// so siblings on one floor never meet.
const FLOORS: &[&[&str]] = &[
    &["clock"],
    &["rate", "tasks"],
    &["key", "route"],
    &["config", "problem"],
    &["telemetry"],
    &["listener"],
    &["store"],
    &["gate", "upstream"],
    &["proxy", "admin"],
    &["server"],
    &["cli"],
];

/// Words that have no place in `src/`, where they may stand all the same, and why.
const BANNED: &[(&str, &[&str], &str)] = &[
    (
        "StatusCode",
        &["problem.rs", "proxy/exchange.rs", "telemetry/counters.rs", "cli/"],
        "refusals are rows; problem.rs alone builds them",
    ),
    (
        "use super::",
        &["tests.rs", "conformance", "/tests/"],
        "it could climb past the floors; name the path from the crate",
    ),
    ("pub(crate)", &[], "two visibilities: `pub` and nothing"),
    ("pub(super)", &[], "two visibilities: `pub` and nothing"),
    ("FIXME", &[], "mend it"),
    ("TODO", &[], "do it, or write an issue"),
    ("cfg(not(test))", &[], "production code does not know of tests"),
    ("println!", &[], "output goes to a handle that is given"),
];

#[test]
fn no_module_reaches_up_or_sideways() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let Some(module) = top_module(&path) else { continue };
        for name in mentions(&path, &text) {
            if name != module && floor(&module) <= floor(&name) {
                faults.push(format!("{}: names `crate::{name}`", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_lowest_floors_are_pure() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let Some(module) = top_module(&path) else { continue };
        let is_pure = module == "rate" || floor(&module) == 2 || floor(&module) == 0;
        if is_pure && production(&text).contains("async fn") {
            faults.push(format!("{}: has an async fn", path.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn lib_lists_the_floors_in_order() {
    let text = fs::read_to_string("src/lib.rs").unwrap();
    let listed: Vec<usize> = text
        .lines()
        .filter_map(|it| it.trim_start_matches("pub ").strip_prefix("mod "))
        .map(|it| floor(it.trim_end_matches(';')))
        .collect();
    assert!(listed.is_sorted(), "lib.rs lists its modules in another order than the floors");
}

#[test]
fn files_stay_under_400_lines() {
    let long = sources().into_iter().filter(|(_, text)| text.lines().count() > 400);
    let long: Vec<String> = long.map(|(path, _)| path.display().to_string()).collect();
    assert!(long.is_empty(), "over 400 lines: {}", long.join(", "));
}

#[test]
fn every_file_says_in_its_first_line_what_it_is_for() {
    let silent = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!") && !text.starts_with("#![doc = include_str!"));
    let silent: Vec<String> = silent.map(|(path, _)| path.display().to_string()).collect();
    assert!(silent.is_empty(), "without `//!`: {}", silent.join(", "));
}

#[test]
fn module_files_stand_beside_their_folders() {
    let misplaced: Vec<PathBuf> =
        sources().into_iter().map(|it| it.0).filter(|it| it.ends_with("mod.rs")).collect();
    assert!(misplaced.is_empty(), "{misplaced:?}");
}

#[test]
fn words_without_a_place_here_are_not_used() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let name = path.display().to_string();
        for (word, allowed, why) in BANNED {
            let is_allowed = allowed.iter().any(|it| name.contains(it));
            if !is_allowed && production(&text).contains(word) {
                faults.push(format!("{name}: `{word}`: {why}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn nothing_panics_outside_tests() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if path.to_string_lossy().contains("tests")
            || path.to_string_lossy().contains("conformance")
        {
            continue;
        }
        for (number, line) in production(&text).lines().enumerate() {
            let code = line.trim_start();
            let panics = [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!("];
            // A constant that is wrong does not compile.
            let is_const = code.contains("NonZero") && code.contains("::new(");
            if !is_const && !code.starts_with("//") && panics.iter().any(|it| code.contains(it)) {
                faults.push(format!("{}:{}: {code}", path.display(), number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Every source file with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    collect(Path::new("src"), &mut found);
    assert!(found.len() > 50, "the tests run in the project's folder");
    found
}

fn collect(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
}

/// A file without what is for tests alone: empty lines stand for the items after `#[cfg(test)]`.
fn production(text: &str) -> String {
    let (mut kept, mut passed_over) = (String::new(), None);
    for line in text.lines() {
        match passed_over {
            Some(indent) if ends_item(line, indent) => passed_over = None,
            Some(_) => {}
            None if line.trim_start() == "#[cfg(test)]" => passed_over = line.find('#'),
            None => kept.push_str(line),
        }
        kept.push('\n');
    }
    kept
}

/// Whether an item ends here as rustfmt writes it: as far to the left as it began.
fn ends_item(line: &str, indent: usize) -> bool {
    let code = line.get(indent..).unwrap_or_default();
    let is_before = [" ", "//", "#["].iter().any(|it| code.starts_with(it));
    !is_before && (code.starts_with('}') || code.ends_with(';') || code.ends_with('}'))
}

/// Every module at the crate's root that a file names: after `crate::`, or after as many `super::`
/// as lead there, alone or in braces.
fn mentions(path: &Path, text: &str) -> Vec<String> {
    let mut found: Vec<&str> = text.split("crate::").skip(1).flat_map(names_at).collect();
    let code = production(text);
    let to_root = "super::".repeat(depth(path));
    if !to_root.is_empty() {
        let climbs = code.match_indices(&to_root);
        // One further up there is nothing, one less is not the root.
        let climbs = climbs.filter(|(place, _)| !code[..*place].ends_with("::"));
        found.extend(climbs.flat_map(|(place, _)| names_at(&code[place + to_root.len()..])));
    }
    let is_module = |it: &&str| it.chars().all(|it| it.is_lowercase() || it == '_');
    found.into_iter().filter(is_module).map(str::to_owned).collect()
}

/// The first names of the paths that begin here: of one, or of each in braces.
fn names_at(text: &str) -> Vec<&str> {
    let name = |text: &'_ str| {
        let end = text.find(|it: char| !(it.is_alphanumeric() || it == '_'));
        end.unwrap_or(text.len())
    };
    let Some(group) = text.strip_prefix('{') else {
        return Some(&text[..name(text)]).filter(|it| !it.is_empty()).into_iter().collect();
    };
    let (mut names, mut depth, mut begins) = (Vec::new(), 0, true);
    for (place, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            it if begins && !it.is_whitespace() => {
                let rest = &group[place..];
                names.push(&rest[..name(rest)]);
                begins = false;
            }
            _ => {}
        }
    }
    names
}

/// How many `super` lead from a file to the crate's root.
fn depth(path: &Path) -> usize {
    let inside = path.strip_prefix("src").unwrap();
    if top_module(path).is_some() { inside.iter().count() } else { 0 }
}

fn floor(module: &str) -> usize {
    let found = FLOORS.iter().position(|floor| floor.contains(&module));
    found.unwrap_or_else(|| panic!("`{module}` stands on no floor: add it to FLOORS"))
}

/// `src/key/text.rs` and `src/key.rs` both belong to `key`; `lib.rs` and `main.rs` to none.
fn top_module(path: &Path) -> Option<String> {
    let first = path.strip_prefix("src").unwrap().iter().next().unwrap();
    let name = first.to_str().unwrap().trim_end_matches(".rs");
    (name != "lib" && name != "main").then(|| name.to_owned())
}

#[test]
fn only_the_item_after_cfg_test_is_passed_over() {
    let text = "a\n#[cfg(test)]\n#[expect(x)]\nmod tests;\nb\n#[cfg(test)]\nmod more {\n    c {\n    }\n}\nd\n    \
                #[cfg(test)]\n    fn e(\n        f: u8,\n    )\n    where\n        g: H,\n    {\n    }\n    i\n\
                #[cfg(test)]\nuse j::{\n    k,\n};\nl\n#[cfg(test)]\nconst M: u8 = 1;\nn\n";
    let kept: Vec<&str> =
        text.lines().filter(|it| production(text).lines().any(|kept| kept == *it)).collect();
    assert_eq!(kept, ["a", "b", "d", "    i", "l", "n"]);
}

#[test]
fn every_way_to_name_a_module_is_seen() {
    let named = |path: &str, text: &str| mentions(Path::new(path), text);
    assert_eq!(named("src/gate.rs", "use crate::key::text::KeyId;"), ["key"]);
    let group =
        "use crate::{\n    key::{self, text::KeyId},\n    rate, Thing,\n};\nuse std::{fs, io};";
    assert_eq!(named("src/gate.rs", group), ["key", "rate"]);
    assert_eq!(named("src/gate.rs", "super::proxy::serve()"), ["proxy"]);
    assert_eq!(named("src/gate/entries.rs", "super::super::{proxy, admin::x}"), ["proxy", "admin"]);
    assert!(named("src/gate/entries.rs", "super::verify::x(), super::Gate").is_empty());
}
