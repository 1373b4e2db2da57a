use std::{
    fs,
    io::{Write, stderr},
};

use journal::{AppendError, Expected, Failure, Journal, Lost, Options, Record, Store};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::geteuid,
};

use crate::lab::{Lab, fill, read, read_snapshot, run, texts, write_snapshot};

/// A file system with little room; unmounted with its owner.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// Mounts one on the lab's directory; nothing, and why is printed, without the right to.
    fn on(lab: &Lab) -> Option<Self> {
        if !geteuid().is_root() {
            // Past the harness, which shows nothing of a test that goes well.
            stderr().write_all(b"skipped: only root can mount a small tmpfs\n").unwrap();
            return None;
        }
        let path = lab.beside("disk");
        fs::create_dir(&path).unwrap();
        let options = Some("size=1m,mode=0700");
        mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), options).unwrap();
        Some(Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

#[test]
fn a_full_disk_is_read_only_and_heals_without_a_restart() {
    let lab = Lab::new();
    let Some(disk) = SmallDisk::on(&lab) else { return };
    let options = Options { segment_bytes: 128 << 10, ..Options::default() };
    let journal = Store::open(&disk.0.join("journal"), options).unwrap();
    let before = fill(&journal, 10).revision;
    write_snapshot(&journal, 5, b"five");
    let filler = disk.0.join("filler");
    // It takes all the room, and then there is none.
    assert!(fs::write(&filler, vec![0; 2 << 20]).is_err());

    let large = vec![b'x'; 200 << 10];
    let lost = journal.append(Record::new(&large), Expected::Any).unwrap();
    let error = run(journal.progress().reached(lost)).unwrap_err();
    assert!(matches!(error, Lost::Failed { durable, .. } if durable == before));
    let refused = journal.append(Record::new(b"x"), Expected::Any).unwrap_err();
    assert!(matches!(refused, AppendError::ReadOnly(_)));
    // What was taken ahead is given back, so there may be enough for a little.
    match run(journal.mend()) {
        Ok(durable) => assert_eq!(durable, before),
        Err(Failure::Disk(error)) => assert!(error.is_full(), "{error}"),
        Err(error) => panic!("{error}"),
    }
    assert_eq!(read(&journal, 1), texts(1, before), "what was durable can be read");
    assert_eq!(read_snapshot(&journal), Some((5, b"five".to_vec())));
    assert!(
        journal
            .write_snapshot(before)
            .and_then(|mut it| {
                it.write_all(&large).ok();
                it.finish()
            })
            .is_err()
    );
    assert_eq!(read_snapshot(&journal), Some((5, b"five".to_vec())), "the one before is kept");

    // The lost group was cut off, with the room that was taken ahead; somebody else takes that.
    let rest = disk.0.join("rest");
    assert!(fs::write(&rest, vec![0; 2 << 20]).is_err());
    // With less room than is taken ahead, small records still go through.
    let file = fs::OpenOptions::new().write(true).open(&filler).unwrap();
    file.set_len(file.metadata().unwrap().len() - (64 << 10)).unwrap();
    assert_eq!(run(journal.mend()).unwrap(), before);
    let before = fill(&journal, 3).revision;

    fs::remove_file(&filler).unwrap();
    fs::remove_file(&rest).unwrap();
    assert_eq!(run(journal.mend()).unwrap(), before);
    let after = fill(&journal, 10).revision;
    assert_eq!(after, before + 10);
    drop(journal);
    let journal = Store::open(&disk.0.join("journal"), options).unwrap();
    assert_eq!(read(&journal, 1), texts(1, after));
}
