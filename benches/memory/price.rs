//! CPU per request, in turns on two gateways.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use crate::cpu::CpuTime;
use crate::gateway::{Gateway, asking};
use crate::http::Connection;
use crate::place::{self, Place};

/// Microseconds of CPU for a request with one of the first `in_use` keys, of each gateway.
pub fn compare(places: [&Place; 2], in_use: u64) -> Result<[[f64; TURNS]; 2]> {
    let asked = (0..in_use)
        .map(|number| Ok(asking(place::key(number)?.expose())))
        .collect::<Result<Vec<String>>>()?;
    let [one, other] = places.map(|place| {
        let gateway = Gateway::start(place)?;
        gateway.await_all(place)?;
        Ok::<_, anyhow::Error>(gateway)
    });
    let gateways = [one?, other?];
    let mut prices = [[0.0; TURNS]; 2];
    // What is made with the first use is there afterwards.
    for gateway in &gateways {
        turn(gateway, &asked)?;
    }
    for at in 0..TURNS {
        for (gateway, prices) in gateways.iter().zip(&mut prices) {
            prices[at] = turn(gateway, &asked)?;
        }
    }
    eprintln!("memory: µs of CPU for a request: {prices:.2?}");
    Ok(prices)
}

fn turn(gateway: &Gateway, asked: &[String]) -> Result<f64> {
    let (over, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let before = CpuTime::of_tree(gateway.process.id())?;
    thread::scope(|scope| {
        let told = (&over, &count);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|first| scope.spawn(move || ask(gateway, asked, first, told)))
            .collect();
        let end = Instant::now() + TURN;
        while Instant::now() < end {
            thread::sleep(Duration::from_millis(20));
        }
        over.store(true, Ordering::Relaxed);
        let ended = clients
            .into_iter()
            .map(|it| it.join().map_err(|_panic| anyhow!("a client panicked"))?);
        ended.collect::<Result<()>>()
    })?;
    let spent = CpuTime::of_tree(gateway.process.id())?.since(&before);
    Ok(spent.as_secs_f64() * 1e6 / count.into_inner() as f64)
}

/// Asks with every key in turn until it is over; each client has keys of its own.
fn ask(
    gateway: &Gateway,
    asked: &[String],
    first: usize,
    (over, count): (&AtomicBool, &AtomicU64),
) -> Result<()> {
    let mut connection = Connection::open(gateway.address)?;
    for request in asked.iter().skip(first).step_by(CLIENTS).cycle() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let answer = connection.send(request)?;
        ensure!(answer.status == 200, "answered {}: {}", answer.status, answer.body);
        count.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

const TURNS: usize = 5;
const TURN: Duration = Duration::from_secs(3);
const CLIENTS: usize = 16;
