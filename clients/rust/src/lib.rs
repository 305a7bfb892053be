#![doc = include_str!("../README.md")]
#![cfg_attr(not(feature = "std"), no_std)]

mod event;
mod id;
mod packer;
pub mod wire;

#[cfg(feature = "std")]
mod clock;
#[cfg(feature = "std")]
mod dial;
#[cfg(feature = "std")]
mod emitter;
#[cfg(feature = "std")]
pub mod engine;
#[cfg(feature = "std")]
mod random;
#[cfg(feature = "seal")]
mod seal;
#[cfg(all(feature = "std", not(feature = "seal")))]
#[path = "unsealed.rs"]
mod seal;
#[cfg(feature = "std")]
mod stats;

pub use event::{Attribute, Event, Id, Invalid, Kind};
pub use id::{id, id_bytes};
pub use packer::{Numbers, Packer, Refused};

#[cfg(feature = "std")]
pub use emitter::Emitter;
#[cfg(feature = "std")]
pub use engine::{AddError, TcpOptions, UdpOptions};
#[cfg(feature = "seal")]
pub use seal::Key;
#[cfg(feature = "std")]
pub use stats::Stats;
