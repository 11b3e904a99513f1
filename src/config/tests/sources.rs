//! Claims about where settings come from.

use super::*;
use crate::config::{Bearer, Location, Workers};

#[test]
fn a_flag_goes_before_the_environment_and_that_before_the_file() {
    let written = Written::new(
        "gateway.workers = 1\ngateway.max_headers = 1\nkeys.argon2 = { queue = 1, threads = 2 }",
    );
    let sets = ["gateway.workers=3", "keys.argon2.queue=3", "log.level=keyward=debug"];
    let variables = [
        ("KEYWARD_GATEWAY__WORKERS", "2"),
        ("KEYWARD_GATEWAY__MAX_HEADERS", "2"),
        ("KEYWARD_KEYS__ARGON2__QUEUE", "2"),
    ];
    let config = written.load(&sets, &variables).unwrap().config;
    assert_eq!(config.gateway.workers, Workers::Count(3.try_into().unwrap()));
    assert_eq!(config.gateway.head.count_max, 2);
    assert_eq!((config.keys.argon2_queue.get(), config.keys.argon2_threads.get()), (3, 2));
    assert_eq!(config.log.level, "keyward=debug");
}

#[test]
fn values_from_outside_need_no_quotes() {
    let variables = [
        ("KEYWARD_GATEWAY__LISTEN", "0.0.0.0:1, [::]:2"),
        ("KEYWARD_ADMIN__LISTEN", ""),
        ("KEYWARD_GATEWAY__KEY_HEADERS", "[\"api-key\", \"x-api-key\"]"),
        ("KEYWARD_GATEWAY__ACCEPT_BEARER", "true"),
    ];
    let config =
        load_with(None, &["keys.argon2={ memory = \"8KiB\" }"], &variables).unwrap().config;
    assert_eq!(config.gateway.listen, ["0.0.0.0:1".parse().unwrap(), "[::]:2".parse().unwrap()]);
    assert_eq!(config.admin.listen, []);
    assert_eq!(config.gateway.key_headers, ["api-key", "x-api-key"]);
    assert_eq!(config.gateway.bearer, Bearer::Accepted);
    assert_eq!((config.keys.argon2.memory_kib, config.keys.argon2.iterations), (8, 2));
}

#[test]
fn faults_from_outside_name_what_said_so() {
    let sets =
        ["gateway.lissten=1", "store.lease", "routes=1", "limits.rate=1/h", "store.lease=1ms"];
    let variables = [
        ("KEYWARD_GATEWAY__LISSTEN", "1"),
        ("KEYWARD_STORE_URL", "x"),
        ("KEYWARD_ADMIN_TOKENS", "x"),
        ("KEYWARD_LOG__FORMAT", "xml"),
    ];
    let actual = outside_faults("log.access = 1", &sets, &variables);
    let expected = [
        "keyward.toml:1:14: log.access: expected true or false, found 1",
        "KEYWARD_ADMIN_TOKENS: admin_tokens: unknown setting; did you mean \"KEYWARD_ADMIN_TOKEN\"?",
        "KEYWARD_GATEWAY__LISSTEN: gateway.lissten: unknown setting; did you mean \"KEYWARD_GATEWAY__LISTEN\"?",
        "KEYWARD_LOG__FORMAT: log.format: expected \"auto\" or \"text\" or \"json\", found \"xml\"",
        "KEYWARD_STORE_URL: store_url: unknown setting; did you mean \"KEYWARD_STORE__URL\"?",
        "--set gateway.lissten: gateway.lissten: unknown setting; did you mean \"gateway.listen\"?",
        "--set limits.rate: limits.rate: expected a rate like \"100/s\", \"6000/min\" or \"100/s burst 200\", with numbers above 0, or \"unlimited\"; found \"1/h\"",
        "--set routes: routes: can only be written in the file, under [[routes]]",
        "--set store.lease: expected a setting and its value, like store.lease=5s",
        "--set store.lease: store.lease: expected at least 200ms, found \"1ms\"",
    ];
    assert_eq!(actual, expected);
}

#[test]
fn what_the_command_line_or_kubernetes_reads_is_let_pass() {
    let names = [
        "ADMIN_URL",
        "ADMIN_TOKEN",
        "ADMIN_TOKEN_FILE",
        "CONFIG",
        "SERVICE_HOST",
        "SERVICE_PORT_HTTP",
        "PORT",
        "PORT_8080_TCP_ADDR",
    ];
    let names = names.map(|it| format!("KEYWARD_{it}"));
    let variables: Vec<_> =
        names.iter().map(|it| (it.as_str(), "x")).chain([("PATH", "x")]).collect();
    assert!(load_with(None, &[], &variables).is_ok());
}

#[test]
fn what_nobody_reads_is_not_let_pass() {
    let variables = [
        ("KEYWARD_LOG", "inof"),
        ("KEYWARD_LOG__LEVEL", "debug"),
        ("KEYWARD_STORE", "{ lease = \"1s\" }"),
    ];
    let expected = ["KEYWARD_LOG: log: is a table of settings, found \"inof\""];
    assert_eq!(outside_faults("", &[], &variables), expected);
}

#[test]
fn relative_paths_start_at_what_names_them() {
    let written =
        Written::new("store.url = 'sqlite:data/a.db'\nadmin.operator_token_file = '/run/token'");
    let sets = ["store.retired_pepper_files=[\"old.pepper\"]"];
    let config = written.load(&sets, &[("KEYWARD_STORE__PEPPER_FILE", "b.pepper")]).unwrap().config;
    assert_eq!(config.store.location, Location::Sqlite(written.path("data/a.db")));
    assert_eq!(config.admin.operator_token_file, Path::new("/run/token"));
    assert_eq!(config.store.pepper_file, Path::new("b.pepper"));
    assert_eq!(config.store.retired_pepper_files, [Path::new("old.pepper")]);
}

#[test]
fn a_default_path_starts_where_it_would_if_it_were_written() {
    let written = Written::new("");
    let config = written.load(&[], &[]).unwrap().config;
    assert_eq!(config.store.pepper_file, written.path("keyward.pepper"));
    assert_eq!(
        load_with(None, &[], &[]).unwrap().config.store.pepper_file,
        Path::new("keyward.pepper")
    );
}
