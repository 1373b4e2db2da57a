//! `state`: one JSON tree that many read, change and watch under permissions.

mod server;

use daemon::flags;

use server::{Own, Server, StartError, USUAL, door, offline};

#[expect(clippy::print_stdout, reason = "what is done offline tells how it went")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> daemon::Outcome {
    let (flags, own) = flags::parse_with::<Own>("State", USUAL);
    if let Some(offline) = &own.offline {
        let said = offline::run(offline, &flags).await;
        return said
            .map(|said| {
                if !said.is_empty() {
                    println!("{said}")
                }
            })
            .into();
    }
    let result = async {
        door::check(&own.door)?;
        let (server, broken) = Server::start(&flags, &own).await?;
        let settings = server::settings(&flags, &own);
        let limits = settings.limits;
        let bound = server::daemon(server).settings(settings).bind().await?;
        tracing::info!(port = bound.port(), "listening");
        let door = door::open(&own.door, &limits).await?;
        let mut result = Ok::<_, StartError>(());
        let end = async {
            tokio::select! {
                () = daemon::Shutdown::signal() => {}
                Ok(why) = broken => result = Err(why.into()),
            }
        };
        door::serve(bound, door, end).await;
        result
    };
    result.await.into()
}
