//! Listening sockets that outlive the process that serves them.

mod inherited;
