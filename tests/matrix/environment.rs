//! What is hostile around the daemons: nothing, no manager, no disk, no descriptors.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    path::PathBuf,
    thread,
    time::Duration,
};

use nix::{
    libc::rlim_t,
    mount::{MntFlags, MsFlags, mount, umount2},
};

use crate::harness::{Dae, of};

/// Where the faults strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Environment {
    Quiet,
    /// There is no manager while they strike; another one comes after that.
    ManagerKilled,
    /// Nothing can be written below the home.
    DiskFull,
    /// Neither manager nor keeper can open anything.
    DescriptorsExhausted,
}

/// What has to be undone.
#[derive(Debug)]
pub(super) enum Hostile {
    Nothing,
    Filled(PathBuf),
    Limited(Vec<(u32, rlim_t, rlim_t)>),
}

/// How long the faults are left alone in a hostile place: several attempts to start again.
const DWELL: Duration = Duration::from_secs(2);

impl Environment {
    /// A manager in a home that can be made hostile so; none where this machine does not allow
    /// that.
    pub(super) fn home(self) -> Option<(Option<Disk>, Dae)> {
        let dae = Dae::at_rest();
        let disk = (self == Self::DiskFull).then(|| Disk::mount(&dae));
        if matches!(disk, Some(None)) {
            println!("skipped: the disk of a home cannot be filled, since only root may mount one");
            return None;
        }
        dae.succeed(["up"]);
        Some((disk.flatten(), dae))
    }

    pub(super) fn begin(self, dae: &Dae) -> Hostile {
        match self {
            Self::Quiet => Hostile::Nothing,
            Self::ManagerKilled => {
                dae.kill_manager();
                Hostile::Nothing
            }
            Self::DiskFull => Hostile::Filled(fill(dae)),
            Self::DescriptorsExhausted => {
                Hostile::Limited([dae.pid(), dae.keeper()].map(exhaust).to_vec())
            }
        }
    }

    pub(super) fn end(self, dae: &Dae, hostile: Hostile) {
        match hostile {
            Hostile::Filled(file) => fs::remove_file(file).unwrap(),
            Hostile::Limited(limits) => limits.into_iter().for_each(|(pid, soft, hard)| {
                limit(pid, soft, hard);
            }),
            Hostile::Nothing => {}
        }
        if self == Self::ManagerKilled {
            dae.succeed(["up"]);
        }
    }

    /// Stays hostile for a while: what fails is tried again.
    pub(super) fn dwell(self) {
        if self.may_hinder() {
            thread::sleep(DWELL);
        }
    }

    /// Whether a daemon may not be startable in it.
    pub(super) fn may_hinder(self) -> bool {
        matches!(self, Self::DiskFull | Self::DescriptorsExhausted)
    }
}

/// A disk that holds a home and nothing else. Goes after the manager.
#[derive(Debug)]
pub(super) struct Disk(PathBuf);

impl Disk {
    fn mount(dae: &Dae) -> Option<Self> {
        let (home, options) = (dae.home().to_owned(), "size=512m,mode=0700");
        let tmpfs = Some("tmpfs");
        mount(tmpfs, &home, tmpfs, MsFlags::empty(), Some(options)).ok()?;
        Some(Self(home))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
        fs::remove_dir(&self.0).unwrap();
    }
}

/// Leaves no room.
fn fill(dae: &Dae) -> PathBuf {
    let path = dae.home().join("filler");
    let mut file = File::create(&path).unwrap();
    let zeros = vec![0; 1 << 20];
    while file.write_all(&zeros).is_ok() {}
    while file.write_all(&[0]).is_ok() {}
    path
}

/// Leaves `pid` no descriptor but those it has, and returns its limits as they were.
fn exhaust(pid: u32) -> (u32, rlim_t, rlim_t) {
    let open = fs::read_dir(of(pid, "fd")).unwrap();
    let open: BTreeSet<u64> =
        open.filter_map(|it| it.ok()?.file_name().to_str()?.parse().ok()).collect();
    let lowest_free = (0..).find(|number| !open.contains(number)).unwrap();
    let limits = fs::read_to_string(of(pid, "limits")).unwrap();
    let line = limits.lines().find(|it| it.starts_with("Max open files")).unwrap();
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (soft, hard) = (fields[3].parse().unwrap(), fields[4].parse().unwrap());
    limit(pid, lowest_free, hard);
    (pid, soft, hard)
}

/// Sets the limit of open files of another process.
fn limit(pid: u32, soft: rlim_t, hard: rlim_t) {
    let status = std::process::Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--nofile={soft}:{hard}")])
        .status()
        .unwrap();
    assert!(status.success(), "prlimit of {pid}");
}
