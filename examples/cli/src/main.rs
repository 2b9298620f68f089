//! `recs`: see `recs --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(recs_cli::run(std::env::args_os()))
}
