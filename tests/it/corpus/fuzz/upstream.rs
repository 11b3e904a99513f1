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
            tokio::spawn(serve(stream, Arc::clone(&book)));
        }
    });
}

/// How far the request at the beginning has come.
#[derive(Default)]
struct Progress {
    noted: bool,
    answered: bool,
}

async fn serve(mut stream: TcpStream, book: Arc<Book>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut bytes, mut progress) = (Vec::with_capacity(8 * 1024), Progress::default());
    while stream.read_buf(&mut bytes).await? > 0 {
        let mut at = 0;
        loop {
            match read(&bytes[at..], Side::Upstream) {
                Found::Whole(request, length) => {
                    progress.note(&request, &book);
                    book.whole(&request);
                    progress.answer(&mut stream, &request).await?;
                    progress = Progress::default();
                    at += length;
                    continue;
                }
                Found::Begun(Some(request)) => {
                    progress.note(&request, &book);
                    if answers_early(&request) {
                        progress.answer(&mut stream, &request).await?;
                    }
                }
                Found::Begun(None) | Found::Nothing => {}
                Found::Fault(why) => {
                    book.find(format!("{why}: {}", bytes[at..].escape_ascii()));
                    return Ok(());
                }
            }
            break;
        }
        drop(bytes.drain(..at));
    }
    Ok(())
}

impl Progress {
    fn note(&mut self, request: &Request, book: &Book) {
        if !self.noted {
            self.noted = true;
            book.head(request);
        }
    }

    async fn answer(&mut self, stream: &mut TcpStream, request: &Request) -> io::Result<()> {
        if std::mem::replace(&mut self.answered, true) {
            return Ok(());
        }
        let is_head = request.method() == b"HEAD";
        let answer: &[u8] = if is_head {
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
        } else {
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
        };
        stream.write_all(answer).await
    }
}

/// Some are answered before their body has ended.
pub fn answers_early(request: &Request) -> bool {
    marker(request.target()).is_some_and(|it| it % 16 == 0)
}
