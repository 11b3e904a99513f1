//! Decides how times, sizes, shares and networks are written.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

/// Reads `500ms`, `30s`, `10m` or `1h`.
pub fn time(text: &str) -> Option<Duration> {
    let (count, unit) = split(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60 * 1_000,
        "h" => 60 * 60 * 1_000,
        _ => return None,
    };
    count.checked_mul(millis).map(Duration::from_millis)
}

/// Writes a time as [`time`] reads it.
pub fn time_text(time: Duration) -> String {
    let millis = time.as_millis();
    let units = [("h", 60 * 60 * 1_000), ("m", 60 * 1_000), ("s", 1_000)];
    let fitting =
        units.into_iter().find(|(_unit, size)| millis >= *size && millis.is_multiple_of(*size));
    match fitting {
        Some((unit, size)) => format!("{}{unit}", millis / size),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

/// Reads `512B`, `32KiB`, `19MiB` or `1GiB`.
pub fn size(text: &str) -> Option<u64> {
    let (count, unit) = split(text)?;
    let bytes = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    count.checked_mul(bytes)
}

/// Writes a size as [`size`] reads it.
pub fn size_text(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let fitting =
        units.into_iter().find(|(_unit, size)| bytes >= *size && bytes.is_multiple_of(*size));
    let (unit, size) = fitting.unwrap_or(("B", 1));
    format!("{}{unit}", bytes / size)
}

/// Reads a share like `20%`, from 0 to 100.
pub fn percent(text: &str) -> Option<u8> {
    match split(text)? {
        (count, "%") => u8::try_from(count).ok().filter(|it| *it <= 100),
        (_, _) => None,
    }
}

/// Reads a network like `10.0.0.0/8`, or one address. One of IPv4 addresses written as IPv6 is one
/// of IPv4: callers are looked for under their shortest address.
pub fn network(text: &str) -> Option<IpNet> {
    let alone = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let network = text.parse::<IpNet>().ok().or_else(alone)?;
    Some(mapped(network).map_or(network, IpNet::V4).trunc())
}

/// `10.0.0.0/8` of `::ffff:10.0.0.0/104`.
fn mapped(network: IpNet) -> Option<Ipv4Net> {
    let IpNet::V6(wide) = network else { return None };
    let address: Ipv4Addr = wide.addr().to_ipv4_mapped()?;
    Ipv4Net::new(address, wide.prefix_len().checked_sub(MAPPED_BITS)?).ok()
}

/// Digits, then a unit.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|it: char| !it.is_ascii_digit())?;
    let (count, unit) = text.split_at_checked(end)?;
    Some((count.parse().ok()?, unit))
}

/// What every IPv4 address begins with as an IPv6 one.
const MAPPED_BITS: u8 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_time(text: &str, millis: Option<u64>) {
        assert_eq!(time(text), millis.map(Duration::from_millis), "parsing {text:?}");
    }

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        check_time("500ms", Some(500));
        check_time("0s", Some(0));
        check_time("30s", Some(30_000));
        check_time("10m", Some(600_000));
        check_time("24h", Some(86_400_000));
        let others = [
            "",
            "s",
            "30",
            "30 s",
            " 30s",
            "1.5s",
            "-1s",
            "+1s",
            "1d",
            "1S",
            "1min",
            "99999999999999999h",
        ];
        for text in others {
            check_time(text, None);
        }
    }

    #[test]
    fn a_size_is_a_number_and_a_binary_unit() {
        let good =
            [("0B", 0), ("512B", 512), ("32KiB", 32_768), ("19MiB", 19_922_944), ("1GiB", 1 << 30)];
        for (text, bytes) in good {
            assert_eq!(size(text), Some(bytes), "parsing {text:?}");
        }
        for text in ["", "KiB", "32", "32KB", "32kib", "32K", "1.5MiB", "-1B", "99999999999GiB"] {
            assert_eq!(size(text), None, "parsing {text:?}");
        }
    }

    #[test]
    fn a_share_is_a_number_up_to_100_and_its_sign() {
        for (text, share) in [("0%", 0), ("20%", 20), ("100%", 100)] {
            assert_eq!(percent(text), Some(share), "parsing {text:?}");
        }
        for text in ["", "%", "20", "101%", "256%", "1.5%", "-1%", "20 %", "20%%"] {
            assert_eq!(percent(text), None, "parsing {text:?}");
        }
    }

    #[test]
    fn a_network_of_ipv4_is_one_in_every_spelling() {
        for (text, expected) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::ffff:a01:203/128", "10.1.2.3/32"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            // Wider than all of IPv4.
            ("::ffff:0:0/95", "::fffe:0:0/95"),
            ("::/0", "::/0"),
            ("fd00::1/8", "fd00::/8"),
        ] {
            assert_eq!(network(text), expected.parse().ok(), "parsing {text:?}");
        }
        for text in ["", "10.0.0.0/33", "::ffff:10.0.0.0/129", "10.0.0/8", "a"] {
            assert_eq!(network(text), None, "parsing {text:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for text in ["0s", "1ms", "1500ms", "90s", "10m", "24h"] {
            assert_eq!(time(text).map(time_text).as_deref(), Some(text));
        }
        for text in ["0B", "1025B", "32KiB", "19MiB", "2GiB"] {
            assert_eq!(size(text).map(size_text).as_deref(), Some(text));
        }
    }
}
