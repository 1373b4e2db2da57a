//! The one place where something becomes durable.
//!
//! A [`Journal`] is an ordered log of records: bytes, each with a [`Revision`]. A daemon above it
//! is a state machine: it decides a record on its state in memory, appends it, applies it, and goes
//! on; what it tells others waits until the record is durable. All that waits becomes durable
//! together.
//!
//! ```
//! use journal::{AppendError, Expected, Journal, Options, Record, Store};
//! use std::io::{Read, Write};
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! # let home = tempfile::tempdir()?;
//! # let directory = home.path().join("journal");
//! let journal = Store::open(&directory, Options::default())?;
//! let mut progress = journal.progress();
//!
//! // Appending waits for nothing; both records are written and synced together.
//! let first = journal.append(Record::new(b"a = 1"), Expected::Any)?;
//! let second = journal.append(Record::new(b"a = 2"), Expected::Last(first.revision))?;
//! assert_eq!(second.revision, 2);
//! let third = journal.append(Record::new(b"a = 3"), Expected::Last(first.revision));
//! assert!(matches!(third, Err(AppendError::Unexpected { found: 2 })));
//!
//! // Now it may be told.
//! progress.reached(second).await?;
//!
//! // A snapshot spares the replay of what it stands for.
//! let mut snapshot = journal.write_snapshot(2)?;
//! snapshot.write_all(b"a is 2")?;
//! snapshot.finish()?;
//! journal.append(Record::new(b"a = 4"), Expected::Any)?;
//! drop(journal);
//!
//! // The next start: the snapshot, then what came after it.
//! let journal = Store::open(&directory, Options::default())?;
//! let mut snapshot = journal.snapshot()?.expect("there is one");
//! let mut state = String::new();
//! snapshot.read_to_string(&mut state)?;
//! let mut follow = journal.follow(snapshot.revision + 1)?;
//! while follow.position() <= journal.last().revision {
//!     for entry in follow.next().await?.iter() {
//!         state = format!("{state}, then {}", str::from_utf8(entry.bytes)?);
//!     }
//! }
//! assert_eq!(state, "a is 2, then a = 4");
//! # Ok::<_, Box<dyn std::error::Error>>(()) })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Store`] keeps it in files of its own, [`Memory`] nowhere, for tests. The trait shows neither.
//! What a daemon does when the disk fails is told at [`Journal`]; why no acknowledged record is
//! lost, in
//! `DURABILITY.md` beside this crate. [`check`] looks at a journal that does not open.
//!
//! This crate knows neither what a record means, nor users, nor Common TCP.

mod error;
mod follow;
mod journal;
mod keys;
mod memory;
mod progress;
mod snapshot;
mod store;

pub use error::{
    AppendError, BackupError, Check, Damage, DiskError, Failure, FollowError, Lost, OpenError,
    SnapshotError, TrimError,
};
pub use follow::{Batch, Entry, Follow};
pub use journal::{Expected, Journal, KEY_BYTES, Keep, Later, Record, Revision};
pub use memory::Memory;
pub use progress::{Groups, Progress, Receipt};
pub use snapshot::{Snapshot, SnapshotWriter};
pub use store::{Backup, Look, Options, Report, Store, Torn, check};
