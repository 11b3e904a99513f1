//! What the figures were measured on and with.

use std::ffi::OsStr;
use std::fs;
use std::thread;

use serde_json::{Value, json};

use crate::options::{Options, Store};
use crate::process::Cores;

/// Names the machine and the versions of the programs.
pub fn describe(options: &Options) -> Value {
    json!({
        "cpu": cpu_model(),
        "cores": thread::available_parallelism().map_or(0, usize::from),
        "kernel": read("/proc/sys/kernel/osrelease"),
        "nginx": version("nginx", "-v"),
        "haproxy": version("haproxy", "-v"),
        "wrk": version("wrk", "-v"),
        "keyward": options.keyward.as_ref().map(|binary| version(binary, "--version")),
        "redis": (options.store == Store::Redis).then(|| version("redis-server", "--version")),
    })
}

fn cpu_model() -> String {
    let model = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map(|(_, model)| model.to_owned());
    model.unwrap_or_else(|| String::from("unknown"))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The first line which a program says about itself, be it on standard output or error.
fn version(program: impl AsRef<OsStr>, flag: &str) -> String {
    let Ok(output) = Cores::Any.command(program).arg(flag).output() else {
        return String::from("unknown");
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().next().unwrap_or("unknown").to_owned()
}
