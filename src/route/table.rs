//! Decides which route a request's head belongs to.
//!
//! Exact host, longest wildcard, any; then exact path, longest prefix; then named methods, any;
//! then the most headers. A route that fits but for the method or a header stands in nobody's way:
//! the search goes on.
//!
//! A header fits where it stands in the head once and its whole value is the same, byte for byte:
//! `a, b` is one value and not two, and two lines are none. So the route sees no other header than
//! an upstream that takes the first line, the last, or all of them.

use std::collections::{BTreeMap, HashMap};
use std::iter;
use std::ops::Bound;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::route::host::{Host, HostPattern};

/// What a route asks of a request's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Any of these; empty: any host.
    pub hosts: Vec<HostPattern>,
    /// The path, in normal form.
    pub path: PathPattern,
    /// Any of these; empty: any method.
    pub methods: Vec<Method>,
    /// Each of these, with this value; empty: whatever there is.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// What a route asks of a path, in normal form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// This path and no other.
    Exact(String),
    /// `/v3/` matches what begins with it; `/v3` matches `/v3` and `/v3/x`, not `/v30`.
    Prefix(String),
}

/// What routes look at.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The host.
    pub host: &'a Host<'a>,
    /// The path in normal form, without the query.
    pub path: &'a str,
    /// The method.
    pub method: &'a Method,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// All routes, in the order in which they are asked.
#[derive(Debug, Default)]
pub struct Table {
    exact: HashMap<String, Paths, ahash::RandomState>,
    wildcards: HashMap<String, Paths, ahash::RandomState>,
    any: Paths,
}

impl Table {
    /// Builds the table; a route is known by its place in `patterns`.
    pub fn new(patterns: &[Pattern]) -> Result<Self, Clash> {
        let mut table = Self::default();
        for (route, pattern) in patterns.iter().enumerate() {
            table.insert(route, pattern)?;
        }
        let ambiguous = table.choices().filter_map(Choice::ambiguity);
        match ambiguous.min_by_key(|it| (it.second, it.first)) {
            Some(clash) => Err(clash),
            None => Ok(table),
        }
    }

    /// The route that `head` belongs to.
    pub fn find(&self, head: &Head<'_>) -> Result<usize, Miss> {
        let found = self.candidates(head).find_map(|it| it.route(head));
        found.ok_or_else(|| self.miss(head))
    }

    fn insert(&mut self, route: usize, pattern: &Pattern) -> Result<(), Clash> {
        if pattern.hosts.is_empty() {
            return self.any.insert(route, pattern);
        }
        for host in &pattern.hosts {
            self.paths_mut(host).insert(route, pattern)?;
        }
        Ok(())
    }

    fn paths_mut(&mut self, host: &HostPattern) -> &mut Paths {
        match host {
            HostPattern::Exact(host) => self.exact.entry(host.as_str().to_owned()).or_default(),
            HostPattern::Wildcard(suffix) => self.wildcards.entry(suffix.clone()).or_default(),
        }
    }

    fn choices(&self) -> impl Iterator<Item = &Choice> {
        let paths = self.exact.values().chain(self.wildcards.values()).chain([&self.any]);
        let methods = paths.flat_map(|it| it.exact.values().chain(it.prefixes.values()));
        methods.flat_map(|it| it.named.iter().map(|(_method, it)| it).chain([&it.any]))
    }

    /// What fits `head` but perhaps for method and headers, the most particular first.
    fn candidates<'t>(&'t self, head: &Head<'t>) -> impl Iterator<Item = &'t Methods> {
        let path = head.path;
        self.hosts(head.host.as_str()).flat_map(move |it| it.matching(path))
    }

    fn hosts<'t>(&'t self, host: &'t str) -> impl Iterator<Item = &'t Paths> {
        let exact = self.exact.get(host).into_iter();
        let dots = host.match_indices('.').take_while(|_| !self.wildcards.is_empty());
        let wildcards = dots.filter_map(|(at, _dot)| self.wildcards.get(host.get(at..)?));
        exact.chain(wildcards).chain(iter::once(&self.any))
    }

