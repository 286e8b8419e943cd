//! potluck in the real world: tokio, sockets, disk and hashing threads around potluck-core's machines.

pub mod hash_cache;
pub mod hashing;
pub mod pool;
pub mod scan;
pub mod store;
pub mod workers;
