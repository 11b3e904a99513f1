//! Claims about the table.

use std::cmp::Reverse;

use proptest::prelude::*;

use super::*;

/// Reads `GET,POST a.com,*.b.com =/exact` or `* * /prefix x=1,y=2`.
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
        headers: words.get(3).map_or_else(Vec::new, |it| it.split(',').map(header).collect()),
    }
}

/// Reads `x=1`.
fn header(text: &str) -> (HeaderName, HeaderValue) {
    let (name, value) = text.split_once('=').unwrap();
    (name.parse().unwrap(), value.parse().unwrap())
}

fn table(texts: &[&str]) -> Result<Table, Clash> {
    Table::new(&texts.iter().map(|it| pattern(it)).collect::<Vec<_>>())
}

/// Asks with `GET a.com /path x=1;x=2` and the like.
fn find(table: &Table, asked: &str) -> Result<usize, Miss> {
    let words: Vec<&str> = asked.split(' ').collect();
    let (host, _port) = Host::parse(words[1]).unwrap();
    let method = words[0].parse().unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in words.iter().skip(3).flat_map(|it| it.split(';')).map(header) {
        headers.append(name, value);
    }
    table.find(&Head { host: &host, path: words[2], method: &method, headers: &headers })
}

/// Holds the place of the route that is found.
#[track_caller]
fn check(texts: &[&str], asked: &str, expected: impl Into<Result<usize, Miss>>) {
    let table = table(texts).unwrap();
    let actual = find(&table, asked);
    assert_eq!(actual, expected.into(), "{asked} in {texts:?}");
}

#[track_caller]
fn check_clash(texts: &[&str], expected: Option<(usize, usize)>) {
    check_clash_of(ClashKind::Same, texts, expected);
}

