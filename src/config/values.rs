//! Decides what each kind of value may be: functions from what was written to a value, or to the
//! words of a fault.

use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config::Percent;
use crate::config::raw::{Content, Node};
use crate::config::units;
use crate::key::record::Label;
use crate::key::text::Prefix;
use crate::rate::Rate;
use crate::rate::limits::Setting;
use crate::route::host::Host;

/// The words for a value of the wrong kind.
pub fn expected(what: &str, node: &Node) -> String {
    format!("expected {what}, {}", node.found())
}

/// A time of at least `least`.
pub fn time(least: Duration) -> impl Fn(&Node) -> Result<Duration, String> {
    time_between(least, TIME_MAX)
}

/// A time from `least` to `most`.
pub fn time_between(least: Duration, most: Duration) -> impl Fn(&Node) -> Result<Duration, String> {
    move |node| {
        let time = node.text().and_then(units::time);
        match time
            .ok_or_else(|| expected("a time like \"500ms\", \"30s\", \"10m\" or \"1h\"", node))?
        {
            it if it < least => {
                Err(expected(&format!("at least {}", units::time_text(least)), node))
            }
            it if it > most => Err(expected(&format!("at most {}", units::time_text(most)), node)),
            it => Ok(it),
        }
    }
}

/// A size in bytes from `least` to `most`.
pub fn size(least: u64, most: u64) -> impl Fn(&Node) -> Result<u64, String> {
    move |node| {
        let size = node.text().and_then(units::size);
        let size =
            size.ok_or_else(|| expected("a size like \"512B\", \"32KiB\" or \"19MiB\"", node))?;
        let bounds = || format!("{} to {}", units::size_text(least), units::size_text(most));
        if (least..=most).contains(&size) { Ok(size) } else { Err(expected(&bounds(), node)) }
    }
}

/// What argon2 may use, in KiB: 8KiB to 64MiB, as records are bounded too.
pub fn memory_kib(node: &Node) -> Result<u32, String> {
    let bytes = size(8 << 10, 64 << 20)(node)?;
    if !bytes.is_multiple_of(1 << 10) {
        return Err(expected("whole KiB", node));
    }
    u32::try_from(bytes >> 10).map_err(|_large| expected("a smaller size", node))
}

/// A whole number from 1 to `most`.
pub fn count(most: u32) -> impl Fn(&Node) -> Result<NonZeroU32, String> {
    move |node| {
        number(node, most).ok_or_else(|| expected(&format!("a number from 1 to {most}"), node))
    }
}

/// A whole number from 0 to `most`.
pub fn count_or_none(most: u32) -> impl Fn(&Node) -> Result<u32, String> {
    move |node| {
        let is_zero = matches!(node.content, Content::Integer(0));
        let count = if is_zero { Some(0) } else { number(node, most).map(NonZeroU32::get) };
        count.ok_or_else(|| expected(&format!("a number from 0 to {most}"), node))
    }
}

/// A share of at least `least`.
pub fn percent(least: Percent) -> impl Fn(&Node) -> Result<Percent, String> {
    move |node| {
        let share = node.text().and_then(units::percent).filter(|it| *it >= least.0);
        let wrong = || expected(&format!("a share from \"{}%\" to \"100%\"", least.0), node);
        share.map(Percent).ok_or_else(wrong)
    }
}

/// `"off"`, or a time of at least `least`.
pub fn time_or_off(least: Duration) -> impl Fn(&Node) -> Result<Option<Duration>, String> {
    move |node| match (node.text(), node.text().and_then(units::time)) {
        (Some("off"), _) => Ok(None),
        (_, Some(_)) => time(least)(node).map(Some),
        (_, None) => Err(expected("\"off\" or a time like \"30s\"", node)),
    }
}

