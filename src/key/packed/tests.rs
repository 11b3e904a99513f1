//! Claims about packed records.

use std::sync::LazyLock;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;

use super::*;
use crate::key::argon2id::{Cost, Scratch, hash};
use crate::key::record::Permission;
use crate::key::seal::{Identity, Pepper, Peppers};
use crate::key::text::ApiKey;
use crate::rate::limits::{Mode, Setting};

fn peppers() -> Peppers {
    Peppers::new(Pepper::new([1; 32]), Vec::new())
}

fn store() -> Identity {
    Identity("a".to_owned())
}

fn sealed(record: &KeyRecord) -> Sealed {
    peppers().seal(&store(), record).unwrap()
}

/// The most usual record there is; made once, since argon2 takes its time.
fn usual() -> KeyRecord {
    static USUAL: LazyLock<KeyRecord> = LazyLock::new(mint);
    USUAL.clone()
}

fn mint() -> KeyRecord {
    let mut rng = StdRng::seed_from_u64(1);
    let key = ApiKey::mint(&"kw".parse().unwrap(), &mut rng);
    KeyRecord {
        id: key.id(),
        prefix: "kw".parse().unwrap(),
        last_digits: key.last_digits().to_owned(),
        name: "integration-0123456".parse().unwrap(),
        holder: Holder::Caller(Scope {
            scheme: "default".to_owned(),
            owner: Some("customer-012345".parse().unwrap()),
            ..Scope::default()
        }),
        created_at: Timestamp::from_micros(1_800_000_000_000_000),
        created_by: "4fUhqLnZ0a2R".to_owned(),
        expires_at: None,
        disabled: false,
        revoked_at: None,
        revision: 1,
        argon2id: hash(&key.digest(), Cost::default(), &mut rng, &mut Scratch::default()).unwrap(),
        tag: Some(peppers().tag(&key.digest())),
    }
}

fn packed(record: &KeyRecord) -> Packed {
    Packed::new(record, &sealed(record)).unwrap()
}

fn limited(routes: Option<&[&str]>, networks: Option<&[&str]>) -> Packed {
    let routes = routes.map(|it| it.iter().map(|it| (*it).to_owned()).collect());
    let allow_addresses = networks.map(|it| it.iter().map(|it| it.parse().unwrap()).collect());
    let scope = Scope { routes, allow_addresses, ..Scope::default() };
    packed(&KeyRecord { holder: Holder::Caller(scope), ..usual() })
}

