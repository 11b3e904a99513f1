//! Shows a gateway at work on this machine, with a sample API behind it, and leaves nothing.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use tempfile::TempDir;

use crate::cli::Streams;
use crate::cli::args::Demo;
use crate::cli::demo::sample::Sample;
use crate::cli::demo::stage::Stage;
use crate::cli::failure::Failure;
use crate::cli::logging;
use crate::config::{Config, sources};
use crate::server::{Origin, Server};

mod sample;
mod stage;

/// Runs until it is interrupted, or, with `--once`, until everything was shown.
pub fn demo(typed: Demo, streams: &mut Streams<'_>) -> Result<u8, Failure> {
    check_free("--port", typed.port)?;
    check_free("--admin-port", typed.admin_port)?;
    let sample = Sample::start().map_err(|it| cannot("start the sample API", &it))?;
    let directory = directory().map_err(|it| cannot("make a directory for the store", &it))?;
    let config = configure(directory.path(), typed, sample.address)?;
    let outlet = logging::start(&config.log)?;
    let server = Server::start(config, outlet.inlets(), Origin::default())?;
    let stopper = server.stopper();
    let shown = Stage::set(server.addresses(), directory.path())
        .and_then(|stage| if typed.once { stage.play(streams) } else { stage.tell(streams) });
    if typed.once || shown.is_err() {
        stopper.stop();
    }
    let ended = server.wait();
    shown.map(|()| ended)
}

fn check_free(flag: &str, port: u16) -> Result<(), Failure> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_free) => Ok(()),
        Err(fault) if fault.kind() == ErrorKind::AddrInUse => Err(Failure::Failed(format!(
            "port {port} on 127.0.0.1 is taken: name another one with {flag}, or {flag} 0 for any"
        ))),
        Err(fault) => Err(cannot(&format!("listen on port {port} of 127.0.0.1"), &fault)),
    }
}

/// Readable only for its owner; gone with everything in it when this is dropped.
fn directory() -> std::io::Result<TempDir> {
    tempfile::Builder::new().prefix("keyward-demo-").tempdir()
}

/// From a file like everyone's; nothing of this process's environment.
fn configure(directory: &Path, typed: Demo, sample: SocketAddr) -> Result<Config, Failure> {
    let file = directory.join("keyward.toml");
    let text = format!(
        r#"gateway.listen = ["127.0.0.1:{port}"]
gateway.drain_timeout = "2s"
admin.listen = ["127.0.0.1:{admin_port}"]
log.level = "warn"

[[upstreams]]
name = "sample"
endpoints = ["http://{sample}"]

[[routes]]
name = "ping"
exact = "/v3/ping"
upstream = "sample"
access = "public"

[[routes]]
name = "contacts"
path = "/v3/contacts"
upstream = "sample"

[[routes]]
name = "campaigns"
path = "/v3/campaigns"
upstream = "sample"
"#,
        port = typed.port,
        admin_port = typed.admin_port,
    );
    fs::write(&file, text).map_err(|it| cannot("write the configuration", &it))?;
    Ok(sources::load(Some(&file), &[], std::iter::empty())?.config)
}

fn cannot(what: &str, fault: &std::io::Error) -> Failure {
    Failure::Failed(format!("the demo cannot {what}: {fault}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demos_own_configuration_has_no_faults() {
        let directory = directory().unwrap();
        let typed = Demo { once: true, port: 0, admin_port: 0 };
        let sample = SocketAddr::from((Ipv4Addr::LOCALHOST, 9000));
        let config = configure(directory.path(), typed, sample).unwrap();
        let names: Vec<_> = config.routes.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["ping", "contacts", "campaigns"]);
    }

    #[test]
    fn a_port_that_is_taken_is_named_with_the_flag_that_changes_it() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let Err(Failure::Failed(words)) = check_free("--port", port) else { panic!("it is taken") };
        assert_eq!(
            words,
            format!(
                "port {port} on 127.0.0.1 is taken: name another one with --port, or --port 0 for any"
            )
        );
    }
}