/// The word, or a whole number from 1 to `most`.
pub fn word_or_count<T: Copy>(
    word: (&'static str, T),
    most: u32,
    count: impl Fn(NonZeroU32) -> T,
) -> impl Fn(&Node) -> Result<T, String> {
    move |node| {
        let (text, value) = word;
        let counted = || number(node, most).map(&count);
        let found = if node.text() == Some(text) { Some(value) } else { counted() };
        found.ok_or_else(|| expected(&format!("{text:?} or a number from 1 to {most}"), node))
    }
}

/// The word, which is nothing, or what `parse` reads.
pub fn unless<T>(
    word: &'static str,
    parse: impl Fn(&Node) -> Result<T, String>,
) -> impl Fn(&Node) -> Result<Option<T>, String> {
    move |node| {
        if node.text() == Some(word) {
            return Ok(None);
        }
        let with_word = |fault: String| match fault.strip_prefix("expected ") {
            Some(rest) => format!("expected {word:?} or {rest}"),
            None => fault,
        };
        parse(node).map(Some).map_err(with_word)
    }
}

/// For what is counted in memory.
pub fn wide(count: NonZeroU32) -> NonZeroUsize {
    NonZeroUsize::try_from(count).unwrap_or(NonZeroUsize::MAX)
}

/// `false` or `true`, as the two things that they mean.
pub fn switch<T: Copy>(off: T, on: T) -> impl Fn(&Node) -> Result<T, String> {
    move |node| match node.content {
        Content::Boolean(false) => Ok(off),
        Content::Boolean(true) => Ok(on),
        Content::Text(_)
        | Content::Integer(_)
        | Content::Other(_)
        | Content::List(_)
        | Content::Table(_) => Err(expected("true or false", node)),
    }
}

/// One of a few words.
pub fn one_of<T: Copy, const N: usize>(
    words: [(&'static str, T); N],
) -> impl Fn(&Node) -> Result<T, String> {
    move |node| {
        let found = words.iter().find(|(word, _value)| node.text() == Some(*word));
        found.map(|(_word, value)| *value).ok_or_else(|| {
            let words: Vec<String> =
                words.iter().map(|(word, _value)| format!("{word:?}")).collect();
            expected(&words.join(" or "), node)
        })
    }
}

/// An address to listen on.
pub fn socket_address(node: &Node) -> Result<SocketAddr, String> {
    let address = node.text().and_then(|it| it.parse().ok());
    address.ok_or_else(|| expected("an address like \"127.0.0.1:8080\" or \"[::]:8080\"", node))
}

/// A network, or one address.
pub fn network(node: &Node) -> Result<IpNet, String> {
    let network = node.text().and_then(units::network);
    network.ok_or_else(|| expected("a network like \"10.0.0.0/8\" or \"fd00::/8\"", node))
}

/// A host without a port.
pub fn bare_host(node: &Node) -> Result<String, String> {
    match node.text().map(Host::parse) {
        Some(Ok((host, None))) => Ok(host.as_str().to_owned()),
        Some(Ok((_, Some(_)))) => Err(expected("a host without a port", node)),
        Some(Err(_)) | None => Err(expected("a host like \"admin.example.com\"", node)),
    }
}

/// A name of an upstream, a route or a scheme.
pub fn name(node: &Node) -> Result<String, String> {
    let text = node.text().ok_or_else(|| expected("a name in quotes", node))?;
    text.parse::<Label>().map(String::from).map_err(|fault| format!("{fault}, {}", node.found()))
}

/// A file; a relative path starts at what names it.
pub fn file(node: &Node) -> Result<PathBuf, String> {
    let text = node.text().filter(|it| !it.is_empty() && !it.contains('\0'));
    let text = text.ok_or_else(|| expected("a path of a file", node))?;
    Ok(node.place.directory().join(text))
}

/// What keys begin with.
pub fn prefix(node: &Node) -> Result<Prefix, String> {
    let prefix = node.text().ok_or_else(|| expected("a prefix like \"kw\"", node))?;
    let prefix = prefix.parse::<Prefix>().map_err(|fault| format!("{fault}, {}", node.found()))?;
    if prefix == Prefix::of_operators() {
        return Err(format!("{:?} is the prefix of operators' tokens", prefix.as_str()));
    }
    Ok(prefix)
}

/// A rate, or none.
pub fn rate(node: &Node) -> Result<Option<Rate>, String> {
    let text = node
        .text()
        .ok_or_else(|| expected("\"unlimited\" or a rate like \"20/s burst 200\"", node))?;
    if text == "unlimited" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|fault| format!("{fault}, or \"unlimited\"; {}", node.found()))
}

/// What is said of a limit: a number too, where a number alone is one.
pub fn setting<T>(node: &Node) -> Result<Setting<T>, String>
where
    T: FromStr<Err: fmt::Display>,
{
    let number;
    let text = match &node.content {
        Content::Text(text) => text.as_str(),
        Content::Integer(it) => {
            number = it.to_string();
            &number
        }
        Content::Boolean(_) | Content::Other(_) | Content::List(_) | Content::Table(_) => "",
    };
    text.parse().map_err(|fault| format!("{fault}, or \"unlimited\"; {}", node.found()))
}

/// A filter of log lines. A lone word has to be a level: the library would take `inof` for the
/// name of a module, and then say nothing at all.
pub fn log_filter(node: &Node) -> Result<String, String> {
    let is_level = |it: &str| it.trim().parse::<LevelFilter>().is_ok() && !it.trim().is_empty();
    let is_directive = |it: &str| is_level(it.rsplit('=').next().unwrap_or_default());
    let text = node.text().filter(|it| it.split(',').all(is_directive));
    let text = text.filter(|it| EnvFilter::builder().parse(it).is_ok());
    let what = "\"error\", \"warn\", \"info\", \"debug\", \"trace\", \"off\" or a filter like \"info,keyward=debug\"";
    text.map(str::to_owned).ok_or_else(|| expected(what, node))
}

fn number(node: &Node, most: u32) -> Option<NonZeroU32> {
    let Content::Integer(number) = node.content else { return None };
    u32::try_from(number).ok().filter(|it| *it <= most).and_then(NonZeroU32::new)
}

/// A year: nobody waits longer, and deadlines can be added up without a care.
const TIME_MAX: Duration = Duration::from_hours(8760);
