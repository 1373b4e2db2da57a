//! `dae logs`: reads the files, so that it works without a manager. With one it also says why a
//! daemon does not run, which need not be in its log.

use std::{collections::VecDeque, fs, io, path::PathBuf, time::Duration};

use manager::{
    logs::{Follow, Line, Merge, Reader, Selection, format},
    name::{Pattern, nearest},
    paths::Paths,
};
use serde_json::json;
use tokio::time::timeout;

use super::{Console, entry::Entry, manager::read as read_answer};
use crate::{
    cli::Logs,
    error::{Complaint, Done, Error, Exit},
    output::Output,
};

/// The manager's own log lies beside those of daemons, and is not one of them.
const OWN: &str = "Dae";

/// So long a manager is given to say why something does not run.
const PATIENCE: Duration = Duration::from_secs(1);

/// What `-f` begins with: enough to see where it stands.
const CONTEXT: usize = 10;

/// So much is gathered before it is written. A line at a time would cost a system call each.
const BLOCK_BYTES: usize = 64 * 1024;

/// Lines from a log, which is known by its number.
type Numbered = (usize, Line);

pub(super) async fn run(args: Logs, console: &mut Console) -> Done {
    let paths = console.paths()?;
    let names = select(logged(&paths)?, &args.names, &paths)?;
    if names.is_empty() {
        console.out.aside("nothing has been logged yet");
        if console.out.is_json && !args.follow {
            console.out.document(&json!({ "v": 1, "lines": [] }))?;
        }
        return Ok(Exit::Done);
    }
    // A manager that does not answer keeps nobody from the log.
    if args.follow {
        timeout(PATIENCE, explain(&names, console)).await.ok();
        return show(args, names, &paths, console);
    }
    let shown = show(args, names.clone(), &paths, console)?;
    timeout(PATIENCE, explain(&names, console)).await.ok();
    Ok(shown)
}

/// Says of each that does not run, and is to, why that is so. It may never have come as far as to
/// print a line.
async fn explain(names: &[String], console: &Console) {
    // Without a manager there is nobody who tries.
    let Ok(manager) = console.look().await else { return };
    let Ok(answer) = manager.ask("list", &(json!({ "all": true, "own": true }),)).await else {
        return;
    };
    let entries: Vec<Entry> = read_answer(&answer).unwrap_or_default();
    for entry in entries.iter().filter(|it| names.contains(&it.name)) {
        if let Some(trouble) = entry.trouble() {
            console.out.aside(&format!("`{}` is {}: {trouble}", entry.name, entry.state));
        }
    }
}

fn show(args: Logs, names: Vec<String>, paths: &Paths, console: &mut Console) -> Done {
    let dirs = names.iter().map(|it| paths.logs().join(it)).collect();
    let mut printer = Printer::new(names, args.raw, &mut console.out);
    let lines = args.lines.or((args.follow && args.since.is_none()).then_some(CONTEXT));
    let (since_ms, stream, grep) = (args.since, args.stream, args.grep);
    let selection = Selection { lines, since_ms, before_ms: None, stream, grep };
    if args.follow {
        follow(dirs, &selection, &mut printer)
    } else {
        read(dirs, &selection, &mut printer)
    }
}

/// Who has a log, by name.
fn logged(paths: &Paths) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(paths.logs()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        entries => {
            entries.map_err(|error| Complaint::of("failed", &error).when("read the logs"))?
        }
    };
    let dirs = entries.flatten().filter(|it| it.file_type().is_ok_and(|it| it.is_dir()));
    let names = dirs.filter_map(|it| it.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|it| it != OWN && !it.starts_with('.')).collect();
    names.sort_by_key(|it| it.to_lowercase());
    Ok(names)
}

/// Whom the patterns mean; all without one. Each must mean somebody.
fn select(logged: Vec<String>, patterns: &[Pattern], paths: &Paths) -> Result<Vec<String>, Error> {
    if let Some(vain) = patterns.iter().find(|it| !logged.iter().any(|name| it.matches(name))) {
        return Err(unknown(vain, &logged, paths).into());
    }
    let is_meant =
        |name: &String| patterns.is_empty() || patterns.iter().any(|it| it.matches(name));
    Ok(logged.into_iter().filter(is_meant).collect())
}

fn unknown(pattern: &Pattern, logged: &[String], paths: &Paths) -> Complaint {
    if pattern.as_str().eq_ignore_ascii_case(OWN) {
        let file = paths.logs().join(OWN).join("manager.log");
        return Complaint::new("not-found", "the manager's own log is not one of a daemon")
            .with("name", OWN)
            .hint(format!("it is the file `{}`", file.display()));
    }
    if pattern.is_plain() {
        let near = nearest(pattern.as_str(), logged.iter().map(String::as_str));
        return Complaint::no_daemon(pattern.as_str(), &near);
    }
    Complaint::new("not-found", format!("no daemon with a log matches `{pattern}`"))
        .with("name", pattern.as_str())
}

