//! `talon completion`.

use clap::CommandFactory;

use crate::cli::Cli;
use crate::exit::Exit;
use crate::session::Session;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "For bash: talon completion bash > ~/.local/share/bash-completion/completions/talon"
)]
pub struct Args {
    /// For which shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Prints the script.
pub fn run(args: &Args, session: &Session) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "talon", &mut script);
    session.output.write(&String::from_utf8_lossy(&script));
    Exit::Success
}
