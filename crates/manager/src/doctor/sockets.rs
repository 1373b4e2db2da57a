//! Whether the listening sockets are held that should be.

use serde_json::Value;

use super::Check;

pub(super) fn check(daemons: &[Value]) -> Vec<Check> {
    let running = daemons.iter().filter(|it| it["state"] == "up" || it["state"] == "sick");
    let all: Vec<(&str, &Value)> = running
        .filter_map(|it| Some((it["name"].as_str()?, it["sockets"].as_array()?)))
        .flat_map(|(name, sockets)| sockets.iter().map(move |it| (name, it)))
        .collect();
    let lost = all.iter().filter(|(_, socket)| socket["held"] == false);
    let wrong = lost.map(|(name, socket)| not_held(name, socket)).collect();
    let is_open = |socket: &Value| {
        let address = socket["address"].as_str().and_then(|it| it.parse().ok());
        address.is_some_and(|it: std::net::SocketAddr| !it.ip().is_loopback())
    };
    let open = all.iter().filter(|(_, socket)| is_open(socket));
    let open: String = open.map(|(name, socket)| told(name, socket)).collect();
    Check::all("sockets", wrong, format!("{} held{open}", all.len()))
}

fn told(name: &str, socket: &Value) -> String {
    let address = socket["address"].as_str().unwrap_or_default();
    format!("; {address} of `{name}` is open to other machines")
}

/// It was lost with keeper and manager, and the daemon has the last copy.
fn not_held(name: &str, socket: &Value) -> Check {
    let address = socket["address"].as_str().unwrap_or_default();
    let detail = format!("{address} of `{name}` is not held: its end would refuse who connects");
    Check::fail("sockets", detail, format!("dae restart {name}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_held_fails_and_what_is_open_is_told() {
        let daemon = |state: &str, address: &str, held: bool| {
            let sockets = json!([{ "address": address, "held": held }]);
            json!({ "name": "X", "state": state, "sockets": sockets })
        };
        let told = |daemon: Value| {
            let checks = check(&[daemon, json!({ "name": "Y", "state": "up" })]);
            (checks[0].ok, checks[0].detail.clone())
        };
        assert_eq!(told(daemon("up", "127.0.0.1:1", true)), (true, "1 held".into()));
        assert_eq!(told(daemon("down", "127.0.0.1:1", false)), (true, "0 held".into()));
        let (ok, detail) = told(daemon("up", "0.0.0.0:1", true));
        assert!(ok && detail.ends_with("0.0.0.0:1 of `X` is open to other machines"), "{detail}");
        let (ok, detail) = told(daemon("up", "127.0.0.1:1", false));
        assert!(!ok && detail.contains("127.0.0.1:1 of `X` is not held"), "{detail}");
    }
}
