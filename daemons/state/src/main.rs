//! `state`: one JSON tree that many read, change and watch under permissions.

mod server;

use daemon::flags;

use server::{Own, Server, StartError};

#[tokio::main(flavor = "current_thread")]
async fn main() -> daemon::Outcome {
    let (flags, own) = flags::parse::<Own>("State");
    let result = async {
        let server = Server::start(&flags, &own).await?;
        let settings = server::settings(&flags, &own);
        let bound = server::daemon(server).settings(settings).bind().await?;
        tracing::info!(port = bound.port(), "listening");
        bound.serve(daemon::Shutdown::signal()).await;
        Ok::<_, StartError>(())
    };
    result.await.into()
}
