//! Decides which route a request's head belongs to.
//!
//! Exact host, longest wildcard, any; then exact path, longest prefix; then named methods, any.
//! A route that fits but for the method stands in nobody's way: the search goes on.

use std::collections::{BTreeMap, HashMap};
use std::iter;
use std::ops::Bound;

use http::{HeaderName, HeaderValue, Method};

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
        Ok(table)
    }

    /// The route that `head` belongs to.
    pub fn find(&self, head: &Head<'_>) -> Result<usize, Miss> {
        let found = self.candidates(head).find_map(|it| it.route(head.method));
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

    /// What fits `head` but perhaps for the method, the most particular first.
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
        let mut allowed: Vec<Method> = named.map(|(method, _route)| method.clone()).collect();
        allowed.sort_by(|left, right| left.as_str().cmp(right.as_str()));
        allowed.dedup();
        if allowed.is_empty() { Miss::NoRoute } else { Miss::Method { allowed } }
    }
}

/// Two routes ask for the same: the same host, the same path, and a method in common or any
/// method both. A request could belong to either, and nothing would say which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("routes {first} and {second} ask for the same host, path and method")]
pub struct Clash {
    /// The place of the earlier one.
    pub first: usize,
    /// The place of the later one.
    pub second: usize,
}

/// Why no route was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Miss {
    /// Nothing fits host and path.
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
        methods.or_default().insert(route, &pattern.methods)
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
    named: Vec<(Method, usize)>,
    any: Option<usize>,
}

impl Methods {
    fn insert(&mut self, route: usize, methods: &[Method]) -> Result<(), Clash> {
        if methods.is_empty() {
            return agree(*self.any.get_or_insert(route), route);
        }
        for method in methods {
            match self.route_named(method) {
                Some(other) => agree(other, route)?,
                None => self.named.push((method.clone(), route)),
            }
        }
        Ok(())
    }

    fn route(&self, method: &Method) -> Option<usize> {
        self.route_named(method).or(self.any)
    }

    fn route_named(&self, method: &Method) -> Option<usize> {
        self.named.iter().find(|(named, _route)| named == method).map(|(_method, route)| *route)
    }
}