    fn miss(&self, head: &Head<'_>) -> Miss {
        let named = self.candidates(head).flat_map(|it| &it.named);
        let fitting = named.filter(|(_method, it)| it.route(head.headers).is_some());
        let mut allowed: Vec<Method> = fitting.map(|(method, _routes)| method.clone()).collect();
        allowed.sort_by(|left, right| left.as_str().cmp(right.as_str()));
        allowed.dedup();
        if allowed.is_empty() { Miss::NoRoute } else { Miss::Method { allowed } }
    }
}

/// Two routes to which a request could belong, and nothing would say to which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a request could belong to route {first} and to route {second}")]
pub struct Clash {
    /// The place of the earlier one.
    pub first: usize,
    /// The place of the later one.
    pub second: usize,
    /// Why nothing says it.
    pub kind: ClashKind,
}

/// Why nothing says to which of two routes a request belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClashKind {
    /// They ask for the same: the same host, path and headers, and a method in common or any
    /// method both.
    Same,
    /// They ask for different headers, equally many; a request may have them all, and no third
    /// route asks for those.
    Headers,
}

/// Why no route was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Miss {
    /// Nothing fits host, path and headers.
    #[error("no route fits this host and path")]
    NoRoute,
    /// Something does, for other methods.
    #[error("a route fits this host and path, but not this method")]
    Method {
        /// The methods for which there is a route: at least one, each once, in order.
        allowed: Vec<Method>,
    },
}

/// The paths under one pattern of hosts.
#[derive(Debug, Default)]
struct Paths {
    exact: BTreeMap<String, Methods>,
    prefixes: BTreeMap<String, Methods>,
}

impl Paths {
    fn insert(&mut self, route: usize, pattern: &Pattern) -> Result<(), Clash> {
        let methods = match &pattern.path {
            PathPattern::Exact(path) => self.exact.entry(path.clone()),
            PathPattern::Prefix(path) => self.prefixes.entry(path.clone()),
        };
        methods.or_default().insert(route, pattern)
    }

    fn matching<'t>(&'t self, path: &'t str) -> impl Iterator<Item = &'t Methods> {
        self.exact.get(path).into_iter().chain(self.prefixes_of(path))
    }

    /// The longest first.
    fn prefixes_of<'t>(&'t self, path: &'t str) -> impl Iterator<Item = &'t Methods> {
        let step = move |bound| self.step_down(bound, path);
        let steps = iter::successors(step(Bound::Included(path)), move |it| step(it.next));
        steps.filter(move |it| covers(it.prefix, path)).map(|it| it.methods)
    }

    /// In order, whatever stands between a prefix of `path` and `path` begins with that prefix
    /// too. So the next one down is the longest prefix, or shares with `path` all that it can be.
    fn step_down<'t>(&'t self, bound: Bound<&'t str>, path: &'t str) -> Option<Step<'t>> {
        let mut below = self.prefixes.range::<str, _>((Bound::Unbounded, bound));
        let (prefix, methods) = below.next_back()?;
        let shared = shared(prefix, path);
        let is_whole = shared.len() == prefix.len();
        let next = if is_whole { Bound::Excluded(shared) } else { Bound::Included(shared) };
        Some(Step { prefix, methods, next })
    }
}

/// One of the prefixes that may match, and where to look further.
struct Step<'t> {
    prefix: &'t str,
    methods: &'t Methods,
    next: Bound<&'t str>,
}

/// The routes for one path, by method.
#[derive(Debug, Default)]
struct Methods {
    named: Vec<(Method, Choice)>,
    any: Choice,
}

impl Methods {
    fn insert(&mut self, route: usize, pattern: &Pattern) -> Result<(), Clash> {
        if pattern.methods.is_empty() {
            return self.any.insert(route, &pattern.headers);
        }
        for method in &pattern.methods {
            let place = self.named.iter().position(|(named, _routes)| named == method);
            let place = place.unwrap_or(self.named.len());
            if place == self.named.len() {
                self.named.push((method.clone(), Choice::default()));
            }
            if let Some((_method, routes)) = self.named.get_mut(place) {
                routes.insert(route, &pattern.headers)?;
            }
        }
        Ok(())
    }

