//! Reads what was typed, does it, and says with an exit code how that went.

use std::process::ExitCode;
use std::{env, io};

use keyward::cli::{self, Streams};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Whoever speaks TLS without saying how finds this one; nobody was there before.
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap_or_default();
    ExitCode::from(cli::caught(|| {
        let mut streams = Streams { out: &mut io::stdout(), err: &mut io::stderr() };
        cli::run(env::args_os(), &mut streams)
    }))
}
