use daemon::{Daemon, Failure, Guest, OrNull, Rest, Stream};
use serde_json::{Value, json};

use crate::{
    lab::{Served, serve},
    netcat::{Netcat, code, failure},
};

#[rustfmt::skip] // A table: one row a command.
async fn served() -> Served<()> {
    let daemon = Daemon::new("Words")
        .version("7.1")
        .command("none", |_: &()| 0)
        .command("trailing", |_: &(), a: u8, b: Option<u8>| (a, b)).args(["a", "b"]).help("Two")
        .command("middle", |_: &(), a: Option<u8>, b: u8| (a, b))
        .command("or-null", |_: &(), a: OrNull<u8>| a.0)
        .command("rest", |_: &(), a: String, rest: Rest| (a, rest.0))
        .command("eight", |_: &(), a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8| [a, b, c, d, e, f, g, h])
        .command("later", async |_: &(), a: u8, _: Guest| a + 1)
        .command("may-fail", async |_: &(), fails: bool| match fails {
            true => Err(Failure::new("no-way", "it was asked to").with("why", 7)),
            false => Ok("fine"),
        })
        .command("watch", |_: &(), _: Option<String>, stream: Stream| drop(stream))
        .command("odd", |_: &()| std::collections::BTreeMap::from([((1, 2), 3)]))
        .command("lines", |_: &()| serde_json::value::RawValue::from_string("[1,\n2]".into()).unwrap());
    serve(daemon).await
}

#[tokio::test]
async fn arguments_are_read_as_the_parameters_say() {
    let daemon = served().await;
    let mut guest = Netcat::connect(daemon.port).await;
    for (said, heard) in [
        ("none", "none [0]"),
        ("trailing [1]", "trailing [[1,null]]"),
        ("trailing [1,null]", "trailing [[1,null]]"),
        ("trailing [1,2]", "trailing [[1,2]]"),
        ("middle [null,2]", "middle [[null,2]]"),
        ("or-null [null]", "or-null [null]"),
        ("or-null [1]", "or-null [1]"),
        ("rest [\"a\"]", "rest [[\"a\",[]]]"),
        ("rest [\"a\",1,{\"b\":2}]", "rest [[\"a\",[1,{\"b\":2}]]]"),
        ("eight [1,2,3,4,5,6,7,8]", "eight [[1,2,3,4,5,6,7,8]]"),
        ("later [1]", "later [2]"),
        ("may-fail [false]", "may-fail [\"fine\"]"),
        ("lines", "lines [[1, 2]]"),
    ] {
        assert_eq!(guest.ask(said).await, heard, "{said}");
    }
}

#[tokio::test]
async fn what_does_not_fit_is_told() {
    let daemon = served().await;
    let mut guest = Netcat::connect(daemon.port).await;
    for (said, members) in [
        ("none [1]", json!({"code": "bad-arity", "min": 0, "max": 0, "got": 1})),
        ("trailing", json!({"code": "bad-arity", "min": 1, "max": 2, "got": 0})),
        ("trailing [1,2,3]", json!({"code": "bad-arity", "min": 1, "max": 2, "got": 3})),
        ("middle [2]", json!({"code": "bad-arity", "min": 2, "max": 2, "got": 1})),
        ("or-null", json!({"code": "bad-arity", "min": 1, "max": 1, "got": 0})),
        ("rest", json!({"code": "bad-arity", "min": 1, "max": null, "got": 0})),
        ("eight [1,2,3,4,5,6,7]", json!({"code": "bad-arity", "min": 8, "got": 7})),
        ("eight [1,2,3,4,5,6,7,-1]", json!({"code": "bad-argument", "arg": 7})),
        ("trailing [1,\"x\"]", json!({"code": "bad-argument", "arg": 1, "expected": "integer"})),
        ("may-fail [true]", json!({"code": "no-way", "why": 7, "command": "may-fail"})),
        ("odd", json!({"code": "internal", "command": "odd"})),
    ] {
        let told = failure(&guest.ask(said).await);
        for (key, value) in members.as_object().unwrap() {
            assert_eq!(&told[key], value, "{said}: {told}");
        }
    }
    assert_eq!(code(&guest.ask("none [1,}]").await), "bad-json");
}

#[tokio::test]
async fn options_and_help_follow_from_the_parameters() {
    let daemon = served().await;
    let mut guest = Netcat::connect(daemon.port).await;
    let mut read = async |said: &str, name: &str| -> Value {
        let line = guest.ask(said).await;
        let args = line.strip_prefix(name).unwrap_or_else(|| panic!("{line}"));
        let [value]: [Value; 1] = serde_json::from_str(args).unwrap();
        value
    };
    let options = read("options", "commands ").await;
    assert_eq!(
        options,
        json!({
            "auth": 1, "cancel": 0, "dae": 0, "hello": 0, "help": 0, "options": 0, "ping": 0, "quit": 0, "whois": 0,
            "none": 0, "trailing": 1, "middle": 2, "or-null": 1, "rest": 1, "eight": 8, "later": 1, "may-fail": 1, "watch": 0,
            "odd": 0, "lines": 0,
        })
    );
    let help = read("help", "help ").await;
    let names = |it: &Value| it.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&help), names(&options));
    assert_eq!(
        read("help [\"trailing\"]", "help ").await,
        json!({"trailing": {
            "doc": "Two",
            "args": [
                {"name": "a", "type": "integer"},
                {"name": "b", "type": "integer", "optional": true},
            ],
            "reply": "trailing", "auth": false, "stream": false,
        }})
    );
    assert_eq!(help["watch"]["stream"], true);
    assert_eq!(help["watch"]["args"].as_array().unwrap().len(), 1);
    assert_eq!(help["rest"]["args"][1]["rest"], true);
    assert_eq!(help["middle"]["args"][0].get("optional"), None);
    assert_eq!(help["options"]["reply"], "commands");
    let hello = read("hello", "hello ").await;
    assert_eq!(hello["version"], "7.1");
    assert_eq!(hello["limits"]["pipeline"], 64);
    assert_eq!(code(&guest.ask("help [\"nope\"]").await), "not-found");
}
