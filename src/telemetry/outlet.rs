//! Writes lines on a thread of its own, so that nobody waits for whoever reads them.
//!
//! A reader that stands still fills the pipe, and then whoever writes into it stands still too. So
//! workers only hand their lines over; what finds its inlet full is dropped and counted. All lines
//! go through the one thread, each whole, so that none begins inside another.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// The thread that writes. When this is dropped, what was handed over is written first.
#[derive(Debug)]
pub struct Outlet {
    inlets: Inlets,
    ended: Receiver<()>,
}

/// The ways into an outlet: a flood of one kind of lines takes no room from the other.
#[derive(Clone, Debug)]
pub struct Inlets {
    /// Of what the program says.
    pub log: Inlet,
    /// Of what requests leave.
    pub access: Inlet,
}

/// A bounded way into an outlet, from any thread.
#[derive(Clone, Debug)]
pub struct Inlet {
    sender: Sender<Parcel>,
    fill: Arc<Fill>,
}

/// How full an inlet is, and what found no room in it.
#[derive(Debug, Default)]
struct Fill {
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

#[derive(Debug)]
enum Parcel {
    Lines { text: Vec<u8>, count: u64, fill: Arc<Fill> },
    End,
}

impl Outlet {
    /// Starts the thread that writes to `target`.
    pub fn start(target: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, inbox) = channel();
        let (ending, ended) = channel();
        thread::Builder::new().name("lines".to_owned()).spawn(move || {
            write(&inbox, target);
            // Whoever asked for the end may have stopped waiting for it.
            ending.send(()).ok();
        })?;
        let inlet = || Inlet { sender: sender.clone(), fill: Arc::default() };
        Ok(Self { inlets: Inlets { log: inlet(), access: inlet() }, ended })
    }

    /// The ways in.
    pub fn inlets(&self) -> &Inlets {
        &self.inlets
    }
}

impl Drop for Outlet {
    /// Waits for the last lines, but not for a reader that stands still.
    fn drop(&mut self) {
        if self.inlets.log.sender.send(Parcel::End).is_ok() {
            self.ended.recv_timeout(END_TIMEOUT).ok();
        }
    }
}

impl Inlet {
    /// Hands whole lines over, so many of them; where there is no room, they are dropped.
    pub fn send(&self, text: Vec<u8>, count: u64) {
        let (length, fill) = (text.len(), Arc::clone(&self.fill));
        let before = self.fill.bytes.fetch_add(length, Ordering::Relaxed);
        let has_room = before + length <= BYTES_MAX;
        if !has_room || self.sender.send(Parcel::Lines { text, count, fill }).is_err() {
            self.fill.bytes.fetch_sub(length, Ordering::Relaxed);
            self.fill.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Lines that nobody took in time, or at all.
    pub fn dropped(&self) -> u64 {
        self.fill.dropped.load(Ordering::Relaxed)
    }
}

/// What can write a log line: one call of `write` is one or more whole lines.
impl Write for Inlet {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.send(text.to_vec(), 1);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Until the end is asked for. That a line cannot be written is counted and not said: it would be
/// said here.
fn write(inbox: &Receiver<Parcel>, mut target: impl Write) {
    while let Ok(Parcel::Lines { text, count, fill }) = inbox.recv() {
        if target.write_all(&text).and_then(|()| target.flush()).is_err() {
            fill.dropped.fetch_add(count, Ordering::Relaxed);
        }
        fill.bytes.fetch_sub(text.len(), Ordering::Relaxed);
    }
}

/// What one inlet may hold.
const BYTES_MAX: usize = 2 * 1024 * 1024;
const END_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::SyncSender;

    use super::*;

    /// Says what was written, and waits where nobody listens.
    struct Pipe(SyncSender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.send(text.to_vec()).map_err(|_gone| io::ErrorKind::BrokenPipe)?;
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_that_stands_still_and_what_has_no_room_is_counted() {
        let (pipe, reader) = std::sync::mpsc::sync_channel(0);
        let outlet = Outlet::start(Pipe(pipe)).unwrap();
        let inlets = outlet.inlets().clone();
        let chunk = vec![b'x'; BYTES_MAX / 4];
        (0..7).for_each(|_| inlets.access.send(chunk.clone(), 10));
        assert_eq!(inlets.access.dropped(), 30);
        inlets.log.send(b"audit\n".to_vec(), 1);
        assert_eq!(inlets.log.dropped(), 0, "a flood of one kind takes no room from the other");
        let read: Vec<Vec<u8>> = (0..5).map(|_| reader.recv().unwrap()).collect();
        assert_eq!(read[4], b"audit\n");
        drop(reader);
        drop(outlet);
    }

    #[test]
    fn the_last_lines_are_written_before_the_end_and_later_ones_are_counted() {
        #[derive(Clone, Default)]
        struct Page(Arc<Mutex<Vec<u8>>>);
        impl Write for Page {
            fn write(&mut self, text: &[u8]) -> io::Result<usize> {
                thread::yield_now();
                self.0.lock().unwrap().write(text)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let page = Page::default();
        let outlet = Outlet::start(page.clone()).unwrap();
        let inlets = outlet.inlets().clone();
        (0..50).for_each(|it| inlets.log.send(format!("{it}\n").into_bytes(), 1));
        drop(outlet);
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 50);
        inlets.log.send(b"late\n".to_vec(), 1);
        assert_eq!(inlets.log.dropped(), 1);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let (pipe, reader) = std::sync::mpsc::sync_channel(0);
        drop(reader);
        let outlet = Outlet::start(Pipe(pipe)).unwrap();
        let inlet = outlet.inlets().access.clone();
        inlet.send(b"a\nb\n".to_vec(), 2);
        drop(outlet);
        assert_eq!(inlet.dropped(), 2);
    }
}
