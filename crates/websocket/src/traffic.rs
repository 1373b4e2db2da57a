use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{Waits, waits::Counting};

/// What a server has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// How many are connected now.
    pub connections: usize,
    /// How many requests were answered with which status from 400 on. Who was not even told counts
    /// as 503; what is no HTTP counts not at all.
    pub refused: BTreeMap<u16, u64>,
    /// How many bytes have come in.
    pub bytes_in: u64,
    /// How many bytes have left.
    pub bytes_out: u64,
    /// How long messages have waited to leave.
    pub waits: Waits,
}

/// Counts, for all connections of a server.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    waits: Counting,
    refused: Mutex<BTreeMap<u16, u64>>,
}

impl Traffic {
    pub(crate) fn read(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn written(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts a message that has begun to leave.
    pub(crate) fn waited(&self, time: Duration) {
        self.waits.count(time);
    }

    /// Counts an answer, if it is a refusal.
    pub(crate) fn answered(&self, status: u16) {
        if status >= 400 {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            *refused.entry(status).or_default() += 1;
        }
    }

    pub(crate) fn counters(&self, connections: usize) -> Counters {
        Counters {
            connections,
            refused: self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            waits: self.waits.read(),
        }
    }
}
