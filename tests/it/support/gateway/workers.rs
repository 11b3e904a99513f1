//! Which worker of a gateway has which connections, as the kernel knows it.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use super::Gateway;

impl Gateway {
    /// The clients' ports, for each worker that has any: every worker waits for its own sockets
    /// with an epoll of its own, and nobody else waits for them.
    #[track_caller]
    pub fn clients_by_worker(&self) -> Vec<BTreeSet<u16>> {
        let process = format!("/proc/{}", self.process.id());
        let entries = fs::read_dir(format!("{process}/fd")).unwrap();
        let descriptors: Vec<(String, String)> = entries
            .filter_map(|it| {
                let it = it.unwrap();
                let target = fs::read_link(it.path()).ok()?.to_string_lossy().into_owned();
                Some((it.file_name().to_string_lossy().into_owned(), target))
            })
            .collect();
        let connected = established_with(self.address);
        let port_of = |number: &str| {
            let (_, target) = descriptors.iter().find(|(it, _)| it == number)?;
            connected.iter().find(|it| *target == format!("socket:[{}]", it.1)).map(|it| it.0)
        };
        let epolls = descriptors.iter().filter(|(_, target)| target == "anon_inode:[eventpoll]");
        let waits_for = |(number, _): &(String, String)| -> BTreeSet<u16> {
            let text = fs::read_to_string(format!("{process}/fdinfo/{number}")).unwrap();
            let awaited = text.lines().filter_map(|it| it.strip_prefix("tfd:"));
            awaited.filter_map(|it| port_of(it.split_whitespace().next()?)).collect()
        };
        // An epoll may have more than one descriptor.
        let workers: BTreeSet<BTreeSet<u16>> = epolls.map(waits_for).collect();
        workers.into_iter().filter(|it| !it.is_empty()).collect()
    }
}

/// The other side's port, and the socket's inode, of every connection to `address`.
fn established_with(address: SocketAddr) -> Vec<(u16, String)> {
    let connection = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_one = parse(words[1]) == address && words[3] == ESTABLISHED;
        is_one.then(|| (parse(words[2]).port(), words[9].to_owned()))
    };
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().skip(1).filter_map(connection).collect()
}

/// `0100007F:1F90` is 127.0.0.1:8080: the kernel writes addresses as this machine holds them.
fn parse(text: &str) -> SocketAddr {
    let (host, port) = text.split_once(':').unwrap();
    let host = Ipv4Addr::from(u32::from_str_radix(host, 16).unwrap().to_ne_bytes());
    SocketAddr::from((host, u16::from_str_radix(port, 16).unwrap()))
}

const ESTABLISHED: &str = "01";
