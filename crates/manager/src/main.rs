//! temp
use manager::keeper;
use std::process::ExitCode;
fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let subcommand = arguments.next().unwrap_or_default();
    if subcommand == keeper::exec::SUBCOMMAND {
        return keeper::exec::run(arguments);
    }
    if subcommand == keeper::SUBCOMMAND {
        return match keeper::main(arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("{e:?}");
                ExitCode::FAILURE
            }
        };
    }
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let paths = manager::paths::Paths::find(
        std::env::var_os("DAE_HOME").map(std::path::PathBuf::from).as_deref(),
    )
    .unwrap();
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match rt.block_on(manager::run::run(
        &paths,
        manager::run::Options { port: None, no_start: false, announce: true },
    )) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e:?}");
            ExitCode::FAILURE
        }
    }
}
