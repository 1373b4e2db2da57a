//! Commands with arguments that are right, and what becomes of them when they are not.

use serde_json::{Value, json};

use super::super::hostile::blows::Dice;

/// The commands that State tells, each with the names of its arguments.
pub(super) struct Phrases(Vec<(String, Vec<String>)>);

/// How many bytes are changed at most.
const BYTES: usize = 4;

/// As deep as arguments may be, and deeper.
const DEEP: usize = 100;

impl Phrases {
    /// Those of `help`; without what ends a connection, as that is no fault.
    pub(super) fn of(help: &Value) -> Self {
        let names = |it: &Value| {
            let names = it["args"].as_array().into_iter().flatten();
            names.map(|it| it["name"].as_str().unwrap_or_default().to_owned()).collect()
        };
        let commands = help.as_object().into_iter().flatten().filter(|it| it.0 != "quit");
        Self(commands.map(|(name, it)| (name.clone(), names(it))).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// One of them, of which more is wrong the worse the dice fall; its name and its arguments.
    pub(super) fn any(&self, dice: &mut Dice) -> (String, String) {
        let (name, wanted) = &self.0[dice.below(self.0.len())];
        // They hold the session up, or leave it with nothing that it may do.
        if ["auth", "logout", "changePassword"].contains(&&**name) && dice.below(20) > 0 {
            return self.any(dice);
        }
        let mut args: Vec<Value> = wanted.iter().map(|it| argument(name, it, dice)).collect();
        if wanted.last().is_some_and(|it| it == "opts") && dice.below(3) > 0 {
            args.pop();
        }
        match dice.below(16) {
            0 => drop(args.pop()),
            1 => args.push(any(dice)),
            2 if !args.is_empty() => {
                let at = dice.below(args.len());
                args[at] = any(dice);
            }
            3 => args.reverse(),
            _ => {}
        }
        let args = Value::Array(args).to_string();
        match dice.below(6) {
            0 => (name.clone(), mutated(args, dice)),
            1 if dice.below(4) == 0 => (mutated(name.clone(), dice), args),
            _ => (name.clone(), args),
        }
    }
}

/// Something that an argument of that name may be. Who asks is not to be nobody soon.
fn argument(command: &str, name: &str, dice: &mut Dice) -> Value {
    let user = || match command {
        "deleteUser" | "updateUserLevel" | "createUser" | "changePassword" => {
            json!(["victim", "script:victim/s", "another"])
        }
        _ => json!(["mallory0", "mallory1", "victim", "*", null, "script:victim/s"]),
    };
    let all = match name {
        "path" if ["delete", "gc", "updatePerms"].contains(&command) => {
            json!([["open", "a"], ["open", "x"], ["open", "list", 1], ["open", "a", "b"], []])
        }
        "path" => json!([
            ["open"],
            ["open", "a"],
            ["open", "a", "b"],
            ["open", "list", 0],
            ["hidden"],
            ["open", "x"],
            ["users", "mallory0"],
            ["open", "é"]
        ]),
        "pattern" | "which" => {
            json!([["open"], ["open", "**"], ["open", "*", "x"], ["hidden", "**"], 1, null])
        }
        "name" => json!(["a", "b", "x", "list", "é", 0, "é".repeat(128), "one"]),
        "value" | "payload" | "patch" => json!([
            1, -0.5, 1e300, "text", null, true, [1, [2, {}]], { "a": { "b": null } },
            { "x": "y".repeat(2000) }, [], {}
        ]),
        "opts" => json!([
            {}, { "ifRev": 3 }, { "ifValue": null }, { "parents": false, "req": "r" },
            { "dry": true }, { "ephemeral": true }, { "rev": true, "depth": 1 }, { "since": 5 },
            { "since": 7, "history": "h" }, { "name": ["update"], "echo": false }, { "as": "victim" },
            { "after": "a", "limit": 2 }, { "ttl": 100, "lvl": 2, "path": ["open"] }, null
        ]),
        "perms" => json!([{ "lvl": 1 }, { "lvl": 4, "!": true }, { "lvl": 2 }, null]),
        "ops" => json!([
            [["update", ["open", "a"], 1], ["delete", ["open", "a"]]],
            [["create", ["open"], "n", {}], ["emit", "victim", "m", 1], ["merge", ["open"], {}]],
            [["gc", ["open", "n"], [{ "on": "disconnect" }]], ["ungc", 1]], []
        ]),
        "triggers" => json!([
            [{ "on": "disconnect" }], [{ "on": "after", "ms": 20 }, { "on": "event", "name": "m" }],
            [{ "on": "at", "time": "2020-01-01T00:00:00Z" }], [{ "on": "userDeleted", "user": "victim" }]
        ]),
        "user" | "username" => user(),
        "password" | "new" | "current" => json!(["a secret", "", "x".repeat(200)]),
        "id" | "tag" | "nonce" | "command" | "client" => json!([1, 2, "1", "get", { "proto": 1 }]),
        "level" => json!([0, 1, 2, 3]),
        "quota" => json!([{ "bytes": 100, "nodes": 3 }, null]),
        _ => json!([0, "x", [], {}]),
    };
    all.get(dice.below(all.as_array().map_or(1, Vec::len))).cloned().unwrap_or_default()
}

/// Something that is seldom right.
fn any(dice: &mut Dice) -> Value {
    let deep = (0..dice.below(DEEP)).fold(json!(1), |inner, _| json!([inner]));
    let all = [
        deep,
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e308),
        json!({ "__proto__": { "lvl": 4 } }),
        json!(["**", "*", "__proto__", ""]),
        json!("\u{0}\u{1f}\u{7f}\u{2028}\u{10ffff}"),
        json!("x".repeat(300)),
        json!((0..70).collect::<Vec<_>>()),
        json!(false),
    ];
    all[dice.below(all.len())].clone()
}

/// The same text with some bytes that are others, gone, or twice there; on one line.
fn mutated(text: String, dice: &mut Dice) -> String {
    let mut bytes = text.into_bytes();
    for _ in 0..=dice.below(BYTES) {
        let at = dice.below(bytes.len().max(1));
        match dice.below(4) {
            _ if bytes.is_empty() => bytes.push(b'['),
            0 => drop(bytes.remove(at)),
            1 => bytes.insert(at, b"[]{}\",:\\0 -e#"[dice.below(13)]),
            2 => bytes[at] = dice.next() as u8,
            _ => bytes.truncate(at),
        }
    }
    String::from_utf8_lossy(&bytes).replace(['\n', '\r'], " ")
}
