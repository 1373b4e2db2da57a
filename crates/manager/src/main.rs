//! `dae`: parses, builds, runs, and turns an error into a line and an exit code.

use std::process::ExitCode;

use manager::keeper;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let subcommand = arguments.next().unwrap_or_default();
    if subcommand == keeper::exec::SUBCOMMAND {
        return keeper::exec::run(arguments);
    }
    if subcommand == keeper::SUBCOMMAND {
        return match keeper::main(arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error),
        };
    }
    ExitCode::from(2)
}

fn complain(error: &dyn std::error::Error) -> ExitCode {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let line: Vec<String> = chain.map(ToString::to_string).collect();
    // With stderr closed there is nobody to tell.
    drop(std::io::Write::write_fmt(
        &mut std::io::stderr(),
        format_args!("dae: {}\n", line.join(": ")),
    ));
    ExitCode::FAILURE
}
