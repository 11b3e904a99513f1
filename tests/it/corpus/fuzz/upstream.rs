//! The upstream of a run: reads strictly, keeps the book, answers.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::corpus::fuzz::book::{Book, marker};
use crate::corpus::strict::{Found, Request, Side, read};

/// Serves whoever comes, on this runtime.
pub fn start(listener: TcpListener, book: Arc<Book>) {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let book = Arc::clone(&book);
            tokio::spawn(Line { stream, book, noted: false, answered: false }.serve());
        }
    });
}

/// One connection.
struct Line {
    stream: TcpStream,
    book: Arc<Book>,
    /// Whether the request that came last is in the book.
    noted: bool,
    answered: bool,
}

impl Line {
    async fn serve(mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        let mut bytes = Vec::with_capacity(8 * 1024);
        while self.stream.read_buf(&mut bytes).await? > 0 {
            let mut at = 0;
            while let Some(length) = self.next(&bytes[at..]).await? {
                at += length;
            }
            drop(bytes.drain(..at));
        }
        Ok(())
    }

    /// Takes the request at the beginning of `bytes`; how long it was, if it is whole.
    async fn next(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        match read(bytes, Side::Upstream) {
            Found::Whole(request, length) => {
                self.note(&request);
                self.book.whole(&request);
                self.answer(&request).await?;
                (self.noted, self.answered) = (false, false);
                return Ok(Some(length));
            }
            Found::Begun(Some(request)) => {
                self.note(&request);
                if answers_early(&request) {
                    self.answer(&request).await?;
                }
            }
            Found::Begun(None) | Found::Nothing => {}
            Found::Fault(why) => {
                self.book.find(format!("{why}: {}", bytes.escape_ascii()));
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(None)
    }

    fn note(&mut self, request: &Request) {
        if !std::mem::replace(&mut self.noted, true) {
            self.book.head(request);
        }
    }

    async fn answer(&mut self, request: &Request) -> io::Result<()> {
        if std::mem::replace(&mut self.answered, true) {
            return Ok(());
        }
        let is_head = request.method() == b"HEAD";
        let body = if is_head { "" } else { "ok" };
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{body}");
        self.stream.write_all(answer.as_bytes()).await
    }
}

/// Some are answered before their body has ended.
pub fn answers_early(request: &Request) -> bool {
    marker(request.target()).is_some_and(|it| it % 16 == 0)
}
