//! Says back what it hears, until it is killed: `echo 127.0.0.1:3000`.

use std::{env, error::Error, future::pending, net::SocketAddr};

use websocket::{Answer, Limits, Pages, Rules, Server, Socket};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address: SocketAddr = env::args().nth(1).ok_or("expected an address")?.parse()?;
    let rules = Rules { origins: vec![Pages::Any], ..Rules::default() };
    let mut server = Server::new(Limits::default(), rules)?;
    server.listen(address).await?;
    server.serve(|_| async { Answer::accept(echo) }, pending()).await;
    Ok(())
}

async fn echo(mut socket: Socket) {
    let sender = socket.sender();
    while let Some(message) = socket.read().await {
        sender.reply(message.to_frame());
    }
}
