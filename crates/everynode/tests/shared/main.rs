//! Several processes on one store: two servers on a real etcd, and controllers of which one process runs them.

#[path = "../../../store/tests/contract/etcd_process.rs"]
mod etcd_process;
mod keys;
mod leader;
mod moves;
mod processes;
