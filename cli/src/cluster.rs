//! Local clusters of several nodes: machines played by network namespaces, each with an address, an agent and pods of its own.
//!
//! A cluster is a folder ([`folder`]) with a record of what was asked for ([`record`]), the families of its addresses among it ([`family`]). Its nodes are network namespaces ([`namespace`]) on one
//! switch ([`wiring`]), a bridge in a namespace of its own: on the host there is only the end of one cable, with an address in a network
//! that nothing else uses ([`subnet`]). The parts run as processes ([`parts`], [`process`]) that outlive the command: the control plane on the first
//! node, or one on each of the first nodes with a member of etcd beside it ([`etcd`]); an agent on every node; and a forwarder ([`forwarder`]) for ports of the host and, where
//! it is needed, the host's DNS ([`resolver`]). Several API servers are reached through forwarders that know which are well ([`balance`]). [`lifecycle`] brings all of it up and down in order,
//! [`ready`] says when it answers, [`archive`] copies it into a file and back.
//!
//! Nothing of it needs a service manager. After a reboot the folder is all that is left, and all that `start` needs.

pub mod family;
pub mod name;
pub mod record;

pub mod folder;

pub mod subnet;

pub mod namespace;
pub mod wiring;

pub mod resolver;

pub mod process;

pub mod etcd;
pub mod parts;

pub mod ready;

pub mod lifecycle;

pub mod archive;

pub mod balance;
pub mod datagrams;
pub mod forwarder;
