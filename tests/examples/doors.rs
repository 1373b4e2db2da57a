//! A daemon with doors beside its Common TCP port: one for each listening socket that it is handed
//! under a label of `DOORS="LABEL LABEL …"`. Who comes in by one is told its label and our pid.

use std::{env, net::TcpListener, process};

use daemon::{Daemon, Environment, Shutdown};
use tokio::io::AsyncWriteExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> daemon::Outcome {
    let environment = Environment::read();
    let labels = env::var("DOORS").unwrap_or_default();
    let mut daemon = Daemon::new("Doors");
    for label in labels.split_whitespace() {
        while let Some(door) = environment.take_socket(label) {
            let label = label.to_owned();
            daemon = daemon.service(|_, shutdown| open(door, label, shutdown));
        }
    }
    daemon.run().await
}

async fn open(door: TcpListener, label: String, mut shutdown: Shutdown) {
    let Ok(door) = tokio::net::TcpListener::from_std(door) else { return };
    let serve = async {
        while let Ok((mut guest, _)) = door.accept().await {
            // Who has gone needs no answer.
            drop(guest.write_all(format!("{label} {}\n", process::id()).as_bytes()).await);
        }
    };
    tokio::select! {
        () = serve => {}
        () = shutdown.requested() => {}
    }
}
