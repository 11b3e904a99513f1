//! Reads what was typed, does it, and says with an exit code how that went.

use std::process::ExitCode;
use std::{env, io};

use keyward::cli::{self, Streams};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(cli::caught(|| {
        let mut streams = Streams { out: &mut io::stdout(), err: &mut io::stderr() };
        cli::run(env::args_os(), &mut streams)
    }))
}
