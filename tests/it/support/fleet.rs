//! Many gateways on one store, those who operate them, and those who ask them without end; all of
//! it is noted in one history.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use crate::support::faults::Faults;
use crate::support::gateway::Gateway;
use crate::support::history::{History, Recorder};
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::wait::eventually;
use asker::{Asker, Seen};
use operator::Operator;
use traffic::{Keys, Traffic};

pub mod asker;
pub mod operator;
pub mod traffic;

/// What a fleet is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    gateways: usize,
    admins: Admins,
    url: String,
    /// Where each process has one of its own.
    urls: Vec<String>,
    /// What each process sees as the time of day, as words before its command.
    ways: Vec<Vec<String>>,
    /// The store's address, where each process is to have a network of its own to it.
    behind: Option<SocketAddr>,
    lines: Vec<String>,
}

/// Who takes operators' calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admins {
    /// The gateways.
    Gateways,
    /// A process that serves nobody else, and the gateways.
    Node,
}

/// All its processes, and an upstream. They end when this is dropped.
#[derive(Debug)]
pub struct Fleet {
    gateways: Vec<Gateway>,
    node: Option<Gateway>,
    networks: Vec<Faults>,
    ways: Vec<Vec<String>>,
    recorder: Recorder,
    seen: Arc<Seen>,
    _upstream: Upstream,
    /// Last, so that it outlives the processes.
    _files: TempDir,
}

impl Plan {
    /// So many gateways on the store with this URL.
    pub fn of(gateways: usize, url: &str) -> Self {
        let (url, admins, lines) = (url.to_owned(), Admins::Gateways, Vec::new());
        let (urls, ways) = (Vec::new(), Vec::new());
        Self { gateways, admins, url, urls, ways, behind: None, lines }
    }

    /// With a URL for each process; the node's comes last.
    pub fn urls(self, urls: Vec<String>) -> Self {
        Self { urls, ..self }
    }

    /// With words before the command of each process, the node's last.
    pub fn ways(self, ways: Vec<Vec<String>>) -> Self {
        Self { ways, ..self }
    }

    /// With these for operators.
    pub fn admins(self, admins: Admins) -> Self {
        Self { admins, ..self }
    }

    /// With a network for each process in front of the store, whose address stands in the URL.
    pub fn through_networks(self, store: SocketAddr) -> Self {
        Self { behind: Some(store), ..self }
    }

    /// With a line more in `[store]`.
    pub fn store(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    fn networks(&self) -> Vec<Faults> {
        let count = self.gateways + usize::from(self.admins == Admins::Node);
        let store = self.behind.into_iter().cycle();
        store.take(count).map(Faults::before).collect()
    }

    /// How a process is set up; it has the network with its number.
    fn setup(&self, upstream: SocketAddr, pepper: &Path, placed: &Placed<'_>) -> Setup {
        let Placed { place, network } = *placed;
        let mut url = self.urls.get(place).unwrap_or(&self.url).clone();
        if let (Some(store), Some(network)) = (self.behind, network) {
            url = url.replace(&store.to_string(), &network.address().to_string());
        }
        let setup = Setup::to(upstream).store(&format!("url = {url:?}"));
        let setup = setup.store(&format!("pepper_file = {:?}", pepper.display().to_string()));
        self.lines.iter().fold(setup, |setup, line| setup.store(line))
    }
}

impl Fleet {
    /// Starts one, and waits until each of its processes is ready.
    #[track_caller]
    pub fn start(plan: &Plan) -> Self {
        let files = tempfile::tempdir().unwrap();
        let pepper = files.path().join("fleet.pepper");
        make_pepper(&pepper);
        let (seen, networks) = (Arc::new(Seen::by(plan.gateways)), plan.networks());
        let upstream = Seen::upstream(&seen);
        let start = |place: usize, first: Option<&Gateway>, lines: &[&str]| {
            let placed = Placed { place, network: networks.get(place) };
            let setup = plan.setup(upstream.address(), &pepper, &placed);
            let setup = lines.iter().fold(setup, |setup, line| setup.gateway(line));
            start_after(first, &setup, plan.ways.get(place))
        };
        let mut gateways: Vec<Gateway> = Vec::new();
        for place in 0..plan.gateways {
            gateways.push(start(place, gateways.first(), &[]));
        }
        let node = (plan.admins == Admins::Node)
            .then(|| start(plan.gateways, gateways.first(), &["listen = []"]));
        let ids: Vec<String> = gateways.iter().map(listed).collect();
        let recorder = Recorder::of(&ids);
        let ways = plan.ways.clone();
        Self { gateways, node, networks, ways, recorder, seen, _upstream: upstream, _files: files }
    }