fn with_limits(limits: Limits) -> KeyRecord {
    let mut record = usual();
    let Holder::Caller(scope) = &mut record.holder else { unreachable!() };
    scope.limits = limits;
    record
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_usual_record_takes_a_quarter_of_what_a_store_holds() {
    let record = usual();
    let packed = packed(&record);
    assert!(packed.0.len() <= 128, "{}", packed.0.len());
    assert!(packed.kept().is_none());
    let names = Names { name: "integration-0123456", owner: Some("customer-012345") };
    assert_eq!(packed.names(), Some(names));
    assert_eq!(packed.argon2id(), Some(record.argon2id));
    assert_eq!(packed.permissions(), None);
}

#[test]
fn routes_and_networks_are_read_where_they_stand() {
    let (any, one) = (limited(None, None), limited(Some(&["a", "bc"]), None));
    assert!(any.opens("a") && any.admits(address("10.0.0.1")));
    assert!(one.opens("a") && one.opens("bc") && one.admits(address("::1")));
    assert!(!one.opens("b") && !one.opens("") && !one.opens("abc"));
    let near = limited(Some(&["a"]), Some(&["10.0.0.0/8", "2001:db8::/32"]));
    assert!(near.admits(address("10.1.2.3")) && near.admits(address("2001:db8::1")));
    assert!(!near.admits(address("11.0.0.1")) && !near.admits(address("2001:db9::1")));
    let none = limited(Some(&[]), Some(&[]));
    assert!(!none.opens("a") && !none.admits(address("10.0.0.1")));
}

#[test]
fn what_is_said_of_limits_takes_a_few_bytes_and_comes_back() {
    let silent = packed(&usual()).0.len();
    for (rate, quota, max_in_flight, more) in [
        (Some("100/s"), None, None, 6),
        (Some("6000/min burst 9000 shadow"), None, None, 8),
        (None, Some("100000/day"), Some("50 shadow"), 8),
        (Some("unlimited"), Some("1000000/month shadow"), Some("unlimited"), 7),
    ] {
        let limits = Limits {
            rate: rate.map(|it| it.parse().unwrap()),
            quota: quota.map(|it| it.parse().unwrap()),
            max_in_flight: max_in_flight.map(|it| it.parse().unwrap()),
        };
        let record = with_limits(limits);
        let packed = packed(&record);
        assert!(packed.0.len() <= silent + more, "{rate:?}: {} bytes", packed.0.len() - silent);
        assert!(packed.kept().is_none());
        assert_eq!(packed.limits(), Some(("default", limits)));
        assert_eq!(packed.record(record.id, record.tag.clone()), Some(record));
    }
    assert_eq!(packed(&usual()).limits(), Some(("default", Limits::SILENT)));
    let scope = Scope { scheme: "partners".to_owned(), ..Scope::default() };
    let other = packed(&KeyRecord { holder: Holder::Caller(scope), ..usual() });
    assert_eq!(other.limits(), Some(("partners", Limits::SILENT)));
}

#[test]
fn nothing_opens_nothing() {
    let nothing = Packed::nothing();
    assert!(!nothing.opens("a") && !nothing.admits(address("10.0.0.1")));
    assert_eq!((nothing.names(), nothing.argon2id(), nothing.permissions()), (None, None, None));
    assert_eq!(nothing.record(usual().id, None), None);
}

#[test]
fn an_operators_record_comes_back() {
    let some: Permissions =
        [Permission::KeysRead, Permission::OperatorsManage].into_iter().collect();
    let record = KeyRecord { holder: Holder::Operator(some.clone()), ..usual() };
    let packed = packed(&record);
    assert_eq!((packed.permissions(), packed.limits()), (Some(some), None));
    assert_eq!(packed.record(record.id, record.tag.clone()), Some(record));
}

#[test]
fn what_another_version_wrote_is_kept_as_it_was() {
    let record = usual();
    let peppers = peppers();
    // A field that nobody here knows, and the known ones in another order.
    let mut body = serde_json::to_value(&record).unwrap();
    body["limits"] = json!(["100/s"]);
    let strange = peppers.seal_body(&store(), record.id, body.to_string().as_bytes());
    assert_eq!(peppers.open(&store(), record.id, &strange).unwrap(), record);
    let packed = Packed::new(&record, &strange).unwrap();
    assert_eq!(packed.kept(), Some(strange));
    assert_eq!(packed.record(record.id, record.tag.clone()), Some(record));
}

#[test]
fn records_say_the_same_unless_anything_but_their_tag_differs() {
    let record = usual();
    let as_it_is = packed(&record);
    assert!(as_it_is.says_the_same_as(&packed(&KeyRecord { tag: None, ..record.clone() })));
    let strange = |tag: Option<Tag>| {
        let record = KeyRecord { tag, ..record.clone() };
        let body = serde_json::to_string(&record).unwrap().replacen('{', "{\"limits\":1,", 1);
        Packed::new(&record, &peppers().seal_body(&store(), record.id, body.as_bytes())).unwrap()
    };
    let (tagged, untagged) = (strange(record.tag.clone()), strange(None));
    assert!(tagged.kept().is_some() && tagged.kept() != untagged.kept());
    assert!(tagged.says_the_same_as(&untagged) && tagged.says_the_same_as(&as_it_is));
    for other in [
        limited(Some(&[]), None),
        packed(&with_limits(Limits { rate: "1/s".parse().ok(), ..Limits::SILENT })),
        packed(&KeyRecord { disabled: true, ..record.clone() }),
        packed(&KeyRecord { expires_at: Some(Timestamp::from_micros(1)), ..record.clone() }),
        Packed::nothing(),
    ] {
        assert!(!as_it_is.says_the_same_as(&other) && !other.says_the_same_as(&tagged));
    }
}

fn text() -> impl Strategy<Value = String> {
    "[^\\p{Cc}]{1,40}"
}

fn network() -> impl Strategy<Value = IpNet> {
    (any::<IpAddr>(), 0..=32_u8).prop_map(|(ip, length)| IpNet::new(ip, length).unwrap())
}

fn setting<T: Clone + std::fmt::Debug + 'static>(
    limit: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Option<Setting<T>>> {
    let mode = prop_oneof![Just(Mode::Enforced), Just(Mode::Shadow)];
    let limited = (limit, mode).prop_map(|(limit, mode)| Some(Setting::Limited(limit, mode)));
    prop_oneof![Just(None), Just(Some(Setting::Unlimited)), limited]
}

prop_compose! {
    fn limits()(
        rate in setting((1..=u32::MAX, any::<bool>(), 1..=u32::MAX)),
        quota in setting((1..=1_000_000_000_000_000_u64, any::<bool>())),
        max_in_flight in setting(1..=u32::MAX),
    ) -> Limits {
        fn read<T, L: std::str::FromStr>(
            setting: Option<Setting<T>>,
            write: impl Fn(T) -> String,
        ) -> Option<Setting<L>> {
            Some(match setting? {
                Setting::Unlimited => Setting::Unlimited,
                Setting::Limited(limit, mode) => {
                    Setting::Limited(write(limit).parse().ok().unwrap(), mode)
                }
            })
        }
        Limits {
            rate: read(rate, |(count, is_slow, burst)| {
                format!("{count}/{} burst {burst}", if is_slow { "min" } else { "s" })
            }),
            quota: read(quota, |(count, is_long)| {
                format!("{count}/{}", if is_long { "month" } else { "day" })
            }),
            max_in_flight: read(max_in_flight, |it| it.to_string()),
        }
    }
}

prop_compose! {
    fn scope()(
        scheme in prop_oneof![Just("default".to_owned()), ".{0,20}"],
        owner in proptest::option::of(text()),
        routes in proptest::option::of(proptest::collection::vec(".{0,20}", 0..4)),
        allow_addresses in proptest::option::of(proptest::collection::vec(network(), 0..4)),
        limits in limits(),
        metadata in proptest::collection::btree_map(".{0,8}", any::<f64>(), 0..3),
    ) -> Scope {
        let metadata = metadata.into_iter().map(|(name, value)| (name, json!(value))).collect();
        let owner = owner.map(|it| it.parse().unwrap());
        Scope { scheme, owner, routes, allow_addresses, limits, metadata }
    }
}

prop_compose! {
    fn record()(
        scope in scope(),
        name in text(),
        last_digits in ".{0,4}",
        created_by in ".{0,20}",
        times in any::<(i64, Option<i64>, Option<i64>)>(),
        disabled in any::<bool>(),
        revision in any::<u64>(),
        argon2id in prop_oneof![Just(usual().argon2id), Just(usual().argon2id.replace("t=2", "t=3")), ".{0,40}"],
        tag in any::<bool>(),
    ) -> KeyRecord {
        KeyRecord {
            name: name.parse().unwrap(),
            last_digits,
            created_by,
            holder: Holder::Caller(scope),
            created_at: Timestamp::from_micros(times.0),
            expires_at: times.1.map(Timestamp::from_micros),
            revoked_at: times.2.map(Timestamp::from_micros),
            disabled,
            revision,
            argon2id,
            tag: usual().tag.filter(|_| tag),
            ..usual()
        }
    }
}

proptest! {
    #[test]
    fn what_is_offered_again_is_what_was_sealed(record in record()) {
        let sealed = sealed(&record);
        let packed = Packed::new(&record, &sealed).unwrap();
        let again = packed.record(record.id, record.tag).unwrap();
        let offered = packed.kept().unwrap_or_else(|| self::sealed(&again));
        prop_assert_eq!(offered, sealed);
    }
}
