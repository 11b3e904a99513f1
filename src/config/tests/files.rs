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

/// The comments that are settings, without their marks.
fn uncommented() -> String {
    let marked =
        |line: &str| line.starts_with("# ") && (line.contains(" = ") || line.starts_with("# [["));
    let is_setting = |line: &str| marked(line) && !line.contains("# Down");
    let lines = KEYWARD_TOML.lines().skip_while(|it| !it.starts_with('['));
    let lines = lines.map(|it| if is_setting(it) { it.trim_start_matches("# ") } else { it });
    lines.filter(|it| !it.starts_with("exact")).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_complete_file_shows_optional_settings_at_their_defaults() {
    let config = config(&uncommented());
    let short = "[[upstreams]]\nname = 'contacts'\nendpoints = ['http://127.0.0.1:9000']\n[[routes]]\nname = 'contacts'\npath = '/v3/'\nupstream = 'contacts'";
    let short = self::config(short);
    assert_eq!((config.upstreams, config.routes), (short.upstreams, short.routes));
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
    for known in SECTIONS.iter().filter(|it| !matches!(it.path, "" | "upstreams[].endpoints[]")) {
        let path = known.path.replace("[]", "").replace(".argon2", "");
        for key in known.known {
            assert!(shown.contains(&schema::join(&path, key)), "{path}.{key} in {shown:?}");
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
