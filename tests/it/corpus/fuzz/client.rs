//! One hostile connection: sends its input, and takes what is answered.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::corpus::fuzz::dice::Dice;
use crate::corpus::strict::{Found, Request, Side, read_all};

/// What became of an input.
#[derive(Debug)]
pub struct Played {
    /// The requests in it that have one reading, up to the one that ends its connection.
    pub clear: Vec<Request>,
    /// What stands behind them.
    pub rest: Found,
    /// What was answered, in order.
    pub answers: Vec<Answer>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub id: Vec<u8>,
}

/// Plays one.
pub async fn play(address: SocketAddr, input: &[u8], number: u64) -> std::io::Result<Played> {
    let (mut clear, mut rest) = read_all(input, Side::Downstream);
    if let Some(last) = clear.iter().position(Request::is_last) {
        clear.truncate(last + 1);
        rest = Found::Fault("behind the last one");
    }
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // Nobody waits for this connection once it is closed.
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    let enough = matches!(rest, Found::Nothing).then_some(clear.len());
    let answered = exchange(stream, input, &mut Dice::new(number, 1), enough).await;
    Ok(Played { clear, rest, answers: answers(&answered) })
}

/// Sends it in pieces, and reads until the other side closes, or has answered `enough`, or has
/// nothing more to say.
async fn exchange(
    mut stream: TcpStream,
    input: &[u8],
    dice: &mut Dice,
    enough: Option<usize>,
) -> Vec<u8> {
    let mut answered = Vec::with_capacity(8 * 1024);
    let cut = if dice.percent(30) { dice.below(input.len() + 1) } else { input.len() };
    // Whoever was refused may be gone already.
    let mut sent = stream.write_all(&input[..cut]).await;
    if cut < input.len() {
        tokio::task::yield_now().await;
        sent = sent.and(stream.write_all(&input[cut..]).await);
    }
    drop(sent);
    let mut silence = SILENCE;
    loop {
        match timeout(silence, stream.read_buf(&mut answered)).await {
            Ok(Ok(0) | Err(_)) => return answered,
            Ok(Ok(_)) if enough.is_some_and(|it| answers(&answered).len() >= it) => {
                return answered;
            }
            Ok(Ok(_)) => {}
            Err(_) if silence == SILENCE => {
                silence = PATIENCE;
                drop(stream.shutdown().await);
            }
            Err(_) => return answered,
        }
    }
}

/// What stands in the bytes that came back. No body of ours or the upstream's looks like a head.
fn answers(bytes: &[u8]) -> Vec<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let heads = text.split("HTTP/1.").filter_map(|head| {
        let status = head.get(2..5)?.parse().ok().filter(|it| *it >= 200)?;
        let (head, _body) = head.split_once("\r\n\r\n")?;
        let id = head.split("\r\n").find_map(|it| it.strip_prefix("x-request-id: "));
        Some(Answer { status, id: id.unwrap_or_default().as_bytes().to_vec() })
    });
    heads.collect()
}

/// After so long a connection that waits for more is told that there is none.
const SILENCE: Duration = Duration::from_millis(60);

/// After so long it is not waited for.
const PATIENCE: Duration = Duration::from_secs(3);
