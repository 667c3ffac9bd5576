//! `orlop completion`: the script that makes a shell complete this command.

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// bash, zsh, fish, elvish or powershell.
    shell: Shell,
}

/// Runs it.
///
/// # Errors
/// None; the type is that of all commands.
pub fn run(args: Args) -> Result<()> {
    let mut command = crate::command::Arguments::command();
    clap_complete::generate(args.shell, &mut command, "orlop", &mut std::io::stdout());
    Ok(())
}
