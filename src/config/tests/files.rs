//! Claims about the files in `config/`.

use super::*;

const KEYWARD_TOML: &str = include_str!("../../../config/keyward.toml");
const EXAMPLE_TOML: &str = include_str!("../../../config/example.toml");

#[test]
fn the_complete_file_says_the_defaults() {
    let written = Written::new(KEYWARD_TOML);
    fs::write(written.path("empty.toml"), "").unwrap();
    let defaults = load_with(Some(&written.path("empty.toml")), &[], &[]).unwrap();
    assert_eq!(written.load(&[], &[]).unwrap(), defaults);
    assert_eq!(defaults.warnings, Vec::<String>::new());
}

/// The comments that are settings with a default, without their marks; those without one have two.
fn uncommented() -> String {
    let setting = |line: &'static str| {
        let text = line
            .strip_prefix("# ")
            .filter(|it| it.starts_with(|it: char| it.is_lowercase() || it == '['));
        text.filter(|it| it.contains(" = ") || it.starts_with("[["))
    };
    let lines = KEYWARD_TOML.lines().skip_while(|it| !it.starts_with('['));
    lines.map(|it| setting(it).unwrap_or(it)).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_complete_file_shows_optional_settings_at_their_defaults() {
    let config = config(&uncommented());
    let short = "[[upstreams]]\nname = 'contacts'\nendpoints = ['http://127.0.0.1:9000']\n[[routes]]\nname = 'contacts'\npath = '/v3/'\nupstream = 'contacts'";
    let short = self::config(short);
    assert_eq!((config.upstreams, config.routes), (short.upstreams, short.routes));
    let [partners] = config.schemes.as_slice() else { panic!("{:?}", config.schemes) };
    assert!(partners.limits.is_silent(), "{partners:?}");
}

#[test]
fn the_complete_file_shows_every_setting() {
    let mut section = String::new();
    let mut shown = Vec::new();
    for line in KEYWARD_TOML.lines().map(|it| it.trim_start_matches("# ")) {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
        }
        let settings = line.split(" = ").filter_map(|it| it.split([' ', '{']).next_back());
        shown.extend(settings.map(|it| schema::join(&section, it)));
    }
    for known in SECTIONS.iter().filter(|it| !it.path.is_empty()) {
        let path = known.path.split(['[', '.']).next().unwrap();
        for key in known.known {
            assert!(shown.contains(&schema::join(path, key)), "{path}.{key} in {shown:?}");
        }
    }
}

#[test]
fn the_example_is_one_upstream_with_a_protected_and_a_public_route() {
    let loaded = Written::new(EXAMPLE_TOML).load(&[], &[]).unwrap();
    let names: Vec<_> = loaded.config.routes.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["contacts", "health"]);
    assert_eq!(loaded.warnings, Vec::<String>::new());
}
