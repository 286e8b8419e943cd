//! potluck in a deterministic world: virtual time, network, disks and faults around potluck-core's machines.
