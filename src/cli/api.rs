//! Calls the admin API.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, redirect};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use zeroize::Zeroizing;

use crate::cli::documents::{self, Problem};
use crate::cli::failure::Failure;
use crate::cli::trust;

/// The admin API of one listener, with an operator's token.
#[derive(Debug)]
pub struct Api {
    wire: Wire,
    token: Token,
}

impl Api {
    /// For the listener at `url`, which the authorities in the file `ca` speak for, or else the
    /// system's.
    pub fn new(url: &str, ca: Option<&Path>, token: Token) -> Result<Self, Failure> {
        Ok(Self { wire: Wire::new(url, ca)?, token })
    }

    /// A call without a body; reqwest marks the token as sensitive.
    pub fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.wire.request(method, path).bearer_auth(self.token.0.as_str())
    }

    /// Makes the call. A refusal is a failure.
    pub fn send(&self, call: RequestBuilder) -> Result<Answer, Failure> {
        let (status, body) = self.wire.send(call)?;
        if status == StatusCode::NO_CONTENT {
            return Ok(Answer { document: Value::Null });
        }
        let document: Option<Value> = serde_json::from_slice(&body).ok();
        match document {
            Some(document) if status.is_success() => Ok(Answer { document }),
            Some(document) => Err(self.wire.refused(status, &document)),
            None => Err(self.wire.stranger(status)),
        }
    }
}

/// What the API answered; it may hold a plaintext.
pub struct Answer {
    /// As it was sent.
    pub document: Value,
}

impl Answer {
    /// The part of it that people are shown.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        documents::read(&self.document).map_err(|fault| {
            Failure::Failed(format!(
                "the answer is not what this version expects ({fault}): use the version of \
                 keyward that the gateway has"
            ))
        })
    }
}

/// One segment of a path.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// An operator's token. It cannot be printed, and is wiped on drop.
pub struct Token(Zeroizing<String>);

impl Token {
    /// The token in the environment, or in the file that it names.
    pub fn find(environment: impl Iterator<Item = (OsString, OsString)>) -> Result<Self, Failure> {
        let (mut token, mut file) = (None, None);
        for (name, value) in environment {
            if name == "KEYWARD_ADMIN_TOKEN" && !value.is_empty() {
                token = Some(Zeroizing::new(value.to_string_lossy().into_owned()));
            }
            if name == "KEYWARD_ADMIN_TOKEN_FILE" && !value.is_empty() {
                file = Some(value);
            }
        }
        if let Some(text) = token {
            return Self::parse(&text, "KEYWARD_ADMIN_TOKEN");
        }
        let file = file.ok_or_else(|| Failure::Usage(NO_TOKEN.to_owned()))?;
        Self::from_file(Path::new(&file))
    }

    /// The token in a file.
    pub fn from_file(file: &Path) -> Result<Self, Failure> {
        let name = file.display();
        let text = fs::read_to_string(file).map(Zeroizing::new).map_err(|fault| {
            Failure::Usage(format!(
                "KEYWARD_ADMIN_TOKEN_FILE: {name} cannot be read ({fault}): it should hold an \
                 operator's token"
            ))
        })?;
        Self::parse(&text, &format!("KEYWARD_ADMIN_TOKEN_FILE: {name}"))
    }

    /// What was not found in `place` is not said: it may be nearly a token.
    fn parse(text: &str, place: &str) -> Result<Self, Failure> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|it| it.is_ascii_graphic()) {
            return Err(Failure::Usage(format!("{place} holds no operator's token (kwop_…)")));
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(<redacted>)")
    }
}

/// HTTP to one address; nobody answers is one kind of failure, whatever the reason.
#[derive(Debug)]
pub struct Wire {
    runtime: Runtime,
    client: Client,
    base: String,
}

impl Wire {
    /// To the listener at `url`, which the authorities in the file `ca` speak for, or else the
    /// system's.
    pub fn new(url: &str, ca: Option<&Path>) -> Result<Self, Failure> {
        let base = url.trim_end_matches('/').to_owned();
        let parsed = Url::parse(&base).ok().filter(Url::has_host);
        // A token must not meet a proxy, nor follow a redirect.
        let client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT);
        let tls = match parsed.as_ref().map(Url::scheme) {
            Some("https") => trust::client_config(ca)?,
            Some("http") => trust::nobody()?,
            Some(_) | None => {
                return Err(Failure::Usage(format!(
                    "`{base}` is no address of an admin listener: expected one like {EXAMPLE}"
                )));
            }
        };
        let client = client
            .tls_backend_preconfigured(tls)
            .build()
            .map_err(|it| Failure::Failed(format!("no HTTP client can be made: {it}")))?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|it| Failure::Failed(format!("no runtime can be started: {it}")))?;
        Ok(Self { runtime, client, base })
    }

    /// A request for `path`.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// Sends it and reads the whole answer.
    pub fn send(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), Failure> {
        let exchange = async {
            let response: Response = request.send().await?;
            let status = response.status();
            Ok((status, response.bytes().await?.to_vec()))
        };
        self.runtime.block_on(exchange).map_err(|it| self.unreachable(&it))
    }

    fn unreachable(&self, fault: &reqwest::Error) -> Failure {
        let base = &self.base;
        if fault.is_timeout() && !fault.is_connect() {
            return Failure::Unreachable(format!(
                "{base} did not answer within {} s: whether a change was made is not known, so \
                 look before you repeat it",
                TIMEOUT.as_secs()
            ));
        }
        let advice = if is_of_tls(fault) {
            "is that name in its certificate, and does KEYWARD_ADMIN_CA name the file with the \
             authority that signed it?"
        } else {
            "is the gateway running, and does KEYWARD_ADMIN_URL name its admin listener?"
        };
        let innermost = innermost(fault);
        Failure::Unreachable(format!("{base} cannot be reached ({innermost}): {advice}"))
    }

    fn refused(&self, status: StatusCode, document: &Value) -> Failure {
        match documents::read::<Problem>(document) {
            Ok(problem) if !problem.code.is_empty() => Failure::Refused(Box::new(problem)),
            Ok(_) | Err(_) => self.stranger(status),
        }
    }

    fn stranger(&self, status: StatusCode) -> Failure {
        Failure::Failed(format!(
            "{} answered {} and is not an admin listener of keyward: does KEYWARD_ADMIN_URL name \
             the right one?",
            self.base,
            status.as_u16()
        ))
    }
}

/// Whether somebody was there who could not be believed or understood. What an I/O error holds is
/// not its source.
fn is_of_tls(fault: &reqwest::Error) -> bool {
    let mut layer: Option<&(dyn std::error::Error + 'static)> = Some(fault);
    while let Some(fault) = layer {
        if fault.is::<rustls::Error>() {
            return true;
        }
        let held = fault.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        layer = held.map_or_else(|| fault.source(), |it| Some(it));
    }
    false
}

/// What the system said, without the address and the layers in between.
fn innermost(fault: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = fault;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

const EXAMPLE: &str = "http://127.0.0.1:8081";
const NO_TOKEN: &str = "no operator's token: set KEYWARD_ADMIN_TOKEN, or KEYWARD_ADMIN_TOKEN_FILE \
                        to the file that holds it (the first one is written by `keyward serve` to \
                        operator.token)";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A change waits for gateways that do not confirm it, for little more than their lease.
const TIMEOUT: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests;
