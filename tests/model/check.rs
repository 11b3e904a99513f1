//! Runs the checker over a configuration, and says what it has to find.

use stateright::{Checker, HasDiscoveries, Model};

use crate::config::Config;
use crate::promises::BROKEN;

/// The checker ends before this many steps, or the configuration is too large to mean anything.
const MOST_STEPS: usize = 400_000_000;

/// No promise is broken in any state that can be reached. At least so many states were seen,
/// and among them what `seen` names: a run that explored nothing would pass otherwise.
pub fn holds(config: Config, least: usize, seen: &[&'static str]) {
    let shown = format!("{config:?}");
    let checker = config
        .checker()
        .threads(1)
        .finish_when(HasDiscoveries::AnyFailures)
        .target_state_count(MOST_STEPS)
        .spawn_bfs()
        .join();
    let states = checker.unique_state_count();
    eprintln!("{states} states, {} steps deep: {shown}", checker.max_depth());
    for (name, path) in checker.discoveries() {
        assert!(
            !BROKEN.contains(&name),
            "{shown}\nbreaks: {name}\n{:?}\n{:#?}",
            path.clone().into_actions(),
            path.last_state()
        );
    }
    assert!(checker.state_count() < MOST_STEPS, "{shown}: not exhausted");
    assert!(states >= least, "{shown}: only {states} states, {least} were expected");
    for name in seen {
        assert!(checker.discovery(name).is_some(), "{shown}: never seen: {name}");
    }
}

/// A rule left out is found: the shortest way to a broken promise, and which one it is.
pub fn finds(config: Config, promise: &'static str) {
    let shown = format!("{config:?}");
    let checker =
        config.checker().threads(1).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let broken: Vec<_> =
        checker.discoveries().into_iter().filter(|it| BROKEN.contains(&it.0)).collect();
    for (name, path) in &broken {
        let steps = path.clone().into_actions();
        eprintln!(
            "{} states, {} steps: {name}: {steps:?}",
            checker.unique_state_count(),
            steps.len()
        );
    }
    assert!(broken.iter().any(|it| it.0 == promise), "{shown}: does not break: {promise}");
}

/// Is this the long form?
pub fn is_full() -> bool {
    std::env::var("CLAIMS").is_ok_and(|it| it == "full")
}
