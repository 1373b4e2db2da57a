//! The state server as it is measured: nobody is held back by what protects it from strangers.

use std::{fs, io, io::Write, net::TcpStream, path::Path};

use serde_json::Value;

use crate::bench::server::{CONNECTIONS, read_line};

/// Where it keeps what it keeps, in its folder.
const DATA: &str = "data";

pub(crate) fn arguments(port: u16) -> Vec<String> {
    let flags = format!(
        "--port {port} --data {DATA} --log warn --connections {CONNECTIONS} \
         --sessions-per-user {CONNECTIONS} --rate 1000000000 --burst 1000000000"
    );
    flags.split(' ').filter(|it| !it.is_empty()).map(str::to_owned).collect()
}

/// What its root says to log in: by a token, as a password costs its hash each time.
pub(crate) fn token(stream: &mut TcpStream, folder: &Path) -> io::Result<String> {
    let password = fs::read_to_string(folder.join(DATA).join("root-password"))?;
    ask(stream, &format!("auth [\"root\",\"{}\"]\n", password.trim()))?;
    let made = ask(stream, "createToken []\n")?;
    let token = made[0]["token"].as_str().ok_or(io::ErrorKind::InvalidData)?;
    Ok(format!("auth [\"{token}\"]\n"))
}

/// The arguments of the reply.
pub(crate) fn ask(stream: &mut TcpStream, request: &str) -> io::Result<Value> {
    stream.write_all(request.as_bytes())?;
    let line = read_line(stream)?;
    let (name, arguments) = line.split_once(' ').ok_or(io::ErrorKind::InvalidData)?;
    match name {
        "err" => Err(io::Error::other(line)),
        _ => Ok(serde_json::from_str(arguments)?),
    }
}
