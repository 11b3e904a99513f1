//! Writes configurations.

use std::fmt::Write as _;
use std::net::SocketAddr;

/// A configuration in the making. What is not said is good for tests: argon2 at its cheapest, four
/// workers, addresses of its own, patience with a disk that many tests share.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    gateway: String,
    admin: String,
    log: String,
    store: String,
    keys: String,
    limits: String,
    schemes: Vec<String>,
    upstreams: Vec<String>,
    routes: Vec<String>,
}

impl Setup {
    /// Without upstreams and routes.
    pub fn empty() -> Self {
        Self::default()
    }

    /// One upstream `api` with one endpoint; every path leads there with a key, and what begins
    /// with `/public/` without one.
    pub fn to(endpoint: SocketAddr) -> Self {
        let this = Self::empty().upstream("api", &[endpoint]);
        this.route("all", "path = \"/\"")
            .route("public", "path = \"/public/\"\naccess = \"public\"")
    }

    /// A line more in `[gateway]`.
    pub fn gateway(mut self, line: &str) -> Self {
        put(&mut self.gateway, line);
        self
    }

    /// A line more in `[admin]`.
    pub fn admin(mut self, line: &str) -> Self {
        put(&mut self.admin, line);
        self
    }

    /// A line more in `[log]`.
    pub fn log(mut self, line: &str) -> Self {
        put(&mut self.log, line);
        self
    }

    /// A line more in `[store]`.
    pub fn store(mut self, line: &str) -> Self {
        put(&mut self.store, line);
        self
    }

    /// A line more in `[keys]`.
    pub fn keys(mut self, line: &str) -> Self {
        put(&mut self.keys, line);
        self
    }

    /// A line more in `[limits]`.
    pub fn limits(mut self, line: &str) -> Self {
        put(&mut self.limits, line);
        self
    }

    /// One more scheme.
    pub fn scheme(mut self, name: &str, lines: &str) -> Self {
        self.schemes.push(format!("name = {name:?}\n{lines}\n"));
        self
    }

    /// One more upstream.
    pub fn upstream(self, name: &str, endpoints: &[SocketAddr]) -> Self {
        let urls: Vec<String> = endpoints.iter().map(|it| format!("http://{it}")).collect();
        self.upstream_at(name, &urls)
    }

    /// The same, however its endpoints are spoken to.
    pub fn upstream_at(mut self, name: &str, urls: &[String]) -> Self {
        self.upstreams.push(format!("name = {name:?}\nendpoints = {urls:?}\n"));
        self
    }

    /// One more upstream, whose endpoints have weights.
    pub fn upstream_weighing(mut self, name: &str, endpoints: &[(SocketAddr, u32)]) -> Self {
        let table = |(it, weight)| format!("{{ url = \"http://{it}\", weight = {weight} }}");
        let tables: Vec<String> = endpoints.iter().copied().map(table).collect();
        let list = tables.join(", ");
        self.upstreams.push(format!("name = {name:?}\nendpoints = [{list}]\n"));
        self
    }

    /// One upstream `api` with one endpoint that is spoken to as its URL says; every path leads
    /// there without a key.
    pub fn open_to(url: &str) -> Self {
        let this = Self::empty().upstream_at("api", &[url.to_owned()]);
        this.route("all", "path = \"/\"\naccess = \"public\"")
    }

    /// A line more in the upstream that was named last.
    pub fn upstream_line(mut self, line: &str) -> Self {
        put(self.upstreams.last_mut().unwrap(), line);
        self
    }

    /// One more route. It leads to the upstream that was named last, unless its lines say otherwise.
    pub fn route(mut self, name: &str, lines: &str) -> Self {
        let mut route = format!("name = {name:?}\n{lines}\n");
        if !lines.contains("upstream =") {
            let first = self.upstreams.last().unwrap().lines().next().unwrap();
            put(&mut route, &first.replacen("name", "upstream", 1));
        }
        self.routes.push(route);
        self
    }

    /// The text, listening on these addresses where it says nothing else.
    pub fn text(&self, gateway: SocketAddr, admin: SocketAddr) -> String {
        let mut text = String::new();
        let listen = |address| format!("listen = [\"{address}\"]");
        let sections = [
            ("gateway", &self.gateway, vec![listen(gateway), "workers = 4".to_owned()]),
            ("admin", &self.admin, vec![listen(admin)]),
            ("log", &self.log, Vec::new()),
            ("store", &self.store, STORE.map(str::to_owned).to_vec()),
            ("keys", &self.keys, vec!["argon2 = { memory = \"8KiB\", iterations = 1 }".to_owned()]),
            ("limits", &self.limits, Vec::new()),
        ];
        for (name, said, defaults) in sections {
            writeln!(text, "[{name}]\n{said}").unwrap();
            for default in defaults.iter().filter(|it| !says(said, it)) {
                put(&mut text, default);
            }
        }
        for it in &self.schemes {
            writeln!(text, "[[schemes]]\n{it}").unwrap();
        }
        for it in &self.upstreams {
            writeln!(text, "[[upstreams]]\n{it}").unwrap();
        }
        for it in &self.routes {
            writeln!(text, "[[routes]]\n{it}").unwrap();
        }
        text
    }
}

/// Whether a setting stands there already.
fn says(section: &str, line: &str) -> bool {
    let name = |it: &str| it.split('=').next().unwrap_or_default().trim().to_owned();
    section.lines().any(|it| name(it) == name(line))
}

/// Many tests share one disk, and none of them is to lose its lease to the others.
const STORE: [&str; 2] = ["response_timeout = \"20s\"", "lease = \"20s\""];

fn put(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}