/// A route may say the same twice; two may not.
fn agree(first: usize, second: usize) -> Result<(), Clash> {
    if first == second { Ok(()) } else { Err(Clash { first, second }) }
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
mod tests {
    use std::cmp::Reverse;

    use proptest::prelude::*;

    use super::*;

    /// Reads `GET,POST a.com,*.b.com =/exact` or `* * /prefix`.
    fn pattern(text: &str) -> Pattern {
        let words: Vec<&str> = text.split(' ').collect();
        let listed = |at: usize| words[at].split(',').filter(|it| *it != "*");
        Pattern {
            methods: listed(0).map(|it| it.parse().unwrap()).collect(),
            hosts: listed(1).map(|it| it.parse().unwrap()).collect(),
            path: match words[2].strip_prefix('=') {
                Some(path) => PathPattern::Exact(path.to_owned()),
                None => PathPattern::Prefix(words[2].to_owned()),
            },
            headers: Vec::new(),
        }
    }

    fn table(texts: &[&str]) -> Result<Table, Clash> {
        Table::new(&texts.iter().map(|it| pattern(it)).collect::<Vec<_>>())
    }

    fn find(table: &Table, method: &str, host: &str, path: &str) -> Result<usize, Miss> {
        let (host, _port) = Host::parse(host).unwrap();
        let method = method.parse().unwrap();
        table.find(&Head { host: &host, path, method: &method })
    }

    /// Asks with `GET a.com /path` and the like for the place of the route.
    #[track_caller]
    fn check(texts: &[&str], asked: &str, expected: impl Into<Result<usize, Miss>>) {
        let table = table(texts).unwrap();
        let words: Vec<&str> = asked.split(' ').collect();
        let actual = find(&table, words[0], words[1], words[2]);
        assert_eq!(actual, expected.into(), "{asked} in {texts:?}");
    }

    #[track_caller]
    fn check_clash(texts: &[&str], expected: Option<(usize, usize)>) {
        let actual = table(texts).err().map(|it| (it.first, it.second));
        assert_eq!(actual, expected, "{texts:?}");
    }

    #[test]
    fn a_prefix_ends_where_a_segment_ends() {
        check(&["* * /v3"], "GET a /v3", Ok(0));
        check(&["* * /v3"], "GET a /v3/x", Ok(0));
        check(&["* * /v3"], "GET a /v30", Err(Miss::NoRoute));
        check(&["* * /v3/"], "GET a /v3", Err(Miss::NoRoute));
        check(&["* * /v3/"], "GET a /v3/x", Ok(0));
        check(&["* * /"], "GET a /anything", Ok(0));
    }

    #[test]
    fn an_exact_host_goes_before_the_longest_wildcard_and_that_before_any() {
        let texts = ["* * /", "* *.com /", "* *.a.com /", "* x.a.com /"];
        check(&texts, "GET x.a.com /", Ok(3));
        check(&texts, "GET y.a.com /", Ok(2));
        check(&texts, "GET x.y.a.com /", Ok(2));
        check(&texts, "GET a.com /", Ok(1));
        check(&texts, "GET [::1] /", Ok(0));
    }

    #[test]
    fn an_exact_path_goes_before_the_longest_prefix() {
        let texts = ["* * /", "* * /v3", "* * /v3/", "* * =/v3", "* * /v3/a"];
        check(&texts, "GET h /v3", Ok(3));
        check(&texts, "GET h /v3/", Ok(2));
        check(&texts, "GET h /v3/a", Ok(4));
        check(&texts, "GET h /v3/ab", Ok(2));
        check(&texts, "GET h /v30", Ok(0));
    }

    #[test]
    fn the_host_goes_before_the_path_if_it_has_one_that_fits() {
        check(&["* * =/v3/a", "* h.com /"], "GET h.com /v3/a", Ok(1));
        check(&["* * /", "* h.com /v3"], "GET h.com /v4", Ok(0));
    }

    #[test]
    fn a_route_that_names_methods_goes_before_one_that_does_not() {
        check(&["* * /", "POST * /"], "POST h /", Ok(1));
        check(&["* * /", "POST * /"], "GET h /", Ok(0));
        check(&["* * /", "POST * /v3/"], "GET h /v3/x", Ok(0));
    }

    #[test]
    fn what_fits_but_for_the_method_says_which_methods_do() {
        let texts = ["PUT,GET * /v3/", "GET,POST * /", "DELETE a.com /"];
        let allowed = vec![Method::GET, Method::POST, Method::PUT];
        check(&texts, "PATCH h /v3/x", Err(Miss::Method { allowed }));
        check(&["GET * /v3/"], "GET h /v4", Err(Miss::NoRoute));
    }

    #[test]
    fn two_routes_that_ask_for_the_same_clash() {
        check_clash(&["* * /", "* * /v3", "* * /"], Some((0, 2)));
        check_clash(&["GET,PUT * /", "PUT,POST * /"], Some((0, 1)));
        check_clash(&["* a.com,*.b.com /", "* c.com,*.b.com /"], Some((0, 1)));
        check_clash(&["* A.com /", "* a.com. /"], Some((0, 1)));
    }

    #[test]
    fn two_routes_of_which_one_asks_for_more_do_not_clash() {
        check_clash(&["GET * /", "POST * /", "* * /"], None);
        check_clash(&["* * =/v3", "* * /v3", "* * /v3/"], None);
        check_clash(&["* a.com /", "* *.com /", "* * /"], None);
        check_clash(&["GET,GET a.com,a.com /", "* a.com,a.com /"], None);
    }

    const HOSTS: [&str; 6] = ["*", "a.com", "x.a.com", "*.a.com", "*.com", "*.x.a.com"];
    const PATHS: [&str; 9] = ["/", "/a", "/a/", "/ab", "/a/b", "/a/b/", "=/a", "=/a/b", "/b"];
    const METHODS: [&str; 4] = ["*", "GET", "PUT", "GET,PUT"];

    fn any_pattern() -> impl Strategy<Value = Pattern> {
        let parts = (0..METHODS.len(), 0..HOSTS.len(), 0..PATHS.len());
        parts.prop_map(|(method, host, path)| {
            pattern(&format!("{} {} {}", METHODS[method], HOSTS[host], PATHS[path]))
        })
    }

    /// How particular a pattern is, if it fits but for the method.
    fn rank(pattern: &Pattern, host: &str, path: &str) -> Option<(Reverse<usize>, Reverse<usize>)> {
        let host = match pattern.hosts.first() {
            None => 0,
            Some(HostPattern::Exact(it)) => (it.as_str() == host).then_some(1000)?,
            Some(HostPattern::Wildcard(it)) => host.ends_with(it.as_str()).then_some(it.len())?,
        };
        let path = match &pattern.path {
            PathPattern::Exact(it) => (it == path).then_some(1000)?,
            PathPattern::Prefix(it) => {
                let whole = format!("{}/", it.strip_suffix('/').unwrap_or(it));
                (it == path || path.starts_with(&whole)).then_some(it.len())?
            }
        };
        Some((Reverse(host), Reverse(path)))
    }

    fn naive(patterns: &[Pattern], method: &str, host: &str, path: &str) -> Option<usize> {
        let ranked = patterns.iter().enumerate().filter_map(|(at, it)| {
            let takes = it.methods.is_empty() || it.methods.iter().any(|it| it == method);
            takes.then_some((rank(it, host, path)?, it.methods.is_empty(), at))
        });
        ranked.min().map(|(_rank, _any, at)| at)
    }

    proptest! {
        #[test]
        fn a_naive_scan_finds_the_same(
            drawn in proptest::collection::vec(any_pattern(), 0..12),
            host in 0..5_usize, path in 0..10_usize, method in 0..3_usize,
        ) {
            let host = ["a.com", "x.a.com", "y.x.a.com", "com", "b.org"][host];
            let path = ["/", "/a", "/a/", "/ab", "/a/b", "/a/b/c", "/a/bc", "/b", "/a0", "//"][path];
            let method = ["GET", "PUT", "POST"][method];
            let mut kept: Vec<Pattern> = Vec::new();
            for pattern in drawn {
                kept.push(pattern);
                if Table::new(&kept).is_err() {
                    kept.pop();
                }
            }
            let actual = find(&Table::new(&kept).unwrap(), method, host, path);
            let fits = kept.iter().any(|it| rank(it, host, path).is_some());
            prop_assert_eq!(actual == Err(Miss::NoRoute), !fits);
            prop_assert_eq!(actual.ok(), naive(&kept, method, host, path));
        }
    }
}
