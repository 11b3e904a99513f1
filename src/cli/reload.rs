//! Has a gateway read its configuration again.

use reqwest::Method;

use crate::cli::Streams;
use crate::cli::api::{Api, Token};
use crate::cli::args::{Output, Reload};
use crate::cli::credentials::write_whole;
use crate::cli::documents::Reloaded;
use crate::cli::failure::Failure;
use crate::cli::words;
use crate::config;

/// Does it, and shows what that changed.
pub fn reload(typed: &Reload, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let access = &typed.access;
    let token = Token::find(config::environment())?;
    let api = Api::new(&access.admin_url, access.authority.file(), token)?;
    let answer = api.send(api.call(Method::POST, "/v1/reload"))?;
    let text = match access.form.output {
        Output::Json => words::json(&answer.document),
        Output::Table => words::reloaded(&answer.read::<Reloaded>()?),
    };
    Ok(write_whole(streams.out, &text)?)
}
