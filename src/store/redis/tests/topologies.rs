//! The same claims wherever Redis is: behind Sentinels, in a Cluster, over TLS, for a user who may
//! do no more than is needed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::cluster::{Cluster, Replicas};
use super::opened;
use super::redis::{Redis, Terms, Tls};
use super::sentinel::Sentinel;
use crate::store::conformance::{Gateway, applied, id, mint, row};
use crate::store::endurance::Endurance;
use crate::store::{Beat, Held, Store, Synced};

/// Where a store is: what stands in `[store]`, but for its namespace.
pub struct Place {
    lines: String,
    directory: TempDir,
    stores: AtomicUsize,
}

impl Place {
    pub fn new(lines: &str) -> Self {
        Self {
            lines: lines.to_owned(),
            directory: tempfile::tempdir().unwrap(),
            stores: AtomicUsize::new(0),
        }
    }

    /// A store of its own, among others in the same place.
    pub async fn store(&self, name: &str) -> Store {
        let lines = format!("{}\nnamespace = {name:?}", self.lines);
        opened(&lines, &self.directory).await
    }

    /// The same, whatever others are called.
    async fn another(&self, claim: &str) -> Store {
        let number = self.stores.fetch_add(1, Ordering::Relaxed);
        self.store(&format!("{number}.{}", claim.get(..20).unwrap_or(claim))).await
    }
}

#[tokio::test]
async fn every_claim_holds_behind_sentinels() {
    let sentinel = Sentinel::start();
    let place = Place::new(&format!("url = {:?}", sentinel.url()));
    claims!(in_turn, |claim| place.another(claim));
}

#[tokio::test]
async fn every_claim_holds_in_a_cluster() {
    let cluster = Cluster::start();
    let place = Place::new(&format!("url = {:?}", cluster.url()));
    claims!(in_turn, |claim| place.another(claim));
}

#[tokio::test]
async fn every_claim_holds_over_tls_for_a_user_who_may_do_no_more_than_is_needed() {
    let files = Certified::new();
    let [rights, _in_a_cluster] = rights();
    let terms = Terms::default().tls(files.tls()).user(USER, PASSWORD, &rights);
    let server = Redis::start_with(&terms);
    let url = server.url();
    assert!(url.starts_with("rediss://"), "{url}");
    let place = files.place(&url);
    claims!(in_turn, |claim| place.another(claim));
}

#[tokio::test]
async fn every_claim_holds_in_a_cluster_over_tls_for_a_user_who_may_do_no_more_than_is_needed() {
    let files = Certified::new();
    let terms = Terms::default().tls(files.tls()).user(USER, PASSWORD, &rights().join(" "));
    let cluster = Cluster::start_with(&terms, Replicas::One);
    let place = files.place(&cluster.url());
    claims!(in_turn, |claim| place.another(claim));
    let strict =
        Place { lines: format!("{}\nwhen_unreachable = \"refuse\"", place.lines), ..place };
    assert_eq!(applied(&strict.store("strict").await, mint(1)).await.held, Held::Enough);
}

/// What the README says that a user needs, and what more in a cluster; but for the namespace: each
/// claim has one of its own.
fn rights() -> [String; 2] {
    let (_, needed) = README.split_once("An ACL user needs").unwrap();
    let mut quoted = needed.split('`').skip(1).step_by(2);
    let mut next = || quoted.next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    let (everywhere, in_a_cluster) = (next(), next());
    let everywhere = everywhere.strip_prefix("~{kw}:* ~{kw:* ").unwrap();
    assert!(everywhere.starts_with('+') && in_a_cluster.starts_with("+cluster|"));
    [format!("~{{* -@all {everywhere}"), in_a_cluster]
}

const README: &str = include_str!("../../../../README.md");
const USER: &str = "keyward";
const PASSWORD: &str = "s3cret";

