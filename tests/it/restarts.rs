//! A gateway that starts again knows every key at once, and checks them without argon2.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::ask::Ask;
use crate::support::crowd::crowd;
use crate::support::gateway::files::{command, copy, copy_into};
use crate::support::gateway::{FILE, Gateway, Key};
use crate::support::process::Process;
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};
use crate::support::wait::eventually;

/// A store with many keys. Minted once, through the admin API; each claim has a copy of its files.
struct Many {
    files: PathBuf,
    keys: Vec<Key>,
}

impl Many {
    fn mint() -> Self {
        let mut gateway = Gateway::start(&Setup::empty().log("level = \"warn\""));
        let keys = gateway.mint_many(COUNT);
        assert_eq!(argon2_runs(&gateway, "mint"), COUNT + 1);
        gateway.stop();
        // What is static is never dropped, so this has a place where the next run clears it away.
        let files = Path::new(env!("CARGO_TARGET_TMPDIR")).join("many-keys");
        drop(fs::remove_dir_all(&files));
        copy_into(gateway.directory(), &files);
        Self { files, keys }
    }

    fn copied() -> (TempDir, &'static [Key]) {
        let many = MANY.get_or_init(Self::mint);
        (copy(&many.files), &many.keys)
    }
}

static MANY: OnceLock<Many> = OnceLock::new();
const COUNT: usize = 100_000;

/// A gateway on such a store, and where it leads.
struct Stage {
    _upstream: Upstream,
    setup: Setup,
    gateway: Gateway,
}

impl Stage {
    /// Argon2 for callers is not throttled: here they all come from one address.
    fn start(files: TempDir, store_line: &str) -> Self {
        let upstream = Upstream::answering(|_| ok("ok"));
        let setup = Setup::to(upstream.address()).log("level = \"warn\"");
        let setup = setup.limits("failures_per_address = \"unlimited\"");
        let gateway = Gateway::start_in(files, &setup.clone().store(store_line));
        Self { _upstream: upstream, setup, gateway }
    }

    /// Shows each key once.
    #[track_caller]
    fn use_all(&self, keys: &[Key]) {
        let shares: Vec<&[Key]> = keys.chunks(keys.len().div_ceil(CONNECTIONS)).collect();
        let wrong = crowd(shares.len(), |number| {
            let mut client = self.gateway.client();
            let asks = shares[number].iter().map(|it| client.ask(&Ask::get("/").key(it)));
            asks.filter(|it| it.status != 200).count()
        });
        assert_eq!(wrong.iter().sum::<usize>(), 0, "keys that were not let in");
    }

    #[track_caller]
    fn stop_and_start(&mut self, store_line: &str) {
        self.gateway.stop();
        self.gateway.configure(&self.setup.clone().store(store_line));
        self.gateway.restart();
    }
}

const CONNECTIONS: usize = 32;

#[track_caller]
fn argon2_runs(gateway: &Gateway, purpose: &str) -> usize {
    let runs =
        gateway.metrics().count(&format!("keyward_argon2_runs_total{{purpose=\"{purpose}\"}}"));
    usize::try_from(runs).unwrap()
}

/// Makes the pepper that is there a retired one.
fn retire_the_pepper(files: &Path) {
    fs::rename(files.join("keyward.pepper"), files.join("old.pepper")).unwrap();
    fs::write(files.join("keyward.pepper"), *blake3::hash(b"another").as_bytes()).unwrap();
}

