use std::net::{Ipv4Addr, SocketAddr};

use clap::Args;
use websocket::{HostName, Hosts, Origin, Pages, Rules};

/// Where WebSocket is spoken, and whose pages may.
#[derive(Args, Clone, Debug)]
pub(crate) struct DoorFlags {
    /// Speak WebSocket too, on this port of this address; without it nowhere
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_address, help_heading = "WebSocket")]
    pub(super) listen: Option<SocketAddr>,

    /// Names of this machine by which browsers may reach it, besides `localhost` and addresses
    #[arg(
        long = "listen-host",
        value_name = "NAME",
        value_delimiter = ',',
        help_heading = "WebSocket"
    )]
    hosts: Vec<HostName>,

    /// Whose pages may connect, such as `https://app.example`; without it none but our own. Who
    /// names no origin is no browser, and may
    #[arg(
        long = "listen-origin",
        value_name = "ORIGIN",
        value_delimiter = ',',
        help_heading = "WebSocket"
    )]
    origins: Vec<Origin>,

    /// Let other machines speak WebSocket without TLS: whoever is between hears every password
    #[arg(long, help_heading = "WebSocket")]
    pub(super) insecure: bool,
}

/// `localhost` is the loopback address that every machine has.
fn parse_address(text: &str) -> Result<SocketAddr, &'static str> {
    let port = |text: &str| text.strip_prefix("localhost:")?.parse::<u16>().ok();
    let wanted = "wanted ADDRESS:PORT, as in 127.0.0.1:8080, [::1]:8080 or localhost:8080";
    match port(text) {
        Some(port) => Ok((Ipv4Addr::LOCALHOST, port).into()),
        None => text.parse().map_err(|_| wanted),
    }
}

impl DoorFlags {
    pub(super) fn rules(&self) -> Rules {
        let origins = match &self.origins[..] {
            [] => vec![Pages::Own],
            these => these.iter().cloned().map(Pages::Of).collect(),
        };
        Rules { hosts: Hosts::Named(self.hosts.clone()), origins, ..Rules::default() }
    }
}
