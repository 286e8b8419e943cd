//! potluck in the real world: tokio, sockets, disk and hashing threads around potluck-core's machines.