    fn route(&self, head: &Head<'_>) -> Option<usize> {
        let named = self.named.iter().find(|(named, _routes)| named == head.method);
        let named = named.and_then(|(_method, routes)| routes.route(head.headers));
        named.or_else(|| self.any.route(head.headers))
    }
}

/// The routes for one path and method, by the headers that they ask for.
#[derive(Debug, Default)]
struct Choice {
    /// Who asks for most comes first.
    asking: Vec<Asking>,
    /// Asks for none.
    plain: Option<usize>,
}

/// A route that asks for headers: at least one, each once, in order.
#[derive(Debug)]
struct Asking {
    headers: Vec<(HeaderName, HeaderValue)>,
    route: usize,
}

impl Choice {
    fn insert(&mut self, route: usize, headers: &[(HeaderName, HeaderValue)]) -> Result<(), Clash> {
        if headers.is_empty() {
            return agree(*self.plain.get_or_insert(route), route);
        }
        let mut headers = headers.to_vec();
        headers.sort_by(|(left, _), (right, _)| left.as_str().cmp(right.as_str()));
        headers.dedup();
        if let Some(other) = self.asking.iter().find(|it| it.headers == headers) {
            return agree(other.route, route);
        }
        let place = self.asking.partition_point(|it| it.headers.len() >= headers.len());
        self.asking.insert(place, Asking { headers, route });
        Ok(())
    }

    fn route(&self, headers: &HeaderMap) -> Option<usize> {
        let asking = self.asking.iter().find(|it| it.fits(headers));
        asking.map(|it| it.route).or(self.plain)
    }

    /// Two that ask for equally much and may both fit, if nobody asks for more of the same.
    fn ambiguity(&self) -> Option<Clash> {
        self.asking.iter().enumerate().find_map(|(at, one)| {
            let others = self.asking.iter().skip(at + 1);
            let mut equal = others.take_while(|it| it.headers.len() == one.headers.len());
            let other = equal.find(|it| {
                let decided = |more: &Asking| more.asks_more_than_each_of(one, it);
                one.goes_with(it) && !self.asking.iter().any(decided)
            })?;
            let (first, second) = (one.route.min(other.route), one.route.max(other.route));
            Some(Clash { first, second, kind: ClashKind::Headers })
        })
    }
}

impl Asking {
    fn fits(&self, headers: &HeaderMap) -> bool {
        self.headers.iter().all(|(name, value)| {
            let mut lines = headers.get_all(name).iter();
            lines.next() == Some(value) && lines.next().is_none()
        })
    }

    /// Whether a request can have the headers of both.
    fn goes_with(&self, other: &Self) -> bool {
        let mut both = self.headers.iter().chain(&other.headers);
        let all = || self.headers.iter().chain(&other.headers);
        both.all(|(name, value)| all().all(|(other, it)| other != name || it == value))
    }

    /// Whether it fits what fits both, and goes before them.
    fn asks_more_than_each_of(&self, one: &Self, other: &Self) -> bool {
        let is_asked = |it| one.headers.contains(it) || other.headers.contains(it);
        self.headers.len() > one.headers.len() && self.headers.iter().all(is_asked)
    }
}

/// A route may say the same twice; two may not.
fn agree(first: usize, second: usize) -> Result<(), Clash> {
    if first == second { Ok(()) } else { Err(Clash { first, second, kind: ClashKind::Same }) }
}

/// Whether `prefix` matches `path`: it ends at a slash, or where a segment ends.
fn covers(prefix: &str, path: &str) -> bool {
    let rest = path.strip_prefix(prefix);
    rest.is_some_and(|it| it.is_empty() || it.starts_with('/') || prefix.ends_with('/'))
}

/// What both begin with.
fn shared<'t>(prefix: &str, path: &'t str) -> &'t str {
    let same = prefix.bytes().zip(path.bytes()).take_while(|(left, right)| left == right);
    path.get(..same.count()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