#[track_caller]
fn check_clash_of(kind: ClashKind, texts: &[&str], expected: Option<(usize, usize)>) {
    let expected = expected.map(|(first, second)| Clash { first, second, kind });
    assert_eq!(table(texts).err(), expected, "{texts:?}");
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

#[test]
fn a_route_that_asks_for_more_headers_goes_first() {
    let texts = ["* * /", "* * / x=1", "* * / x=1,y=1", "* * / x=2", "GET * /", "PUT * / y=1"];
    check(&texts, "POST h /", Ok(0));
    check(&texts, "POST h / x=1", Ok(1));
    check(&texts, "POST h / y=1;x=1", Ok(2));
    check(&texts, "POST h / x=2;y=1", Ok(3));
    check(&texts, "POST h / x=3", Ok(0));
    // Who names the method asks for more than who names headers.
    check(&texts, "GET h / x=1;y=1", Ok(4));
    check(&texts, "PUT h / x=1;y=1", Ok(5));
    check(&texts, "PUT h / x=1", Ok(1));
}

#[test]
fn a_header_fits_where_its_whole_value_stands_there_once() {
    let texts = ["* * / x=a"];
    for asked in ["x=A", "x=a,b", "x=b,a", "x=a;x=a", "x=a;x=b", "x=b;x=a", "x=aa", "x=", "y=a"] {
        check(&texts, &format!("GET h / {asked}"), Err(Miss::NoRoute));
    }
    check(&texts, "GET h / X=a", Ok(0));
    check(&["* * / x=a,x=b", "* * /"], "GET h / x=a", Ok(1));
}

#[test]
fn what_fits_but_for_a_header_stands_in_nobodys_way() {
    check(&["* * /", "* * /v3/ x=1"], "GET h /v3/x", Ok(0));
    check(&["* * /", "* h =/v3 x=1"], "GET h /v3", Ok(0));
    check(&["* * /", "* h =/v3 x=1"], "GET h /v3 x=1", Ok(1));
    check(
        &["GET * / x=1", "PUT * /"],
        "GET h / x=2",
        Err(Miss::Method { allowed: vec![Method::PUT] }),
    );
    check(&["GET * / x=1"], "GET h /", Err(Miss::NoRoute));
    check(&["PUT * / x=1"], "GET h /", Err(Miss::NoRoute));
}

#[test]
fn headers_that_one_request_may_have_both_need_a_route_of_their_own() {
    let differ = |texts: &[&str], expected| check_clash_of(ClashKind::Headers, texts, expected);
    differ(&["* * / x=1", "* * / y=1"], Some((0, 1)));
    differ(&["* * / x=1", "GET * / y=1"], None);
    differ(&["* * / x=1", "* * / y=1", "* * / x=1,y=1"], None);
    differ(&["* * / x=1,y=1", "* * / y=1", "* * / x=1"], None);
    differ(&["* * / x=1", "* * / y=1", "* * / x=1,y=2"], Some((0, 1)));
    differ(&["* * / x=1", "* * / y=1", "* * / z=1", "* * / x=1,y=1"], Some((0, 2)));
    differ(&["* * / x=1", "* * / x=2", "* * /v3 y=1", "* a / y=1", "* * /"], None);
    differ(&["* * / x=1,y=1", "* * / x=1,z=1", "* * / x=2,z=2"], Some((0, 1)));
    check_clash(&["* * / x=1,y=1", "* * / y=1,x=1"], Some((0, 1)));
    check_clash(&["GET * / x=1", "PUT,GET * / X=1"], Some((0, 1)));
}

const HOSTS: [&str; 6] = ["*", "a.com", "x.a.com", "*.a.com", "*.com", "*.x.a.com"];
const PATHS: [&str; 9] = ["/", "/a", "/a/", "/ab", "/a/b", "/a/b/", "=/a", "=/a/b", "/b"];
const METHODS: [&str; 4] = ["*", "GET", "PUT", "GET,PUT"];
const HEADERS: [&str; 7] = ["", "", " x=1", " x=2", " y=1", " x=1,y=1", " x=2,y=1"];
const SENT: [&str; 7] = ["z=1", "x=1", "x=2", "y=1", "x=1;y=1", "x=2;y=1", "x=1;x=1"];

fn any_pattern() -> impl Strategy<Value = Pattern> {
    let parts = (0..METHODS.len(), 0..HOSTS.len(), 0..PATHS.len(), 0..HEADERS.len());
    parts.prop_map(|(method, host, path, headers)| {
        let headers = HEADERS[headers];
        pattern(&format!("{} {} {}{headers}", METHODS[method], HOSTS[host], PATHS[path]))
    })
}

/// How particular a pattern is, if it fits but for the method: the least is the most.
fn rank(pattern: &Pattern, asked: &str) -> Option<[Reverse<usize>; 4]> {
    let words: Vec<&str> = asked.split(' ').collect();
    let (host, path, sent) = (words[1], words[2], words[3]);
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
    let sent: Vec<_> = sent.split(';').map(header).collect();
    let stands_once = |it: &(HeaderName, HeaderValue)| {
        sent.contains(it) && sent.iter().filter(|(name, _)| *name == it.0).count() == 1
    };
    pattern.headers.iter().all(stands_once).then_some(())?;
    let methods = usize::from(!pattern.methods.is_empty());
    Some([host, path, methods, pattern.headers.len()].map(Reverse))
}

fn naive(patterns: &[Pattern], asked: &str) -> Option<usize> {
    let method = asked.split(' ').next().unwrap();
    let ranked = patterns.iter().enumerate().filter_map(|(at, it)| {
        let takes = it.methods.is_empty() || it.methods.iter().any(|it| it == method);
        takes.then_some((rank(it, asked)?, at))
    });
    ranked.min().map(|(_rank, at)| at)
}

/// Whether two that go equally far fit one of all requests that can be asked.
fn is_ambiguous(patterns: &[Pattern]) -> bool {
    let asked = METHODS[1..3].iter().flat_map(|method| {
        ASKED_HOSTS.iter().flat_map(move |host| {
            let paths = ASKED_PATHS.iter();
            paths.flat_map(move |path| SENT.map(|sent| format!("{method} {host} {path} {sent}")))
        })
    });
    asked.into_iter().any(|asked| {
        let method = asked.split(' ').next().unwrap();
        let takes =
            |it: &&Pattern| it.methods.is_empty() || it.methods.iter().any(|it| it == method);
        let ranks: Vec<_> =
            patterns.iter().filter(takes).filter_map(|it| rank(it, &asked)).collect();
        let best = ranks.iter().min();
        ranks.iter().filter(|it| Some(*it) == best).count() > 1
    })
}

const ASKED_HOSTS: [&str; 5] = ["a.com", "x.a.com", "y.x.a.com", "com", "b.org"];
const ASKED_PATHS: [&str; 10] =
    ["/", "/a", "/a/", "/ab", "/a/b", "/a/b/c", "/a/bc", "/b", "/a0", "//"];

/// So many of them as do not clash.
fn without_clashes(drawn: Vec<Pattern>) -> Vec<Pattern> {
    let mut kept: Vec<Pattern> = Vec::new();
    for pattern in drawn {
        kept.push(pattern);
        if Table::new(&kept).is_err() {
            kept.pop();
        }
    }
    kept
}

proptest! {
    #[test]
    fn a_naive_scan_finds_the_same(
        drawn in proptest::collection::vec(any_pattern(), 0..12),
        host in 0..5_usize, path in 0..10_usize, method in 0..3_usize, sent in 0..7_usize,
    ) {
        let method = ["GET", "PUT", "POST"][method];
        let (host, path) = (ASKED_HOSTS[host], ASKED_PATHS[path]);
        let asked = format!("{method} {host} {path} {}", SENT[sent]);
        let kept = without_clashes(drawn);
        let actual = find(&Table::new(&kept).unwrap(), &asked);
        let fits = kept.iter().any(|it| rank(it, &asked).is_some());
        prop_assert_eq!(actual == Err(Miss::NoRoute), !fits);
        prop_assert_eq!(actual.ok(), naive(&kept, &asked));
    }

    #[test]
    fn a_table_without_a_clash_never_leaves_a_choice(
        drawn in proptest::collection::vec(any_pattern(), 0..10),
    ) {
        prop_assert!(!is_ambiguous(&without_clashes(drawn)));
    }
}
