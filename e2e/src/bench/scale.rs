//! How much is done: the sizes of the issue, or small ones for a quick look. Pure.

use std::time::Duration;

/// The sizes of all benchmarks.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Clients at once, one row each.
    pub clients: Vec<usize>,
    /// The limits of one verb at one number of clients.
    pub verb_limit: Duration,
    pub verb_requests: usize,
    /// LIST.
    pub pods: usize,
    pub lists: usize,
    /// Watch fan-out.
    pub watchers: usize,
    pub events: usize,
    /// Definitions of custom kinds.
    pub definitions: usize,
    /// Watches at once, and for how long objects are written for them.
    pub many_watchers: usize,
    pub many_watchers_time: Duration,
    /// Starts on new data directories.
    pub starts: usize,
    /// How long a process is left alone before its memory counts as idle.
    pub idle: Duration,
    /// Scheduler: nodes, one row each, and pods.
    pub nodes: Vec<usize>,
    pub scheduled_pods: usize,
    /// Agent: pods one after the other, and at once.
    pub agent_pods: usize,
    pub agent_burst: usize,
    /// Services on a node, and for how long names are asked for.
    pub services: usize,
    pub names_time: Duration,
}

impl Scale {
    /// What the budgets are about.
    pub fn full() -> Scale {
        Scale {
            clients: vec![1, 16, 64],
            verb_limit: Duration::from_secs(3),
            // 20 MB of 1 kB objects at the most, so that one verb does not fill the memory that a later one is judged by.
            verb_requests: 20_000,
            pods: 5_000,
            lists: 9,
            watchers: 200,
            events: 1_000,
            definitions: 100,
            many_watchers: 10_000,
            many_watchers_time: Duration::from_secs(10),
            starts: 7,
            idle: Duration::from_secs(10),
            nodes: vec![1_000, 5_000],
            scheduled_pods: 10_000,
            agent_pods: 20,
            agent_burst: 30,
            services: 10_000,
            names_time: Duration::from_secs(5),
        }
    }

    /// Enough to see that everything works.
    pub fn quick() -> Scale {
        Scale {
            verb_limit: Duration::from_millis(500),
            verb_requests: 2_000,
            pods: 1_000,
            lists: 3,
            watchers: 50,
            events: 200,
            definitions: 10,
            many_watchers: 1_000,
            many_watchers_time: Duration::from_secs(3),
            starts: 3,
            idle: Duration::from_secs(3),
            nodes: vec![100],
            scheduled_pods: 1_000,
            agent_pods: 5,
            agent_burst: 10,
            services: 500,
            names_time: Duration::from_secs(1),
            ..Scale::full()
        }
    }
}
