//! Claims about `[store]`.

use super::*;
use crate::config::{HostPort, Location, RedisPlace, RedisTransport, Replicas, Topology};

fn place(url: &str) -> RedisPlace {
    match config(&format!("store.url = '{url}'")).store.location {
        Location::Redis(place) => place,
        Location::Sqlite(path) => panic!("{}", path.display()),
    }
}

fn hosts(hosts: &[(&str, u16)]) -> Vec<HostPort> {
    hosts.iter().map(|(host, port)| HostPort { host: (*host).to_owned(), port: *port }).collect()
}

#[test]
fn a_redis_is_found_alone_by_sentinels_or_in_a_cluster() {
    let (plain, tls) = (RedisTransport::Plain, RedisTransport::Tls);
    let alone = |transport, hosts, database| RedisPlace {
        topology: Topology::Standalone,
        hosts,
        transport,
        database,
    };
    assert_eq!(place("redis://h"), alone(plain, hosts(&[("h", 6379)]), 0));
    assert_eq!(place("redis://10.0.0.1:7000/3"), alone(plain, hosts(&[("10.0.0.1", 7000)]), 3));
    assert_eq!(place("rediss://[::1]:7000/0"), alone(tls, hosts(&[("::1", 7000)]), 0));
    let sentinels = RedisPlace {
        topology: Topology::Sentinel("mymaster".to_owned()),
        ..alone(plain, hosts(&[("a", 26379), ("b", 9)]), 0)
    };
    assert_eq!(place("redis+sentinel://a,b:9/mymaster"), sentinels);
    let cluster = RedisPlace {
        topology: Topology::Cluster,
        ..alone(tls, hosts(&[("a", 1), ("b", 6379)]), 0)
    };
    assert_eq!(place("rediss+cluster://a:1,b"), cluster);
    assert_eq!(cluster.to_string(), "rediss+cluster://a:1,b:6379");
    assert_eq!(sentinels.to_string(), "redis+sentinel://a:26379,b:9/mymaster");
}

#[test]
fn what_is_no_address_is_refused_and_not_repeated() {
    let hosts = "expected hosts like \"h:6379\", separated by commas";
    for (url, expected) in [
        (
            "redis://:s3cret@h/0",
            "a password does not belong into an address: set store.user and store.password_file",
        ),
        ("redis:h", "expected \"//\" behind the scheme"),
        ("redis://", hosts),
        ("redis://h:0", hosts),
        ("redis://h:x", hosts),
        ("redis://[::1", hosts),
        ("redis://a,b/0", "one host, or \"redis+sentinel\" or \"redis+cluster\""),
        ("redis://h/x", "expected the number of a database behind the host"),
        ("redis://h?db=1", "an address has no parameters: each has a setting of its own"),
        (
            "redis+sentinel://h",
            "expected the primary's name behind the Sentinels, as in \"redis+sentinel://h1:26379,h2:26379/mymaster\"",
        ),
        ("redis+cluster://h/1", "a cluster has no databases: nothing goes behind its hosts"),
    ] {
        check_one(&format!("store.url = '{url}'"), expected);
    }
    let known = "expected \"sqlite:PATH\", \"redis://HOST\", \"redis+sentinel://HOSTS/NAME\" or \"redis+cluster://HOSTS\"";
    check_one("store.url = 'postgres://u:s3cret@h'", &format!("{known}, found \"postgres:…\""));
    for text in ["keyward.db", "sqlite:", "sqlite://keyward.db", "sqlite::memory:", "sqlite:data/"]
    {
        check_one(&format!("store.url = '{text}'"), &format!("{known}, found {text:?}"));
    }
}

#[test]
fn what_a_file_does_not_need_is_refused_for_it() {
    for name in ["user", "password_file", "ca"] {
        let faults = faults(&format!("store.{name} = 'x'"));
        assert!(faults.iter().any(|it| it.ends_with("an SQLite file needs none")), "{faults:?}");
    }
}

#[test]
fn a_user_has_a_password_and_an_authority_is_for_tls() {
    check(
        "store.url = 'redis://h'\nstore.user = 'kw'",
        &["keyward.toml:2:14: store.user: a user has a password: set store.password_file"],
    );
    check(
        "store.url = 'redis://h'\nstore.ca = 'ca.pem'",
        &["keyward.toml:2:12: store.ca: store.url speaks no TLS: begin it with \"rediss\""],
    );
    let good = config(
        "store.url = 'rediss://h'\nstore.user = 'kw'\nstore.password_file = 'p'\nstore.ca = 'c'",
    );
    assert_eq!(good.store.network.user.as_deref(), Some("kw"));
}

#[test]
fn replicas_are_all_or_a_number() {
    assert_eq!(config("").store.network.replicas, Replicas::Auto);
    assert_eq!(config("store.replicas = 'auto'").store.network.replicas, Replicas::Auto);
    assert_eq!(config("store.replicas = 2").store.network.replicas, Replicas::Number(2));
    check_one("store.replicas = 17", "expected \"auto\" or a number from 0 to 16, found 17");
    check_one("store.replicas = true", "expected \"auto\" or a number from 0 to 16, found true");
}

#[test]
fn a_namespace_stands_between_braces() {
    assert_eq!(config("store.namespace = 'a.b:c-1'").store.network.namespace, "a.b:c-1");
    let expected = "expected 1 to 32 letters, digits, \"-\", \"_\", \".\" or \":\"";
    check_one("store.namespace = '{x}'", &format!("{expected}, found \"{{x}}\""));
    check_one("store.namespace = ''", &format!("{expected}, found \"\""));
}
