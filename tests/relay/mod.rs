//! The relay from outside: byte by byte, under load, and as the clients of others see it.

mod acebase;
mod bytes;
mod cluster;
mod flags;
mod guests;
mod held;
mod house;
mod http;
mod order;
mod restart;
mod tls;