/// Prints what is there; to programs as one document, which ends also where reading fails.
fn read(dirs: Vec<PathBuf>, selection: &Selection, printer: &mut Printer<'_>) -> Done {
    printer.begin();
    let printed = print(dirs, selection, printer);
    if !matches!(printed, Err(Error::Closed)) {
        printer.end();
        printer.flush()?;
    }
    printed
}

fn print(dirs: Vec<PathBuf>, selection: &Selection, printer: &mut Printer<'_>) -> Done {
    let open = |dir: &PathBuf| Reader::open(dir, selection);
    let readers: Result<_, _> = dirs.iter().map(open).collect();
    let mut merge = Merge::new(readers.map_err(|it| Complaint::of("failed", &it))?);
    let mut next = || merge.next_line().map_err(|it| Complaint::of("failed", &it));
    match selection.lines {
        Some(count) => printer.print(last(count, &mut next)?)?,
        None => {
            while let Some(line) = next()? {
                printer.print([line])?;
            }
        }
    }
    Ok(Exit::Done)
}

/// The last `count` lines of all logs together: each reader alone gives as many.
fn last(
    count: usize,
    next: &mut impl FnMut() -> Result<Option<Numbered>, Complaint>,
) -> Result<VecDeque<Numbered>, Complaint> {
    let mut lines = VecDeque::new();
    while let Some(line) = next()? {
        lines.push_back(line);
        if lines.len() > count {
            lines.pop_front();
        }
    }
    Ok(lines)
}

/// Prints what is there, then what comes, until nobody reads it any more.
fn follow(dirs: Vec<PathBuf>, selection: &Selection, printer: &mut Printer<'_>) -> Done {
    let backlog = selection.lines.map(|it| it.saturating_mul(dirs.len()));
    let mut follow = Follow::open(dirs, selection).map_err(|it| Complaint::of("failed", &it))?;
    if let (Some(backlog), Some(count)) = (backlog, selection.lines) {
        printer.print(begin(&mut follow, backlog, count)?)?;
    }
    loop {
        let batch = batch(&mut follow)?;
        if batch.is_empty() {
            printer.flush()?;
            printer.out.wait_for(&follow)?;
        }
        printer.print(batch)?;
    }
}

/// What was there when following began, but for what is too much of it.
fn begin(
    follow: &mut Follow,
    backlog: usize,
    count: usize,
) -> Result<VecDeque<Numbered>, Complaint> {
    let mut lines = VecDeque::new();
    while lines.len() < backlog {
        let batch = batch(follow)?;
        if batch.is_empty() {
            break;
        }
        lines.extend(batch);
    }
    let surplus = lines.len().min(backlog).saturating_sub(count);
    lines.drain(..surplus);
    Ok(lines)
}

fn batch(follow: &mut Follow) -> Result<Vec<Numbered>, Complaint> {
    follow.next_batch(Some(Duration::ZERO)).map_err(|it| Complaint::of("failed", &it))
}

/// Writes lines in blocks.
struct Printer<'a> {
    out: &'a mut Output,
    names: Vec<String>,
    style: format::Style,
    block: Vec<u8>,
    /// What stands before the next line for programs, and what before those after it: nothing where
    /// each is a document of its own.
    before: [&'static str; 2],
}

impl<'a> Printer<'a> {
    fn new(names: Vec<String>, is_raw: bool, out: &'a mut Output) -> Self {
        let name_width = names.iter().map(String::len).max().unwrap_or_default();
        let style = format::Style { is_coloured: out.is_coloured, is_raw, name_width };
        Self { out, names, style, block: vec![], before: ["", ""] }
    }

    /// Begins the one document that a program gets: `{"v":1,"lines":[…]}`.
    fn begin(&mut self) {
        if self.out.is_json {
            self.block.extend(b"{\"v\":1,\"lines\":[\n");
            self.before = ["", ","];
        }
    }

    /// Ends it.
    fn end(&mut self) {
        if self.out.is_json {
            self.block.extend(b"]}\n");
        }
    }

    fn print(&mut self, lines: impl IntoIterator<Item = Numbered>) -> Result<(), Error> {
        for (number, line) in lines {
            let name = self.names.get(number).map_or("", String::as_str);
            let written = if self.out.is_json {
                let [before, then] = self.before;
                self.before = [then, then];
                self.block.extend(before.as_bytes());
                let entry = format::Entry::new(name, &line);
                serde_json::to_writer(&mut self.block, &entry)
                    .map(|()| self.block.push(b'\n'))
                    .map_err(io::Error::from)
            } else {
                format::write(&mut self.block, self.style, name, &line)
            };
            written.map_err(|error| Complaint::of("failed", &error))?;
            if self.block.len() > BLOCK_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        let block = std::mem::take(&mut self.block);
        if block.is_empty() { Ok(()) } else { self.out.bytes(&block) }
    }
}
