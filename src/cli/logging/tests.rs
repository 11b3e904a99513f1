//! Claims about log lines.

use std::sync::{Arc, Mutex};

use tracing::subscriber::with_default;

use super::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_line_is_one_json_object_with_the_access_logs_names() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().event_format(Json).with_writer(move || writer.clone()).finish();
    with_default(subscriber, || {
        tracing::warn!(key.id = "7Hq2", count = 3_u64, ready = false, "a\nmessage");
    });
    let bytes = lines.0.lock().unwrap().clone();
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(text.lines().count(), 1);
    let line: Value = serde_json::from_str(&text).unwrap();
    assert!(line["ts"].as_str().unwrap().parse::<Timestamp>().is_ok());
    assert_eq!((&line["level"], &line["message"]), (&"warn".into(), &"a\nmessage".into()));
    assert_eq!((&line["key.id"], &line["count"]), (&"7Hq2".into(), &3.into()));
    assert_eq!(line["ready"], false);
}
