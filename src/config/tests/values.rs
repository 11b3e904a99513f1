//! Claims about single values.

use super::*;

#[test]
fn a_value_out_of_bounds_is_told_its_bounds() {
    check_one(
        "gateway.max_header_bytes = '4KB'",
        "expected a size like \"512B\", \"32KiB\" or \"19MiB\", found \"4KB\"",
    );
    check_one("gateway.max_header_bytes = '1KiB'", "expected 4KiB to 1MiB, found \"1KiB\"");
    check_one("gateway.max_uri_bytes = '64KiB'", "expected 256B to 65534B, found \"64KiB\"");
    check_one("gateway.workers = 0", "expected \"auto\" or a number from 1 to 1024, found 0");
    check_one("gateway.max_headers = -1", "expected a number from 1 to 10000, found -1");
    check_one("gateway.idle_timeout = '0s'", "expected at least 1ms, found \"0s\"");
    check_one("gateway.idle_timeout = '9000h'", "expected at most 8760h, found \"9000h\"");
    check_one("gateway.accept_bearer = 'yes'", "expected true or false, found \"yes\"");
    check_one("store.lease = '199ms'", "expected at least 200ms, found \"199ms\"");
    check_one("store.lease = '30001ms'", "expected at most 30s, found \"30001ms\"");
    check_one("keys.argon2.memory = '65MiB'", "expected 8KiB to 64MiB, found \"65MiB\"");
    check_one("keys.argon2.memory = '20000B'", "expected whole KiB, found \"20000B\"");
    check_one("keys.argon2.iterations = 11", "expected a number from 1 to 10, found 11");
    check_one(
        "store.max_keys_in_memory = 1.5",
        "expected a number from 1 to 4294967295, found a number with a fraction",
    );
    assert!(faults("gateway.drain_delay = '0s'\ngateway.drain_timeout = '0s'").is_empty());
}

#[test]
fn a_log_level_with_a_typo_is_not_taken_for_a_module() {
    for text in ["inof", "", "keyward", "info,", "keyward=loud", "debug,inof"] {
        let actual = faults(&format!("log.level = '{text}'"));
        assert_eq!(actual.len(), 1, "{text:?}");
    }
    for text in ["info", "OFF", "keyward=debug", "info,keyward::gate=trace,hyper=off"] {
        assert_eq!(config(&format!("log.level = '{text}'")).log.level, text);
    }
}

#[test]
fn a_key_cannot_be_shown_where_something_else_is() {
    check_item(
        "gateway.key_headers = ['Host']",
        "\"host\" has a meaning of its own and cannot carry a key",
    );
    check_item(
        "gateway.key_headers = ['x_keyward-key-id']",
        "\"x_keyward-key-id\" has a meaning of its own and cannot carry a key",
    );
    check_item(
        "gateway.key_headers = ['authorization']",
        "\"authorization\" carries other credentials too: set gateway.accept_bearer = true",
    );
    check_item(
        "gateway.key_headers = ['a b']",
        "expected the name of a header like \"api-key\", found \"a b\"",
    );
    check_one(
        "gateway.key_headers = []",
        "expected at least one header: without one nobody can show a key",
    );
    check(
        "gateway.key_headers = ['a', 'A']",
        &["keyward.toml:1:29: gateway.key_headers[1]: \"a\" is named twice"],
    );
}

#[test]
fn no_file_serves_two_ends() {
    check(
        "store.retired_pepper_files = ['keyward.pepper']",
        &["keyward.toml:1:31: store.retired_pepper_files[0]: the same file as store.pepper_file"],
    );
    check_one("admin.operator_token_file = 'keyward.db'", "the same file as store.url");
}

#[test]
fn the_prefix_of_operators_is_not_for_keys() {
    check_one("keys.prefix = 'kwop'", "\"kwop\" is the prefix of operators' tokens");
    check_one(
        "keys.prefix = 'K'",
        "expected 2 to 12 characters: a lower-case letter, then lower-case letters and digits, found \"K\"",
    );
}

#[test]
fn a_weak_argon2_is_warned_of() {
    let loaded = Written::new("keys.argon2 = { memory = '8KiB' }").load(&[], &[]).unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    assert!(
        loaded.warnings[0].contains("keyward.toml:1:15: keys.argon2: weaker than OWASP's minimum")
    );
    assert!(
        Written::new("keys.argon2 = { memory = '64MiB' }")
            .load(&[], &[])
            .unwrap()
            .warnings
            .is_empty()
    );
}

#[test]
fn every_known_setting_is_read() {
    for path in schema::settable() {
        let actual = faults(&format!("{path} = 0.5"));
        assert!(
            actual.iter().any(|it| it.contains(&format!(": {path}: expected"))),
            "{path}: {actual:?}"
        );
    }
    for (section, around) in [("upstreams", UPSTREAM), ("routes", ""), ("schemes", "")] {
        let kind = format!("{section}[]");
        for key in schema::section(&kind).unwrap().known {
            let actual = faults(&format!("[[{section}]]\n{key} = 0.5\n{around}"));
            assert!(
                actual.iter().any(|it| it.contains(&format!(" {section}[0].{key}: "))),
                "{key}: {actual:?}"
            );
        }
    }
    for kind in ["health", "ejection", "endpoints[]"] {
        for key in schema::section(&format!("upstreams[].{kind}")).unwrap().known {
            let field = kind.replace("[]", "");
            let table = format!("{{ {key} = 0.5 }}");
            let value = if kind == field { table } else { format!("[{table}]") };
            let actual = faults(&format!("[[upstreams]]\n{field} = {value}\n"));
            let path = format!(" upstreams[0].{}.{key}: expected", kind.replace("[]", "[0]"));
            assert!(actual.iter().any(|it| it.contains(&path)), "{path}: {actual:?}");
        }
    }
}
