//! The session that README shows is what happens when somebody types it.
//!
//! In each block that is marked `console`, a line after `$` is run by `sh`, and the lines below it
//! are what it prints, where `…` stands for anything within a line. All blocks are one session, in
//! one home, with the programs of this workspace in `PATH`. A block below the comment
//! `<!-- not replayed: reason -->` is shown and not run.

use std::{
    env,
    fs::{self, File},
    iter,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::harness::{Dae, binary, workspace};

/// Where the commands of a page expect the programs; they are replaced by where they are.
const BUILT: &str = "./target/release/";

/// How long one command may take, as timeout(1) reads it. Only a failing test ever waits this long.
const PATIENCE: &str = "60";

#[test]
fn the_session_in_readme_goes_as_written() {
    let dae = Dae::start();
    // The session starts the manager itself; what is left of it ends with `dae`.
    dae.succeed(["down"]);
    let page = fs::read_to_string(workspace().join("README.md")).unwrap();

    let typed = replay(&page, &Terminal::new(dae.home()))
        .unwrap_or_else(|fault| panic!("README.md:{fault}"));

    assert!(typed > 0, "README.md has no session");
}

/// Flags on our pages that are not of our programs.
const OF_OTHERS: [&str; 2] = ["--open", "--release"];

#[test]
fn each_flag_that_a_page_names_is_in_the_help_of_a_program() {
    let help = |program: &str, args: &[&str]| {
        let output = Command::new(binary(program)).args(args).arg("--help").output().unwrap();
        assert!(output.status.success(), "{program} {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let commands = |program: &str| -> Vec<String> {
        let all = help(program, &[]);
        let listed =
            all.lines().skip_while(|it| *it != "Commands:").take_while(|it| !it.is_empty());
        let named = listed.filter_map(|it| it.strip_prefix("  ")?.split(' ').next());
        named.filter(|it| !it.is_empty() && *it != "help").map(str::to_owned).collect()
    };
    let mut known = String::new();
    for program in ["dae", "sample", "state", "relay"] {
        known += &help(program, &[]);
        known.extend(commands(program).iter().map(|it| help(program, &[it])));
    }
    let known: Vec<_> = flags(&known).collect();
    for page in ["README.md", "daemons/state/README.md", "daemons/relay/README.md"] {
        let text = fs::read_to_string(workspace().join(page)).unwrap();
        let named: Vec<_> = flags(&text).filter(|it| !OF_OTHERS.contains(it)).collect();
        let unknown: Vec<_> = named.iter().filter(|it| !known.contains(it)).collect();
        assert!(!named.is_empty() && unknown.is_empty(), "{page}: {unknown:?}");
    }
}

/// What in `text` is written as a flag is.
fn flags(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |it: char| it.is_ascii_lowercase() || it == '-';
    let words = text.split(move |it| !is_part(it));
    words.filter(|it| it.starts_with("--") && it.len() > 3 && !it.starts_with("---"))
}

/// Types all that `page` shows; returns how many commands that were, or the first that went
/// otherwise.
fn replay(page: &str, terminal: &Terminal) -> Result<usize, String> {
    let mut typed = 0;
    for block in sessions(page) {
        if let Some(reason) = block.skipped {
            eprintln!("line {}: not replayed: {reason}", block.line);
            continue;
        }
        for Exchange { line, command, expected } in block.exchanges()? {
            let printed = terminal.run(command);
            let printed: Vec<&str> = printed.lines().collect();
            let is_right = printed.len() == expected.len()
                && iter::zip(&expected, &printed).all(|(pattern, line)| matches(pattern, line));
            if !is_right {
                let (expected, printed) = (expected.join("\n"), printed.join("\n"));
                return Err(format!("{line}: `{command}`\nexpected:\n{expected}\ngot:\n{printed}"));
            }
            typed += 1;
        }
    }
    Ok(typed)
}

/// A block of a page that shows a session.
#[derive(Debug, Default, PartialEq)]
struct Session<'a> {
    /// The line of its first line, from 1.
    line: usize,
    /// Why it is not replayed.
    skipped: Option<&'a str>,
    lines: Vec<&'a str>,
}

/// A command with what it prints.
struct Exchange<'a> {
    line: usize,
    command: &'a str,
    expected: Vec<&'a str>,
}

impl<'a> Session<'a> {
    fn exchanges(&self) -> Result<Vec<Exchange<'a>>, String> {
        let mut exchanges: Vec<Exchange<'a>> = vec![];
        for (line, text) in iter::zip(self.line.., &self.lines) {
            match (text.strip_prefix("$ "), exchanges.last_mut()) {
                (Some(command), _) => exchanges.push(Exchange { line, command, expected: vec![] }),
                (None, Some(exchange)) => exchange.expected.push(text),
                (None, None) => return Err(format!("{line}: `{text}` is printed by no command")),
            }
        }
        Ok(exchanges)
    }
}

