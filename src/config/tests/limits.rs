//! Claims about `[limits]`, `[[schemes]]` and the limits of routes.

use super::*;
use crate::config::{Route, Scope, XRateLimit};
use crate::key::text::Prefix;
use crate::rate::limits::{Limits, Mode, Setting};

fn said(rate: &str, quota: &str, max_in_flight: &str) -> Limits {
    Limits {
        rate: rate.parse().ok(),
        quota: quota.parse().ok(),
        max_in_flight: max_in_flight.parse().ok(),
    }
}

fn route(settings: &str) -> Route {
    let mut config =
        config(&with_route(&format!("name = 'r'\nupstream = 'u'\npath = '/'\n{settings}")));
    config.routes.remove(0)
}

#[test]
fn nothing_is_limited_unless_it_is_said() {
    let limits = config("").limits;
    let unlimited = Limits {
        rate: Some(Setting::Unlimited),
        quota: Some(Setting::Unlimited),
        max_in_flight: Some(Setting::Unlimited),
    };
    assert_eq!(limits.limits, unlimited);
    assert_eq!((limits.scope, limits.x_ratelimit_headers), (Scope::Fleet, XRateLimit::Off));
    let route = route("");
    assert_eq!((route.cost.get(), route.rate, route.rate_per_address), (1, None, None));
}

#[test]
fn what_is_written_of_limits_is_read() {
    let text = "[limits]\nrate = '100/s burst 200'\nquota = '100000/day shadow'\n\
                max_in_flight = 50\nscope = 'gateway'\nx_ratelimit_headers = true";
    let limits = config(text).limits;
    assert_eq!(limits.limits, said("100/s burst 200", "100000/day shadow", "50"));
    assert_eq!((limits.scope, limits.x_ratelimit_headers), (Scope::Gateway, XRateLimit::On));
    let limits = config("limits.max_in_flight = '50 shadow'").limits.limits;
    assert_eq!(limits, said("unlimited", "unlimited", "50 shadow"));
    let outside = [("KEYWARD_LIMITS__RATE", "6000/min"), ("KEYWARD_LIMITS__MAX_IN_FLIGHT", "5")];
    let loaded = load_with(None, &["limits.quota=5/month"], &outside).unwrap();
    assert_eq!(loaded.config.limits.limits, said("6000/min", "5/month", "5"));
    let route = route("cost = 5\nrate = '10/s shadow'\nrate_per_address = '1/s burst 3'");
    assert_eq!(route.cost.get(), 5);
    assert_eq!(route.rate, Some(("10/s".parse().unwrap(), Mode::Shadow)));
    assert_eq!(route.rate_per_address, Some("1/s burst 3".parse().unwrap()));
}

#[test]
fn what_is_no_limit_is_told_what_one_is() {
    check_one(
        "limits.rate = '100/h'",
        "expected a rate like \"100/s\", \"6000/min\" or \"100/s burst 200\", with numbers above 0, or \"unlimited\"; found \"100/h\"",
    );
    check_one(
        "limits.rate = 100",
        "expected a rate like \"100/s\", \"6000/min\" or \"100/s burst 200\", with numbers above 0, or \"unlimited\"; found 100",
    );
    check_one(
        "limits.quota = '0/day'",
        "expected a quota like \"100000/day\" or \"1000000/month\", with a number above 0, or \"unlimited\"; found \"0/day\"",
    );
    for value in ["0", "-1", "'0'", "true", "'50  shadow'"] {
        let found = value.replace('\'', "\"");
        check_one(
            &format!("limits.max_in_flight = {value}"),
            &format!(
                "expected a number above 0, like 50, or \"50 shadow\", or \"unlimited\"; found {found}"
            ),
        );
    }
    check_one("limits.scope = 'world'", "expected \"fleet\" or \"gateway\", found \"world\"");
    check_one("limits.x_ratelimit_headers = 'yes'", "expected true or false, found \"yes\"");
}

