//! What an attacker does: each blow takes a second or two, whatever the other side does.

use std::{
    io::{self, Write},
    thread::sleep,
    time::Duration,
};

use super::{
    attack::drain,
    line::{Line, Target},
};

pub(crate) type Blow = fn(&Target, &mut Dice) -> io::Result<()>;

/// All of them, each as likely as the others.
pub(crate) const BLOWS: [Blow; 16] = [
    slow_bytes,
    resets,
    endless_line,
    endless_blanks,
    idle_crowd,
    unfinished_packets,
    deep_nesting,
    noise,
    tags,
    flood_without_reading,
    http,
    half_closed,
    mutated_lines,
    wrong_tokens,
    waits_and_streams,
    lies,
];

/// Harmless where everything is allowed.
const OPEN: [&str; 10] = [
    "dae []",
    "options []",
    "whois []",
    "ping [[1,{\"a\":\"\\u00e9\"}]]",
    "hello [{\"proto\":1}]",
    "help [\"ping\"]",
    "list [{\"all\":true,\"wide\":true}]",
    "find [\"Sample\"]",
    "get [\"k\"]",
    "all []",
];

/// What a stranger is refused, or what Sample lets everybody do.
const CLOSED: [&str; 8] = [
    "down []",
    "stop [\"Sample\"]",
    "install [\"Evil\",{\"program\":\"/bin/sh\"}]",
    "uninstall [[\"all\"],{\"purge\":true}]",
    "status [\"Sample\"]",
    "logs [\"Sample\",{\"lines\":100}]",
    "set [\"k\",{\"x\":1}]",
    "reset []",
];

/// A fast source of numbers that are random enough.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count.div_ceil(8)).flat_map(|_| self.next().to_ne_bytes()).collect()
    }

    fn line(&mut self, target: &Target) -> &'static str {
        let closed = if target.is_trusting() { 0 } else { CLOSED.len() };
        match self.below(OPEN.len() + closed) {
            index if index < OPEN.len() => OPEN[index],
            index => CLOSED[index - OPEN.len()],
        }
    }
}

fn connect_many(target: &Target, count: usize) -> Vec<Line> {
    (0..count).map_while(|_| target.connect().ok()).collect()
}

