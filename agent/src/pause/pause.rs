//! The process that holds a pod's namespaces open. It does nothing, for as long as the pod lives.
//!
//! It is compiled by `build.rs` on its own, linked statically and embedded into the agent, so that a node needs no registry to make
//! its first pod. It is killed, never asked to stop, so it handles no signal; and it is no parent of the pod's containers, whose
//! process namespaces are their own, so it has nothing to reap.

fn main() {
    loop {
        std::thread::park();
    }
}
