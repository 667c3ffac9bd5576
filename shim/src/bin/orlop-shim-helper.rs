//! `orlop-shim-helper`: makes a container, or enters one, for the shim that starts it, and ends.
//!
//! A program of its own, so that what it takes, libcontainer above all, is in no shim's memory.

use std::process::ExitCode;

use orlop_shim::{enter, errand, run};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|it| it.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["run", container, stdin] => {
            errand::begin();
            errand::tell(run::run(container, stdin));
            ExitCode::SUCCESS
        }
        ["exec", container, init, input, ..] if arguments.len() > 4 => {
            errand::begin();
            let init = init.parse().map_err(|_| format!("no process id: {init:?}"));
            errand::tell(init.and_then(|init| enter::enter(container, init, input, &arguments[4..])));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("orlop-shim-helper is started by orlop-shim");
            ExitCode::FAILURE
        }
    }
}
