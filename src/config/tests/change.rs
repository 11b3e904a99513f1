//! Claims about what can be changed while the gateway runs.

use std::fs;

use super::Written;
use crate::config::Config;
use crate::config::change::{Changes, change};

#[track_caller]
fn check(before: &str, after: &str, applied: &[&str], waits: &[&str]) -> Config {
    let written = Written::new(before);
    let now = written.load(&[], &[]).unwrap().config;
    fs::write(written.path("keyward.toml"), after).unwrap();
    let wanted = written.load(&[], &[]).unwrap().config;
    let (settled, changes) = change(&now, wanted.clone());
    let owned = |it: &[&str]| it.iter().map(|it| (*it).to_owned()).collect();
    let expected = Changes { applied: owned(applied), waits_for_restart: owned(waits) };
    assert_eq!(changes, expected);
    // What waits is still to be had, and nothing else.
    assert_eq!(settled == wanted, waits.is_empty());
    let (_settled, again) = change(&settled, wanted);
    assert_eq!(again.applied, Vec::<String>::new());
    assert_eq!(again.waits_for_restart, expected.waits_for_restart);
    settled
}

const TWO: &str = "[[upstreams]]\nname = 'a'\nendpoints = ['http://127.0.0.1:1']\n\
                   [[upstreams]]\nname = 'b'\nendpoints = ['http://127.0.0.1:2']\n\
                   [[routes]]\nname = 'x'\npath = '/x/'\nupstream = 'a'\n\
                   [[routes]]\nname = 'y'\npath = '/y/'\nupstream = 'b'\n";

#[test]
fn nothing_changes_what_is_the_same() {
    check(TWO, TWO, &[], &[]);
}

#[test]
fn routes_and_upstreams_go_by_their_names() {
    check(TWO, &TWO.replace("127.0.0.1:2", "127.0.0.1:3"), &["upstreams.b"], &[]);
    check(TWO, &TWO.replace("'/y/'", "'/z/'"), &["routes.y"], &[]);
    check(TWO, &TWO.replace("name = 'x'", "name = 'w'"), &["routes.w", "routes.x"], &[]);
    let swapped = "[[upstreams]]\nname = 'b'\nendpoints = ['http://127.0.0.1:2']\n\
                   [[upstreams]]\nname = 'a'\nendpoints = ['http://127.0.0.1:1']\n\
                   [[routes]]\nname = 'y'\npath = '/y/'\nupstream = 'b'\n\
                   [[routes]]\nname = 'x'\npath = '/x/'\nupstream = 'a'\n";
    let settled = check(TWO, swapped, &[], &[]);
    assert_eq!(settled.upstreams[settled.routes[1].upstream].name, "a");
    check(TWO, "", &["upstreams.a", "upstreams.b", "routes.x", "routes.y"], &[]);
}

#[test]
fn what_needs_a_restart_waits_and_the_rest_does_not() {
    let after = format!(
        "gateway.listen = ['127.0.0.1:9']\ngateway.max_headers = 50\nadmin.hosts = ['admin.internal']\n\
         store.lease = '3s'\nlog.access = true\nlimits.failures_per_address = '1/s'\n{TWO}"
    );
    check(
        TWO,
        &after,
        &["admin.hosts", "limits.failures_per_address"],
        &["gateway.listen", "gateway.max_headers", "log.access", "store.lease"],
    );
}

#[test]
fn who_speaks_tls_may_show_others_and_who_does_not_has_to_begin_anew() {
    let with = |name: &str| {
        format!(
            "[gateway]\nlisten_tls = ['127.0.0.1:8443']\n\
             certificates = [{{ certificate = '{name}.pem', private_key = '{name}.key' }}]\n"
        )
    };
    check(&with("a"), &with("b"), &["gateway.certificates"], &[]);
    check("", &with("a"), &[], &["gateway.listen_tls", "gateway.certificates"]);
}

const SCHEMES: &str = "[[schemes]]\nname = 'a'\nprefix = 'aa'\nrate = '1/s'\n\
                       [[schemes]]\nname = 'b'\nprefix = 'bb'\n";

#[test]
fn limits_change_at_once_but_for_who_counts_them() {
    let after = "[limits]\nrate = '5/s'\nquota = '5/day'\nmax_in_flight = 5\nscope = 'gateway'\n\
                 failures_per_address = '1/s'\nx_ratelimit_headers = true\n";
    let all = [
        "limits.rate",
        "limits.quota",
        "limits.max_in_flight",
        "limits.failures_per_address",
        "limits.x_ratelimit_headers",
    ];
    check("", after, &all, &["limits.scope"]);
    check(SCHEMES, &SCHEMES.replace("1/s", "2/s"), &["schemes.a"], &[]);
    check(SCHEMES, &SCHEMES.replace("rate = '1/s'\n", ""), &["schemes.a"], &[]);
    check(TWO, &format!("{TWO}rate = '5/s'\n"), &["routes.y"], &[]);
    check(TWO, &format!("{TWO}cost = 3\n"), &["routes.y"], &[]);
}

#[test]
fn schemes_come_and_go_at_once_where_no_bearer_token_has_to_be_told_apart() {
    check("", SCHEMES, &["schemes.a", "schemes.b"], &[]);
    check(SCHEMES, "", &["schemes.a", "schemes.b"], &[]);
    check(SCHEMES, &SCHEMES.replace("'bb'", "'cc'"), &["schemes.b"], &[]);
    // Until the restart what begins with "kw" is still of the scheme "default".
    let taken = "keys.prefix = 'xx'\n[[schemes]]\nname = 'a'\nprefix = 'kw'\n";
    check("", taken, &[], &["keys.prefix", "schemes.a"]);
}

#[test]
fn a_prefix_of_bearer_tokens_waits_and_the_limits_beside_it_do_not() {
    let bearer = "[gateway]\naccept_bearer = true\n";
    let before = format!("{bearer}{SCHEMES}");
    check(bearer, &before, &[], &["schemes.a", "schemes.b"]);
    let after = before.replace("'aa'", "'cc'").replace("1/s", "2/s");
    let settled = check(&before, &after, &["schemes.a"], &["schemes.a.prefix"]);
    assert_eq!(settled.schemes[0].prefix.as_str(), "aa");
    assert_eq!(settled.schemes[0].limits.rate, "2/s".parse().ok());
    check(&before, bearer, &["schemes.a", "schemes.b"], &[]);
}
