//! A daemon with one command that needs `auth`.

use daemon::Daemon;

#[tokio::main(flavor = "current_thread")]
async fn main() -> daemon::Outcome {
    Daemon::with_state("Vault", ()).command("look", |_: &()| "gold").auth().run().await
}
