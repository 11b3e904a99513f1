//! Lists and forgets gateways.

use reqwest::Method;

use crate::cli::Streams;
use crate::cli::api::{Api, Token, segment};
use crate::cli::args::{Fleet, FleetAction, Output};
use crate::cli::credentials::write_whole;
use crate::cli::documents::{Gateway, Page};
use crate::cli::failure::Failure;
use crate::cli::words;
use crate::config;

/// Does what was typed after `keyward fleet`.
pub fn fleet(typed: &Fleet, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let access = &typed.access;
    let token = Token::find(config::environment())?;
    let api = Api::new(&access.admin_url, access.authority.file(), token)?;
    let output = access.form.output;
    match &typed.action {
        FleetAction::List => list(&api, output, streams),
        FleetAction::Forget { id } => forget(&api, id, output, streams),
    }
}

fn list(api: &Api, output: Output, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let answer = api.send(api.call(Method::GET, "/v1/gateways"))?;
    let text = match output {
        Output::Json => words::json(&answer.document),
        Output::Table => words::gateways(&answer.read::<Page<Gateway>>()?.items),
    };
    Ok(write_whole(streams.out, &text)?)
}

fn forget(api: &Api, id: &str, output: Output, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let call = api.call(Method::DELETE, &format!("/v1/gateways/{}", segment(id)));
    let answer = api.send(call)?;
    let text = match output {
        Output::Json => words::json(&answer.document),
        Output::Table => format!("{id} is forgotten: nobody waits for it any more\n"),
    };
    Ok(write_whole(streams.out, &text)?)
}
