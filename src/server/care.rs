//! Looks after endpoints on a thread of its own: asks whether they are well, looks up their names.

use std::io;
use std::sync::Arc;
use std::thread;

use http::HeaderValue;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;

use crate::clock::Moment;
use crate::config::{self, UpstreamHost};
use crate::tasks::Tasks;
use crate::upstream::endpoint::{self, Endpoint};
use crate::upstream::group::{Group, Groups};
use crate::upstream::health::{self, Patient};
use crate::upstream::resolve;

/// Starts it. What is looked after follows `groups`; it ends when `tasks` stop.
pub fn start(groups: watch::Receiver<Groups>, tasks: Tasks) -> io::Result<()> {
    thread::Builder::new().name("care".to_owned()).spawn(move || {
        let built = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        match built {
            Ok(runtime) => runtime.block_on(run(groups, tasks)),
            Err(fault) => tracing::error!(%fault, "endpoints are not looked after"),
        }
    })?;
    Ok(())
}

/// What is done for one endpoint, until it is told to stop.
struct Ward {
    endpoint: Arc<Endpoint>,
    group: Group,
    tasks: Tasks,
}

async fn run(mut groups: watch::Receiver<Groups>, tasks: Tasks) {
    let mut wards: Vec<Ward> = Vec::new();
    loop {
        let wanted = Arc::clone(&groups.borrow_and_update());
        follow(&mut wards, &wanted, &tasks);
        tokio::select! {
            () = tasks.stopped() => return,
            changed = groups.changed() => if changed.is_err() {
                // Nothing will change any more.
                return tasks.stopped().await;
            },
        }
    }
}

/// Stops what is not wanted any more and starts what is new; the rest goes on undisturbed.
fn follow(wards: &mut Vec<Ward>, wanted: &[Group], tasks: &Tasks) {
    let wanted = || wanted.iter().flat_map(Group::members);
    wards.retain(|ward| {
        let stays = wanted().any(|(endpoint, group)| ward.is_for(endpoint, group));
        if !stays {
            ward.tasks.stop();
        }
        stays
    });
    for (endpoint, group) in wanted() {
        if !wards.iter().any(|it| it.is_for(endpoint, group)) {
            wards.push(Ward::start(Arc::clone(endpoint), group.clone(), tasks.child()));
        }
    }
}

impl Ward {
    fn start(endpoint: Arc<Endpoint>, group: Group, tasks: Tasks) -> Self {
        if endpoint.is_named() {
            let (group, endpoint) = (group.clone(), Arc::clone(&endpoint));
            until_stopped(&tasks, async move {
                let config::Upstream { name, resolve_every, .. } = &*group.settings;
                resolve::follow(name, &endpoint, *resolve_every, resolve::system).await;
            });
        }
        if let Some(question) = group.settings.health.clone() {
            let (group, endpoint) = (group.clone(), Arc::clone(&endpoint));
            until_stopped(&tasks, async move {
                let (upstream, tls) = (&*group.settings.name, group.tls.as_ref());
                let host = &host(&group.settings.host, &endpoint);
                let patient = Patient { upstream, endpoint: &endpoint, host, tls };
                health::watch(patient, &question).await;
            });
        } else {
            // It was asked before, and nobody would find out any more.
            endpoint.standing().set_well(Moment::now());
        }
        if group.settings.ejection.is_none() {
            endpoint.standing().pardon(Moment::now());
        }
        Self { endpoint, group, tasks }
    }

    fn is_for(&self, endpoint: &Arc<Endpoint>, group: &Group) -> bool {
        Arc::ptr_eq(&self.endpoint, endpoint) && self.group.is_as(group)
    }
}

/// As requests name it; where they pass on what clients say, an endpoint goes by its own name.
fn host(set: &UpstreamHost, endpoint: &Endpoint) -> HeaderValue {
    match set {
        UpstreamHost::Named(name) => name.clone(),
        UpstreamHost::Client | UpstreamHost::Endpoint => endpoint::host(endpoint.address()),
    }
}

/// Does `work` on this thread until told to stop.
fn until_stopped(tasks: &Tasks, work: impl Future<Output = ()> + 'static) {
    let stop = tasks.clone();
    tasks.spawn_local(async move {
        tokio::select! {
            // Nothing may be noted any more by who was told to stop.
            biased;
            () = stop.stopped() => {}
            () = work => {}
        }
    });
}
