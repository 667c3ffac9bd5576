//! The process that holds a pod's namespaces open. It does nothing, for as long as the pod lives.
//!
//! It is compiled by `build.rs` on its own, linked statically and embedded into the agent, so that a node needs no registry to make
//! its first pod. It is killed, never asked to stop, so it handles no signal. Where the pod's containers share their processes it is the first of
//! them, to whom orphans come: it says at its start that it does not want to hear of their ends, upon which the kernel keeps none of them.

/// Linux's number of the signal that tells of a child's end, on all machines that this is built for, and the handler that stands for "ignore it".
const SIGCHLD: i32 = 17;
const SIG_IGN: usize = 1;

unsafe extern "C" {
    // POSIX: with SIGCHLD ignored, children that end leave nothing to be waited for. Safe for this handler, which is no function.
    safe fn signal(number: i32, handler: usize) -> usize;
}

fn main() {
    signal(SIGCHLD, SIG_IGN);
    loop {
        std::thread::park();
    }
}
