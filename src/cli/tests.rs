//! Claims about exit codes and about which stream is written to.

use super::*;

/// The exit code, what went to standard output, what went to standard error.
fn ran(words: &str) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut streams = Streams { out: &mut out, err: &mut err };
    let code = run(words.split_whitespace().map(OsString::from), &mut streams);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (code, text(out), text(err))
}

/// A pipe whose reader is gone.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn help_goes_to_standard_output_and_a_slip_to_standard_error() {
    let (code, out, err) = ran("keyward --help");
    assert_eq!((code, out.contains("Usage: keyward"), err.as_str()), (0, true, ""));
    let (code, out, err) = ran("keyward srve");
    assert_eq!((code, out.as_str(), err.contains("serve")), (2, "", true));
}

#[test]
fn a_bad_configuration_is_78_with_every_fault() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "x = 1\ny = 2\n").unwrap();
    let name = file.path().display();
    let (code, out, err) = ran(&format!("keyward check {name}"));
    assert_eq!((code, out.as_str()), (78, ""));
    let expected = format!(
        "keyward: the configuration has 2 faults:\n\
         {name}:1:1: x: unknown setting\n{name}:2:1: y: unknown setting\n"
    );
    assert_eq!(err, expected);
}

#[test]
fn a_good_configuration_is_said_to_be_one() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (code, out, err) = ran(&format!("keyward check {}", file.path().display()));
    let expected = format!("{}: no faults, 0 routes, 0 upstreams\n", file.path().display());
    assert_eq!((code, out, err.as_str()), (0, expected, ""));
}

#[test]
fn nobody_there_is_69() {
    assert_eq!(ran("keyward healthcheck --url http://127.0.0.1:1").0, 69);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut err = Vec::new();
    let mut streams = Streams { out: &mut Closed, err: &mut err };
    let words = ["keyward", "completions", "bash"].map(OsString::from);
    assert_eq!(run(words.into_iter(), &mut streams), 0);
    assert_eq!(err, b"");
}

#[test]
fn a_panic_is_70() {
    assert_eq!(caught(|| panic!("on purpose")), 70);
    drop(panic::take_hook());
}
