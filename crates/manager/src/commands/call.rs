use common_tcp::Reply;
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use super::{Console, daemon::Daemon};
use crate::{
    cli::Call,
    error::{Complaint, Done, Error, Exit},
    output::Output,
};

pub(super) async fn run(args: Call, console: &mut Console) -> Done {
    let arguments = arguments(args.args)?;
    let daemon = Daemon::find(&args.name, console).await?;
    let reply = daemon.exchange(&args.command, &arguments).await?;
    print(&reply, &mut console.out)?;
    Ok(Exit::Done)
}

/// One JSON array is all arguments; else each word is one.
///
/// # Errors
/// For a word that begins like an object or an array and is none: most likely the shell took its
/// quotes.
fn arguments(words: Vec<String>) -> Result<Vec<Value>, Complaint> {
    let mut args = words.into_iter().map(argument).collect::<Result<Vec<Value>, Complaint>>()?;
    Ok(match args.as_mut_slice() {
        [Value::Array(all)] => std::mem::take(all),
        _ => args,
    })
}

fn argument(word: String) -> Result<Value, Complaint> {
    match serde_json::from_str(&word) {
        Ok(value) => Ok(value),
        Err(error) if word.starts_with(['{', '[']) => {
            let message = format!("`{word}` is no JSON: {error}");
            let hint =
                "quote it for the shell, as in '{\"x\":1}'; a text that begins so is '\"[…\"'";
            Err(Complaint::new("bad-argument", message).hint(hint))
        }
        Err(_) => Ok(Value::String(word)),
    }
}

#[derive(Serialize)]
struct Document<'a> {
    v: u8,
    reply: &'a str,
    args: Vec<&'a RawValue>,
}

/// Prints the result, which is one argument of most replies, none of some, and all of the rest.
fn print(reply: &Reply, out: &mut Output) -> Result<(), Error> {
    let unreadable = |error| Complaint::of("unexpected", &error).when("read the reply");
    let args: Vec<&RawValue> = serde_json::from_str(&reply.args).map_err(unreadable)?;
    if out.is_json {
        return out.document(&Document { v: 1, reply: &reply.name, args });
    }
    match args.as_slice() {
        [] => Ok(()),
        [result] => out.document(result),
        several => out.document(&several),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_are_json_where_they_can_be() {
        let words = |words: &[&str]| arguments(words.iter().map(|&it| it.into()).collect());
        let read = |given: &[&str]| Value::Array(words(given).unwrap());
        assert_eq!(read(&[]), json!([]));
        assert_eq!(read(&["key", "5", "-1.5", "true"]), json!(["key", 5, -1.5, true]));
        assert_eq!(read(&["\"5\"", "{\"x\":1}", "a b"]), json!(["5", {"x": 1}, "a b"]));
        assert_eq!(read(&["[\"key\",5]"]), json!(["key", 5]), "one array is all arguments");
        assert_eq!(read(&["key", "[5]"]), json!(["key", [5]]), "beside others it is one of them");
        assert_eq!(read(&["[[5]]"]), json!([[5]]));
        assert!(words(&["[5"]).is_err());
        assert!(words(&["{x:1}"]).is_err());
    }
}
