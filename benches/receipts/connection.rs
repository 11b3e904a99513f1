//! A plain connection to Redis.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// One connection, on which whoever asks waits.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

/// What Redis answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Nothing,
    Number(i64),
    Text(String),
    List(Vec<Value>),
}

/// How often what was done, as Redis counts it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// By clients.
    pub asked: f64,
    /// In all, also by scripts.
    pub done: f64,
    /// Seconds of CPU.
    pub cpu: f64,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends commands at once, and reads as many answers; the last one.
    pub fn ask(&mut self, commands: &[&[&str]]) -> Result<Value> {
        let mut bytes = Vec::new();
        for words in commands {
            write!(bytes, "*{}\r\n", words.len())?;
            for word in *words {
                write!(bytes, "${}\r\n{word}\r\n", word.len())?;
            }
        }
        self.stream.get_mut().write_all(&bytes)?;
        let mut last = Value::Nothing;
        for _ in commands {
            last = self.read()?;
        }
        Ok(last)
    }

    /// What its clients have asked for and what that cost, since it started.
    pub fn counts(&mut self) -> Result<Counts> {
        let Value::Text(text) = self.ask(&[&["INFO", "everything"]])? else {
            bail!("no INFO");
        };
        let field = |name: &str| -> Result<f64> {
            let mut lines = text.lines();
            let found = lines.find_map(|it| it.strip_prefix(name)?.strip_prefix(':'));
            found.context(name.to_owned())?.parse().context(name.to_owned())
        };
        let calls = |name: &str| -> f64 {
            let start = format!("cmdstat_{name}:calls=");
            let found = text.lines().find_map(|it| it.strip_prefix(&start)?.split(',').next());
            found.and_then(|it| it.parse().ok()).unwrap_or(0.0)
        };
        Ok(Counts {
            asked: ["evalsha", "eval", "xread", "wait"].map(calls).iter().sum(),
            done: field("total_commands_processed")?,
            cpu: field("used_cpu_user")? + field("used_cpu_sys")?,
        })
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("Redis closed the connection");
        }
        let (kind, rest) = line.trim_end().split_at(1);
        Ok(match kind {
            "+" => Value::Text(rest.to_owned()),
            ":" => Value::Number(rest.parse()?),
            "-" => bail!("Redis says {rest}"),
            "$" | "*" if rest == "-1" => Value::Nothing,
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>()? + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Value::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
            "*" => Value::List((0..rest.parse()?).map(|_| self.read()).collect::<Result<_>>()?),
            _ => bail!("Redis answers {line:?}"),
        })
    }
}

impl Counts {
    pub fn since(self, before: Self) -> Self {
        Self {
            asked: self.asked - before.asked,
            done: self.done - before.done,
            cpu: self.cpu - before.cpu,
        }
    }
}

impl Value {
    pub fn text(&self) -> Result<&str> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Nothing | Self::Number(_) | Self::List(_) => bail!("no text: {self:?}"),
        }
    }

    pub fn list(&self) -> Result<&[Self]> {
        match self {
            Self::List(list) => Ok(list),
            Self::Nothing | Self::Number(_) | Self::Text(_) => bail!("no list: {self:?}"),
        }
    }

    /// One of a list.
    pub fn at(&self, place: usize) -> Result<&Self> {
        self.list()?.get(place).with_context(|| format!("{place} in {self:?}"))
    }
}