/// All blocks of `page` that are marked `console`.
fn sessions(page: &str) -> Vec<Session<'_>> {
    let mut sessions = vec![];
    let mut lines = iter::zip(1.., page.lines());
    let mut above = "";
    while let Some((number, line)) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let lines =
                lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            if info == "console" {
                sessions.push(Session { line: number + 1, skipped: reason(above), lines });
            }
        }
        above = line;
    }
    sessions
}

/// Why the block below the line `above` is not replayed.
fn reason(above: &str) -> Option<&str> {
    above.strip_prefix("<!-- not replayed: ")?.strip_suffix(" -->")
}

/// Whether `text` is `pattern`, where `…` stands for any run of characters.
fn matches(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('…');
    let Some(mut rest) = text.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        match rest.split_once(piece) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Where the commands of a session are typed.
struct Terminal {
    home: PathBuf,
    programs: PathBuf,
}

impl Terminal {
    /// A terminal of somebody whose only directory is `home`.
    fn new(home: &Path) -> Self {
        let programs = binary("dae").parent().unwrap().to_owned();
        Self { home: home.to_owned(), programs }
    }

    /// Runs `command` to its end; returns what a terminal would show.
    fn run(&self, command: &str) -> String {
        let command = command.replace(BUILT, &format!("{}/", self.programs.display()));
        let path = env::var_os("PATH").unwrap_or_default();
        let path = iter::once(self.programs.clone()).chain(env::split_paths(&path));
        // A file, since the other end of a pipe may live on in what was started.
        let shown = self.home.join("shown");
        let screen = File::create(&shown).unwrap();
        Command::new("timeout")
            .args([PATIENCE, "sh", "-c", &command])
            .env_clear()
            .env("PATH", env::join_paths(path).unwrap())
            .env("HOME", &self.home)
            .env("DAE_HOME", &self.home)
            .current_dir(workspace())
            .stdin(Stdio::null())
            .stdout(screen.try_clone().unwrap())
            .stderr(screen)
            .status()
            .unwrap();
        fs::read_to_string(shown).unwrap()
    }
}

/// A page as an author writes it.
const PAGE: &str = "\
Text with `$ echo no`.
```sh
echo no
```
```console
$ echo one; echo two >&2
one
two
$ echo pid $$ in 3 ms
pid … in … ms
$ true
```
<!-- not replayed: nobody is at the keyboard -->
```console
$ read answer
yes
```
```text
$ echo no
```
```console
$ echo ./target/release/sample, $DAE_HOME
…/sample, …
```
";

/// A terminal without a manager, whose home lasts as long as the first.
fn terminal() -> (tempfile::TempDir, Terminal) {
    let home = tempfile::tempdir().unwrap();
    let terminal = Terminal::new(home.path());
    (home, terminal)
}

#[test]
fn a_page_is_replayed_command_by_command() {
    let (_home, terminal) = terminal();

    assert_eq!(replay(PAGE, &terminal), Ok(4));
}

#[test]
fn what_is_printed_otherwise_is_told_with_its_line() {
    let (_home, terminal) = terminal();
    let fault = |from: &str, to: &str| replay(&PAGE.replace(from, to), &terminal).unwrap_err();

    assert!(fault("\ntwo\n", "\n2\n").starts_with("6: `echo one"), "another line");
    assert!(fault("\ntwo\n", "\n").starts_with("6: "), "a line too many");
    assert!(fault("$ true\n", "$ true\nwell\n").starts_with("11: "), "a line too few");
    assert!(fault("$ true", "$ no-such-program").starts_with("11: "), "an error");
    assert!(fault("$ echo pid", "% echo pid").starts_with("6: "), "taken as printed");
    assert!(
        fault("$ echo one; echo two >&2\n", "").starts_with("6: `one` is printed by no command")
    );
}

#[test]
fn a_block_is_left_out_only_for_a_reason() {
    let marks = sessions(PAGE);
    let skipped: Vec<_> = marks.iter().map(|it| it.skipped).collect();
    assert_eq!(skipped, [None, Some("nobody is at the keyboard"), None]);
    assert_eq!(marks.iter().map(|it| it.line).collect::<Vec<_>>(), [6, 15, 22]);
    assert_eq!(reason("<!-- not replayed -->"), None);
}

#[test]
fn an_ellipsis_stands_for_anything_in_a_line() {
    assert!(matches("a…c", "abc"));
    assert!(matches("a…c", "ac"));
    assert!(matches("…b…", "abcb"));
    assert!(matches("…a…a…", "aa"));
    assert!(!matches("…a…a…", "a"));
    assert!(!matches("a…c", "abcd"));
    assert!(!matches("ab…bc", "abc"));
    assert!(!matches("abc", "abcd"));
    assert!(!matches("", "a"));
}