/// The store's peppers as `keyward store status` says: role, name, records.
#[track_caller]
fn peppers(files: &Path) -> Vec<(String, String, u64)> {
    let outcome = command(files, &["store", "status", "--config", FILE, "-o", "json"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.output);
    let end = outcome.output.rfind('}').unwrap() + 1;
    let status: Value = serde_json::from_str(&outcome.output[..end]).unwrap();
    let text = |it: &Value, name: &str| it[name].as_str().unwrap().to_owned();
    let peppers = status["peppers"].as_array().unwrap().iter();
    peppers
        .map(|it| (text(it, "role"), text(it, "name"), it["records"].as_u64().unwrap()))
        .collect()
}

/// How many tags in the store are under the pepper of that name.
fn tags_under(files: &Path, name: &str) -> usize {
    let path = files.join("keyward.db");
    let store = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let sql = "SELECT count(*) FROM records WHERE instr(sealed, CAST(?1 AS BLOB)) > 0";
    store.query_row(sql, [format!("\"tag\":\"{name}")], |it| it.get(0)).unwrap()
}

#[test]
fn a_restart_with_100_000_keys_is_soon_over_and_runs_no_argon2() {
    let (files, keys) = Many::copied();
    let mut stage = Stage::start(files, "");
    let starts = [(); 3].map(|()| {
        stage.gateway.stop();
        let start = Instant::now();
        stage.gateway.restart();
        start.elapsed()
    });
    eprintln!("ready with 100,000 keys after {starts:?}");
    assert!(starts.iter().min().unwrap() < &Duration::from_secs(20));
    assert_eq!(stage.gateway.metrics().count("keyward_key_entries"), COUNT as u64 + 1);
    stage.use_all(&keys[..10_000]);
    assert_eq!(argon2_runs(&stage.gateway, "verify"), 0);
    assert_eq!(stage.gateway.metrics().count("keyward_key_fills_total"), 0);
}

#[test]
fn a_new_pepper_costs_no_argon2_while_the_old_one_is_retired() {
    let (files, keys) = Many::copied();
    retire_the_pepper(files.path());
    let mut stage = Stage::start(files, "retired_pepper_files = [\"old.pepper\"]");
    let (used, unused) = (&keys[..10_000], &keys[50_000..51_000]);
    stage.use_all(used);
    assert_eq!(argon2_runs(&stage.gateway, "verify"), 0);

    // Everything is sealed under the new one; what was used has a new tag too, all else needs the
    // old one still.
    eventually("tags are written back", || {
        let peppers = peppers(stage.gateway.directory());
        let counts: Vec<_> = peppers.iter().map(|(role, _, count)| (&**role, *count)).collect();
        counts == [("current", COUNT as u64 + 1), ("retired", (COUNT - used.len()) as u64)]
    });

    // So the old one can go. What was used before is checked by its tag, all else once by argon2.
    fs::remove_file(stage.gateway.file("old.pepper")).unwrap();
    stage.stop_and_start("");
    stage.use_all(used);
    assert_eq!(argon2_runs(&stage.gateway, "verify"), 0);
    stage.use_all(unused);
    stage.use_all(unused);
    assert_eq!(argon2_runs(&stage.gateway, "verify"), unused.len());
    stage.use_all(used);
    assert_eq!(argon2_runs(&stage.gateway, "verify"), unused.len());
}

#[test]
fn without_its_pepper_a_store_waits_for_an_operator_to_vouch_for_it() {
    let (files, keys) = Many::copied();
    let path = files.path();
    fs::remove_file(path.join("keyward.pepper")).unwrap();
    let no_start = |needle: &str| {
        let outcome = Process::run(path, &["serve", "--config", FILE]);
        assert_eq!(outcome.code, Some(78), "{}", outcome.output);
        let last = outcome.output.lines().last().unwrap_or_default();
        assert!(last.contains(needle) && last.contains("keyward store accept"), "{last}");
    };
    no_start("is missing");
    fs::write(path.join("keyward.pepper"), *blake3::hash(b"another").as_bytes()).unwrap();
    no_start("another pepper");

    let asked = command(path, &["store", "accept", "--config", FILE]);
    assert_eq!(asked.code, Some(2), "{}", asked.output);
    assert!(asked.output.contains("--yes") && asked.output.contains("100001"), "{}", asked.output);
    no_start("another pepper");
    let accepted = command(path, &["store", "accept", "--config", FILE, "--yes"]);
    assert_eq!(accepted.code, Some(0), "{}", accepted.output);

    let mut stage = Stage::start(files, "");
    let (some, operators) = (&keys[..2_000], 1);
    stage.use_all(some);
    stage.use_all(some);
    assert_eq!(argon2_runs(&stage.gateway, "verify"), some.len() + operators);
    let current = peppers(stage.gateway.directory());
    let [(role, name, _)] = &current[..] else { panic!("{current:?}") };
    assert_eq!(role, "current");
    eventually("tags are written back", || {
        tags_under(stage.gateway.directory(), name) == some.len() + operators
    });
    stage.stop_and_start("");
    stage.use_all(some);
    assert_eq!(argon2_runs(&stage.gateway, "verify"), 0);
}

#[test]
fn what_was_revoked_under_an_old_pepper_stays_revoked_under_a_new_one() {
    let upstream = Upstream::answering(|_| ok("ok"));
    let setup = Setup::to(upstream.address());
    let mut gateway = Gateway::start(&setup);
    let [revoked, unseen, disabled, kept] =
        ["revoked", "unseen", "disabled", "kept"].map(|it| gateway.mint(it));
    gateway.revoke(&revoked.id);
    gateway.revoke(&unseen.id);
    gateway.patch(&disabled.id, &serde_json::json!({ "disabled": true }));
    let check = |gateway: &Gateway| {
        Ask::get("/").key(&revoked).to(gateway).assert_problem(401, "revoked_key");
        Ask::get("/").key(&disabled).to(gateway).assert_problem(401, "disabled_key");
        assert_eq!(Ask::get("/").key(&kept).to(gateway).status, 200);
        assert_eq!(gateway.show(&kept.id)["state"], "active");
    };
    check(&gateway);
    gateway.stop();
    retire_the_pepper(gateway.directory());
    gateway.configure(&setup.clone().store("retired_pepper_files = [\"old.pepper\"]"));
    gateway.restart();
    check(&gateway);
    let (_, name, _) = peppers(gateway.directory()).remove(0);
    eventually("tags are written back", || tags_under(gateway.directory(), &name) == 4);
    gateway.stop();
    gateway.configure(&setup);
    gateway.restart();
    check(&gateway);
    // Nobody runs argon2 for what opens nothing, and without a tag there is nothing else to tell
    // its secret by.
    Ask::get("/").key(&unseen).to(&gateway).assert_problem(401, "unknown_key");
    assert_eq!(argon2_runs(&gateway, "verify"), 0);
}