#[test]
fn a_route_is_told_what_is_wrong_with_its_limits() {
    let at = |setting: &str, column: usize, expected: &str| {
        let name = setting.split(' ').next().unwrap();
        let expected = format!("keyward.toml:8:{column}: routes[0].{name}: {expected}");
        check_route(&format!("path = '/'\n{setting}"), &[&expected]);
    };
    at("cost = 0", 8, "expected a number from 1 to 1000000, found 0");
    at("cost = '1'", 8, "expected a number from 1 to 1000000, found \"1\"");
    let rate = "expected a rate like \"100/s\", \"6000/min\" or \"100/s burst 200\", with numbers above 0, or \"unlimited\"; found ";
    at("rate = 'fast'", 8, &format!("{rate}\"fast\""));
    at("rate_per_address = '1/s shadow'", 20, &format!("{rate}\"1/s shadow\""));
}

#[test]
fn a_rate_of_keys_where_nobody_shows_one_is_warned_of() {
    let text =
        |settings: &str| with_route(&format!("name = 'r'\nupstream = 'u'\npath = '/'\n{settings}"));
    let warnings = |settings: &str| Written::new(&text(settings)).load(&[], &[]).unwrap().warnings;
    let said = warnings("access = 'public'\nrate = '1/s'");
    assert!(said.len() == 1 && said[0].contains("keyward.toml:9:8: routes[0].rate: "), "{said:?}");
    for settings in ["access = 'public'\nrate_per_address = '1/s'", "rate = '1/s'"] {
        assert_eq!(warnings(settings), Vec::<String>::new());
    }
}

#[test]
fn a_scheme_says_what_its_keys_do_not() {
    let text = "[limits]\nrate = '5/s'\n[[schemes]]\nname = 'partners'\nprefix = 'kwp'\n\
                rate = 'unlimited'\nmax_in_flight = 7\n[[schemes]]\nname = 'b'\nprefix = 'kwb'\n";
    let config = config(text);
    let [partners, silent] = config.schemes.as_slice() else { panic!("{:?}", config.schemes) };
    assert_eq!((partners.name.as_str(), partners.prefix.as_str()), ("partners", "kwp"));
    assert_eq!(partners.limits, said("unlimited", "", "7"));
    assert_eq!(silent.limits, Limits::SILENT);
    let prefixes: Vec<&str> = config.prefixes().map(Prefix::as_str).collect();
    assert_eq!(prefixes, ["kw", "kwp", "kwb"]);
}

#[test]
fn no_two_schemes_share_a_name_or_a_prefix() {
    let scheme =
        |name: &str, prefix: &str| format!("[[schemes]]\nname = '{name}'\nprefix = '{prefix}'\n");
    check(
        &format!("{}{}{}", scheme("a", "aa"), scheme("a", "bb"), scheme("b", "aa")),
        &[
            "keyward.toml:5:8: schemes[1].name: \"a\" is the name of schemes[0] already",
            "keyward.toml:9:10: schemes[2].prefix: \"aa\" is schemes[0].prefix already",
        ],
    );
    check(
        &scheme("a", "kw"),
        &["keyward.toml:3:10: schemes[0].prefix: \"kw\" is keys.prefix already"],
    );
    check(
        &format!("keys.prefix = 'aa'\n{}", scheme("a", "aa")),
        &["keyward.toml:4:10: schemes[0].prefix: \"aa\" is keys.prefix already"],
    );
    check(
        &scheme("default", "aa"),
        &[
            "keyward.toml:2:8: schemes[0].name: \"default\" is the scheme of [keys]: its limits are those of [limits]",
        ],
    );
    check(
        &scheme("a", "kwop"),
        &["keyward.toml:3:10: schemes[0].prefix: \"kwop\" is the prefix of operators' tokens"],
    );
}

#[test]
fn a_scheme_is_told_what_is_wrong_with_it() {
    check(
        "[[schemes]]\nrate = '5'\ncost = 1\n",
        &[
            "keyward.toml:1:1: schemes[0].name: is missing",
            "keyward.toml:1:1: schemes[0].prefix: is missing",
            "keyward.toml:2:8: schemes[0].rate: expected a rate like \"100/s\", \"6000/min\" or \"100/s burst 200\", with numbers above 0, or \"unlimited\"; found \"5\"",
            "keyward.toml:3:1: schemes[0].cost: unknown setting; did you mean \"routes[].cost\"?",
        ],
    );
    assert_eq!(
        outside_faults("", &["schemes=1"], &[]),
        ["--set schemes: schemes: can only be written in the file, under [[schemes]]"]
    );
}