    /// One of the gateways.
    pub fn gateway(&self, place: usize) -> &Gateway {
        &self.gateways[place]
    }

    /// How many gateways there are.
    pub fn size(&self) -> usize {
        self.gateways.len()
    }

    /// The process that serves only operators.
    pub fn node(&self) -> Option<&Gateway> {
        self.node.as_ref()
    }

    /// What lies between a process and the store; the node's comes last.
    pub fn network(&self, place: usize) -> &Faults {
        &self.networks[place]
    }

    /// All networks.
    pub fn networks(&self) -> &[Faults] {
        &self.networks
    }

    /// Somebody who operates the fleet by way of one of its processes, over one connection.
    #[track_caller]
    pub fn operator(&self, by: &Gateway) -> Operator {
        let token = self.gateways[0].operator_token();
        Operator::new(by.admin_address(), &token, &self.recorder)
    }

    /// Somebody who asks one of the gateways, over one connection.
    pub fn asker(&self, place: usize) -> Asker {
        let address = self.gateways[place].address();
        Asker::new(u16::try_from(place).unwrap(), address, &self.recorder, &self.seen)
    }

    /// Asks every gateway `rate` times a second, with any of `keys` each time.
    pub fn begin_traffic(&self, rate: u32, keys: &Keys) -> Traffic {
        let askers = (0..self.gateways.len()).map(|it| self.asker(it));
        Traffic::begin(askers, rate, keys)
    }

    /// Ends a gateway as a power cut would.
    #[track_caller]
    pub fn kill(&mut self, place: usize) {
        self.gateways[place].kill9();
    }

    /// Starts a gateway again that has ended, on the same addresses. In receipts it is another one.
    #[track_caller]
    pub fn restart(&mut self, place: usize) {
        let way = self.ways.get(place).map_or(&[][..], Vec::as_slice);
        self.gateways[place].restart_through(way);
        let id = listed(&self.gateways[place]);
        self.recorder.rename(u16::try_from(place).unwrap(), &id);
    }

    /// Ends the node as a power cut would.
    #[track_caller]
    pub fn kill_node(&mut self) {
        self.node.as_mut().unwrap().kill9();
    }

    /// Starts the node again, on the same address.
    #[track_caller]
    pub fn restart_node(&mut self) {
        let way = self.ways.last().map_or(&[][..], Vec::as_slice);
        self.node.as_mut().unwrap().restart_through(way);
    }

    /// Where all of it is noted.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// What all have noted who have ended.
    pub fn history(&self) -> History {
        self.recorder.history()
    }
}

/// Which process it is, and what lies between it and the store.
struct Placed<'a> {
    place: usize,
    network: Option<&'a Faults>,
}

/// The first one makes the operator's token, and those after it are given a copy.
#[track_caller]
pub fn start_after(first: Option<&Gateway>, setup: &Setup, way: Option<&Vec<String>>) -> Gateway {
    let directory = tempfile::tempdir().unwrap();
    if let Some(first) = first {
        let token = directory.path().join("operator.token");
        fs::copy(first.file("operator.token"), token).unwrap();
    }
    let way: Vec<&str> = way.into_iter().flatten().map(String::as_str).collect();
    Gateway::start_through(&way, directory, setup)
}

/// The id by which a gateway stands in the register, once it says so itself.
#[track_caller]
fn listed(gateway: &Gateway) -> String {
    eventually("it lists itself", || {
        let answer = gateway.admin("GET", "/v1/gateways", None);
        let ending = format!("-{}\"", gateway.pid());
        String::from_utf8_lossy(&answer.body).contains(&ending)
    });
    gateway.id()
}

/// A new one that gateways may share.
pub fn make_pepper(path: &Path) {
    let mut pepper = [0; 32];
    File::open("/dev/urandom").unwrap().read_exact(&mut pepper).unwrap();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(&pepper).unwrap();
}