#[tokio::test]
async fn a_failover_is_followed_and_what_every_replica_holds_is_there() {
    let sentinel = Sentinel::start();
    let place = Place::new(&format!("url = {:?}\nreplicas = 2", sentinel.url()));
    let store = place.store("a").await;
    assert_eq!(store.endurance(), Endurance::AllReplicas);
    let mut gateway = Gateway::new(&store, "a").await;
    gateway.catch_up(&store).await;
    let before = applied(&store, mint(1)).await;
    assert_eq!(before.held, Held::Enough);
    sentinel.fail_over();
    let after = loop {
        match store.ticket().await {
            Ok(ticket) if ticket.position.epoch != before.position.epoch => break ticket,
            Ok(_) | Err(_) => tokio::time::sleep(PAUSE).await,
        }
    };
    assert_eq!(after.position.number, 1);
    // Whoever followed the life before is told nothing of this one until they have found it.
    assert!(store.find(id(1)).await.is_err());
    let lost = loop {
        let (card, position) = (gateway.card.clone(), gateway.position.clone());
        match store.sync(Beat { card, position, heard: None }).await {
            Ok(Synced::Lost { epoch }) => break epoch,
            Ok(other) => panic!("{other:?}"),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    };
    assert_eq!(lost, after.position.epoch);
    assert_eq!(found(&store).await, Some(row(1)));
}

#[tokio::test]
async fn a_write_that_too_few_replicas_hold_is_said_to_be_so() {
    let sentinel = Sentinel::start();
    let place = Place::new(&format!("url = {:?}\nreplicas = 2", sentinel.url()));
    let store = place.store("a").await;
    store.answer_within(Duration::from_millis(200));
    let mut gateway = Gateway::new(&store, "a").await;
    gateway.catch_up(&store).await;
    sentinel.replicas()[0].freeze();
    assert_eq!(applied(&store, mint(1)).await.held, Held::TooFew);
    // Nobody renews a lease either.
    let card = gateway.card.clone();
    let beat = Beat { card, position: gateway.position.clone(), heard: None };
    let synced = store.sync(beat).await.unwrap();
    assert!(matches!(synced, Synced::Followed { held: Held::TooFew, .. }), "{synced:?}");
    for replica in sentinel.servers() {
        replica.thaw();
    }
}

#[tokio::test]
async fn a_slot_that_moves_is_followed() {
    let cluster = Cluster::start_with(&Terms::default(), Replicas::None);
    let place = Place::new(&format!("url = {:?}", cluster.url()));
    let store = place.store("a").await;
    // Another server may take its place, though none is there to do so yet.
    assert_eq!(store.endurance(), Endurance::SomeReplicas);
    let before = applied(&store, mint(1)).await;
    let key = "{a}:meta";
    let target = cluster.others_than(cluster.owner_of(key))[0];
    cluster.move_slot(key, target);
    // Another owner is another life; all that was there is there.
    assert_eq!(found(&store).await, Some(row(1)));
    let after = loop {
        match store.ticket().await {
            Ok(ticket) if ticket.position.epoch != before.position.epoch => break ticket,
            Ok(_) | Err(_) => tokio::time::sleep(PAUSE).await,
        }
    };
    assert_eq!((after.position.number, after.position.nonce), (1, before.position.nonce));
}

/// What is under the first id, once the store says so.
async fn found(store: &Store) -> Option<crate::store::Row> {
    loop {
        if let Ok(found) = store.find(id(1)).await {
            return found;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A certificate for 127.0.0.1 and the authority behind it.
struct Certified {
    directory: TempDir,
}

impl Certified {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut authority = rcgen::CertificateParams::new(vec![]).unwrap();
        authority.distinguished_name.push(rcgen::DnType::CommonName, "an authority of a test");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let ca = authority.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(authority, key);
        let own = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&own, &issuer).unwrap();
        let write = |name: &str, text: String| {
            std::fs::write(directory.path().join(name), text).unwrap();
        };
        write("ca.pem", ca.pem());
        write("cert.pem", certificate.pem());
        write("key.pem", own.serialize_pem());
        Self { directory }
    }

    /// What speaks TLS at `url`, to the user.
    fn place(&self, url: &str) -> Place {
        let password = self.directory.path().join("password");
        std::fs::write(&password, PASSWORD).unwrap();
        let ca = self.directory.path().join("ca.pem");
        Place::new(&format!(
            "url = {url:?}\nuser = {USER:?}\npassword_file = {password:?}\nca = {ca:?}"
        ))
    }

    fn tls(&self) -> Tls {
        let file = |name: &str| self.directory.path().join(name);
        Tls { certificate: file("cert.pem"), private_key: file("key.pem"), ca: file("ca.pem") }
    }
}

const PAUSE: Duration = Duration::from_millis(20);
