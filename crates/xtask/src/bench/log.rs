//! `bench log`: how fast is what a child prints in its log, and is it all there? The floor is `cat`
//! behind a pipe.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use nix::{sys::stat::Mode, unistd::mkfifo};

use super::{
    clock::now,
    error::MeasureError,
    rivals::Rivals,
    scratch::Scratch,
    stage::{Stage, probe},
    supervisor::{Kind, Service},
    table::{Figure, Must},
};
use crate::step::say;

const ROUNDS: usize = 3;

/// Between the start of the writer and its first line: loggers start beside it.
const SETTLE: Duration = Duration::from_millis(500);

/// How often is looked how much is there.
const PERIOD: Duration = Duration::from_millis(2);

/// How long a log may not grow before the rest is taken for lost.
const PATIENCE: Duration = Duration::from_secs(20);

const WRITER: &str = "Writer";

/// How a child prints.
#[derive(Clone, Copy)]
struct Print {
    /// Bytes a write.
    size: u64,
    /// How much of the volume of large writes is written so.
    share: f64,
}

const BLOCKS: Print = Print { size: 4000, share: 1.0 };
const LINES: Print = Print { size: 100, share: 0.4 };

/// How much a child prints in large writes: what a contender takes a second or two for.
fn volume(kind: Kind) -> u64 {
    match kind {
        Kind::Dae | Kind::Floor | Kind::Supervisord => 1_000_000_000,
        Kind::S6 => 250_000_000,
        Kind::Daemontools | Kind::Runit | Kind::Pm2 => 125_000_000,
    }
}

/// All rounds, every other one backwards.
pub(crate) fn log(
    kinds: &[Kind],
    rivals: &Rivals,
    scratch: &Scratch,
) -> Result<Vec<Figure>, MeasureError> {
    let mut figures = [
        (BLOCKS, Figure::new("log, 4 KB writes, MB/s", Some(Must::Above(700.0)))),
        (LINES, Figure::new("log, a write per line of 100 B, MB/s", Some(Must::OfFloor(0.9)))),
    ];
    let mut kinds = kinds.to_vec();
    for round in 0..ROUNDS {
        for (print, figure) in &mut figures {
            for kind in &kinds {
                let name = format!("{}-{}-{round}", kind.name(), print.size);
                let speed = speed(*kind, rivals, scratch, &name, *print);
                let Some(speed) = kind.unless_rival(speed)? else { continue };
                figure.add(*kind, speed);
                say(&format!("  {}: {speed:.0} MB/s in writes of {} B", kind.name(), print.size));
            }
        }
        kinds.reverse();
    }
    Ok(figures.map(|(_, figure)| figure).into())
}

/// Megabytes a second; 0 if a byte is missing, which is said.
fn speed(
    kind: Kind,
    rivals: &Rivals,
    scratch: &Scratch,
    name: &str,
    print: Print,
) -> Result<f64, MeasureError> {
    let bytes = (volume(kind) as f64 * print.share) as u64 / BLOCKS.size * BLOCKS.size;
    let gate = scratch.folder(name)?.join("gate");
    mkfifo(&gate, Mode::S_IRWXU).map_err(|errno| MeasureError::io("make", &gate)(errno.into()))?;
    let mut stage = Stage::open(kind, rivals, scratch, name, |witness| {
        vec![writer(witness, &gate, bytes, print.size)]
    })?;
    stage.launch()?;
    sleep(SETTLE);
    let started = now();
    drop(File::options().write(true).open(&gate).map_err(MeasureError::io("open", &gate))?);
    let log = stage.supervisor.log(WRITER);
    let whole = grown(&log, bytes).and_then(|()| {
        let took = now() - started;
        let line = intact(&files(&log)).map_err(MeasureError::io("read", &log))?;
        if line * LINES.size == bytes { Ok(took) } else { Err(lost(kind, &log, bytes, line)) }
    });
    stage.end();
    drop(fs::remove_dir_all(scratch.folder(name)?));
    match whole {
        Ok(took) => Ok(bytes as f64 / took.as_secs_f64() / 1e6),
        Err(error @ MeasureError::Lost { .. }) => {
            say(&format!("  {error}"));
            Ok(0.0)
        }
        Err(error) => Err(error),
    }
}

fn writer(witness: &Path, gate: &Path, bytes: u64, size: u64) -> Service {
    let [witness, gate] = [witness, gate].map(|it| it.display().to_string());
    let (bytes, size) = (bytes.to_string(), size.to_string());
    let arguments = vec!["write".into(), witness, WRITER.into(), gate, bytes, size];
    Service { name: WRITER.into(), program: probe(), arguments, is_logged: true }
}

fn lost(kind: Kind, log: &Path, wanted: u64, line: u64) -> MeasureError {
    MeasureError::Lost { who: kind.name(), found: size(&files(log)), wanted, line }
}

/// Waits until a log has all of `bytes`, or grows no more.
fn grown(log: &Path, bytes: u64) -> Result<(), MeasureError> {
    let (mut found, mut since) = (0, now());
    while found < bytes && now() - since < PATIENCE {
        sleep(PERIOD);
        let size = size(&files(log));
        if size != found {
            (found, since) = (size, now());
        }
    }
    Ok(())
}

/// The files of a log from the oldest to the newest. `current` stands behind those that begin with
/// `@`.
fn files(log: &Path) -> Vec<PathBuf> {
    let Ok(folder) = fs::read_dir(log) else { return vec![log.to_owned()] };
    let is_text = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name == "current" || name.starts_with('@') && !name.ends_with(".index")
    };
    let mut files: Vec<_> = folder.flatten().map(|it| it.path()).filter(is_text).collect();
    files.sort();
    files
}

fn size(files: &[PathBuf]) -> u64 {
    files.iter().filter_map(|file| fs::metadata(file).ok()).map(|it| it.len()).sum()
}

/// How many lines stand one behind the other as they were printed.
fn intact(files: &[PathBuf]) -> io::Result<u64> {
    let mut count = 0;
    for file in files {
        let mut lines = BufReader::with_capacity(1 << 20, File::open(file)?);
        let mut line = Vec::with_capacity(LINES.size as usize);
        while lines.read_until(b'\n', &mut line)? > 0 {
            if !is_line(&line, count) {
                return Ok(count);
            }
            count += 1;
            line.clear();
        }
    }
    Ok(count)
}

/// Whether this is the line with this number: the number, a space, and dots to its end.
fn is_line(line: &[u8], number: u64) -> bool {
    let parsed = line.get(..12).and_then(|it| str::from_utf8(it).ok()?.parse().ok());
    line.len() as u64 == LINES.size && parsed == Some(number) && line.ends_with(b".\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_known_by_its_number_and_length() {
        let line = format!("{:012} {}\n", 7, ".".repeat(86));
        assert!(is_line(line.as_bytes(), 7));
        assert!(!is_line(line.as_bytes(), 8));
        assert!(!is_line(&line.as_bytes()[1..], 7));
        assert!(!is_line(b"", 0));
    }
}