fn slow_bytes(target: &Target, dice: &mut Dice) -> io::Result<()> {
    let mut lines = connect_many(target, 50);
    for byte in dice.line(target).bytes().take(20) {
        for line in &mut lines {
            line.write_all(&[byte]).ok();
        }
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn resets(target: &Target, dice: &mut Dice) -> io::Result<()> {
    for _ in 0..200 {
        let mut line = target.connect()?;
        let said = format!("{}\n", dice.line(target)).repeat(3);
        let cut = dice.below(said.len());
        line.write_all(&said.as_bytes()[..cut])?;
        line.reset();
    }
    Ok(())
}

fn endless_line(target: &Target, dice: &mut Dice) -> io::Result<()> {
    let mut line = target.connect()?;
    let beginnings: [&[u8]; 4] = [b"ping [\"", b"^", b"x", b"ping [["];
    line.write_all(beginnings[dice.below(beginnings.len())])?;
    write_gib(&mut line, b'x')
}

fn endless_blanks(target: &Target, dice: &mut Dice) -> io::Result<()> {
    let mut line = target.connect()?;
    let blanks = [b' ', b'\n', b'\t', b'\r'];
    let chunk = vec![blanks[dice.below(blanks.len())]; 64 << 10];
    (0..500).try_for_each(|_| line.write_all(&chunk))
}

/// Up to a gibibyte; the other side has ended it long before.
fn write_gib(line: &mut Line, byte: u8) -> io::Result<()> {
    let chunk = vec![byte; 64 << 10];
    (0..16 << 10).try_for_each(|_| line.write_all(&chunk))
}

fn idle_crowd(target: &Target, _: &mut Dice) -> io::Result<()> {
    let lines = connect_many(target, 1500);
    sleep(Duration::from_secs(1));
    drop(lines);
    Ok(())
}

fn unfinished_packets(target: &Target, dice: &mut Dice) -> io::Result<()> {
    let mut packet = b"ping [\"".to_vec();
    packet.resize((1 << 20) - 1 - dice.below(1000), b'x');
    let mut lines = connect_many(target, 100);
    for line in &mut lines {
        line.write_all(&packet).ok();
    }
    sleep(Duration::from_millis(300));
    Ok(())
}

fn deep_nesting(target: &Target, dice: &mut Dice) -> io::Result<()> {
    for depth in [63, 64, 65, 127, 128, 129, 100_000] {
        let mut line = target.connect()?;
        let (open, close) = [("[", "]"), ("{\"a\":", "}")][dice.below(2)];
        let said = format!("ping [{}1{}]\n", open.repeat(depth), close.repeat(depth));
        line.write_all(said.as_bytes())?;
        line.half_close()?;
        drain(&mut line);
    }
    Ok(())
}

fn noise(target: &Target, dice: &mut Dice) -> io::Result<()> {
    for _ in 0..50 {
        let mut line = target.connect()?;
        let size = 1 + dice.below(64 << 10);
        line.write_all(&dice.bytes(size))?;
        line.half_close()?;
        drain(&mut line);
    }
    Ok(())
}

fn tags(target: &Target, dice: &mut Dice) -> io::Result<()> {
    let mut line = target.connect()?;
    for size in [1, 32, 33, 1000, 100_000] {
        let tag = "t".repeat(size);
        line.write_all(format!("ping#{tag} [{}]\n", dice.next()).as_bytes())?;
    }
    let many: String = (0..1000).map(|tag| format!("ping#{tag} []\nping#{tag} []\n")).collect();
    line.write_all(many.as_bytes())?;
    line.half_close()?;
    drain(&mut line);
    Ok(())
}

fn flood_without_reading(target: &Target, dice: &mut Dice) -> io::Result<()> {
    let said = ["help []\n", "list [{\"all\":true}]\n", "ping [[[1]]]\n", "nope\n"][dice.below(4)]
        .repeat(1000);
    let mut lines = connect_many(target, 30);
    for line in &mut lines {
        while line.write_all(said.as_bytes()).is_ok() {}
    }
    Ok(())
}

fn http(target: &Target, dice: &mut Dice) -> io::Result<()> {
    let requests: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /x HTTP/1.0\r\nContent-Length: 8\r\n\r\ndown []\n",
        b"CONNECT [::1]:1 HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ];
    for _ in 0..100 {
        let mut line = target.connect()?;
        line.write_all(requests[dice.below(requests.len())])?;
        drain(&mut line);
    }
    Ok(())
}

fn half_closed(target: &Target, dice: &mut Dice) -> io::Result<()> {
    let mut lines = connect_many(target, 100);
    for line in &mut lines {
        let said = format!("{}\n", dice.line(target)).repeat(5);
        line.write_all(said.as_bytes()).and_then(|()| line.half_close()).ok();
    }
    sleep(Duration::from_millis(500));
    Ok(())
}

fn mutated_lines(target: &Target, dice: &mut Dice) -> io::Result<()> {
    let mut line = target.connect()?;
    for _ in 0..2000 {
        let mut said = format!("{}\n", dice.line(target)).into_bytes();
        for _ in 0..dice.below(4) {
            let at = dice.below(said.len());
            match dice.below(3) {
                0 => said[at] = dice.next() as u8,
                1 => drop(said.remove(at)),
                _ => said.insert(at, b"[]{}\"\\#, \n"[dice.below(10)]),
            }
            said.push(b'\n');
        }
        let cut = dice.below(said.len());
        if line.write_all(&said[..cut]).and_then(|()| line.write_all(&said[cut..])).is_err() {
            line = target.connect()?;
        }
    }
    line.half_close()?;
    drain(&mut line);
    Ok(())
}

fn wrong_tokens(target: &Target, dice: &mut Dice) -> io::Result<()> {
    let mut lines = connect_many(target, 20);
    for line in &mut lines {
        let said: String =
            (0..20).map(|tag| format!("auth#{tag} [\"{:064x}\"]\n", dice.next())).collect();
        line.write_all(said.as_bytes()).ok();
    }
    sleep(Duration::from_millis(200));
    lines.into_iter().for_each(Line::reset);
    Ok(())
}

/// `Sleeper` is installed and never up, so who looks for it waits.
fn waits_and_streams(target: &Target, dice: &mut Dice) -> io::Result<()> {
    let mut lines = connect_many(target, 50);
    for line in &mut lines {
        let verb = ["find#X [\"Sleeper\",3600000]\n", "watch#X [\"*\"]\n"][dice.below(2)];
        let said: String = (0..70).map(|tag| verb.replace('X', &tag.to_string())).collect();
        line.write_all(said.as_bytes()).ok();
        line.write_all(b"find [\"Sleeper\",3600000]\nping [1]\n").ok();
        if dice.below(2) == 0 {
            line.half_close().ok();
        }
    }
    sleep(Duration::from_millis(200));
    // Some leave by RST, since replies are unread, and some by FIN.
    lines.iter_mut().take(25).for_each(drain);
    Ok(())
}

fn lies(target: &Target, dice: &mut Dice) -> io::Result<()> {
    let mut line = target.connect()?;
    for _ in 0..200 {
        let (secret, port) = (dice.next(), dice.next() as u16);
        line.write_all(format!("ready [\"{secret:032x}\",{port}]\n").as_bytes())?;
        line.write_all(b"credential [\"Sample\",1,1,null]\ndaemons [[]]\nerror [null]\n")?;
    }
    if !matches!(target, Target::Keeper(_)) {
        drain(&mut line);
    }
    Ok(())
}
