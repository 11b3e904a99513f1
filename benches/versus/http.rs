//! A blocking HTTP/1.1 client, just enough to mint keys and to probe a proxy.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A keep-alive connection.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

/// An answer whose body had a length.
pub struct Response {
    pub status: u16,
    pub body: String,
    headers: Vec<(String, String)>,
}

/// Spells out a request; its body may be empty.
pub fn request(line: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut request = format!("{line} HTTP/1.1\r\n");
    for (name, value) in headers {
        request.extend([name, ": ", value, "\r\n"]);
    }
    if !body.is_empty() {
        let length = body.len().to_string();
        request.extend(["content-length: ", &length, "\r\n"]);
    }
    request + "\r\n" + body
}

impl Connection {
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends one request and waits for its answer.
    pub fn send(&mut self, request: &str) -> Result<Response> {
        self.stream.get_mut().write_all(request.as_bytes())?;
        let status = self.read_status()?;
        let headers = self.read_headers()?;
        let mut response = Response { status, body: String::new(), headers };
        response.body = self.read_body(response.length()?)?;
        Ok(response)
    }

    fn read_status(&mut self) -> Result<u16> {
        let line = self.read_line()?;
        line.split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .with_context(|| format!("not a status line: {line:?}"))
    }

    fn read_headers(&mut self) -> Result<Vec<(String, String)>> {
        let mut headers = Vec::new();
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                return Ok(headers);
            }
            let (name, value) = line.split_once(':').context("a header without a colon")?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn read_line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("the connection was closed before an answer");
        }
        Ok(line.trim_end().to_owned())
    }

    fn read_body(&mut self, length: usize) -> Result<String> {
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}

impl Response {
    /// The value of a header, named in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    fn length(&self) -> Result<usize> {
        if self.header("transfer-encoding").is_some() {
            bail!("a body without a length: this client reads none");
        }
        let length = self.header("content-length").unwrap_or("0");
        length.parse().context("content-length is not a number")
    }
}
