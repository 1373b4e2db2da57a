//! `state`: one JSON tree that many read, change and watch under permissions.

mod server;

use daemon::flags;

use server::{Own, Server, StartError, offline};

#[expect(clippy::print_stdout, reason = "what is done offline tells how it went")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> daemon::Outcome {
    let (flags, own) = flags::parse::<Own>("State");
    if let Some(offline) = &own.offline {
        return offline::run(offline, &flags).await.map(|said| println!("{said}")).into();
    }
    let result = async {
        let (server, broken) = Server::start(&flags, &own).await?;
        let settings = server::settings(&flags, &own);
        let bound = server::daemon(server).settings(settings).bind().await?;
        tracing::info!(port = bound.port(), "listening");
        let mut result = Ok::<_, StartError>(());
        let end = async {
            tokio::select! {
                () = daemon::Shutdown::signal() => {}
                Ok(why) = broken => result = Err(why.into()),
            }
        };
        bound.serve(end).await;
        result
    };
    result.await.into()
}
