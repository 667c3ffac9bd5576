//! The filter `RuntimeDefault`: which system calls a container may make, as containerd's default profile decides it. Pure.
//!
//! A table of names, some of which need a capability. What is not in it fails with EPERM, as if the caller were not allowed; `clone3`, whose
//! flags a filter cannot see, fails with ENOSYS, so that C libraries fall back to `clone`. `io_uring` is not in it; `ptrace` is, which has been
//! harmless since Linux 4.8.

use serde_json::{Value, json};

/// Calls for files and folders.
const FILES: &str = "access cachestat chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat \
    faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 \
    fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 \
    futimesat getcwd getdents getdents64 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl \
    io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit lchown lchown32 \
    lgetxattr link linkat listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 mkdir mkdirat \
    mknod mknodat newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink \
    readlinkat readv removexattr removexattrat rename renameat renameat2 rmdir sendfile sendfile64 setxattr setxattrat splice stat \
    stat64 statfs statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat \
    utime utimensat utimensat_time64 utimes vmsplice write writev";

/// Calls for memory.
const MEMORY: &str = "brk madvise map_shadow_stack memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap \
    mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_madvise process_mrelease remap_file_pages";

/// Calls for processes, threads and signals.
const PROCESSES: &str = "alarm capget capset execve execveat exit exit_group fork futex futex_requeue futex_time64 futex_wait \
    futex_waitv futex_wake get_robust_list get_thread_area getcpu getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups \
    getgroups32 getitimer getpgid getpgrp getpid getppid getpriority getresgid getresgid32 getresuid getresuid32 getrlimit getrusage \
    getsid gettid getuid getuid32 kill landlock_add_rule landlock_create_ruleset landlock_restrict_self membarrier pause pidfd_open \
    pidfd_send_signal prctl prlimit64 process_vm_readv process_vm_writev ptrace restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn \
    rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min \
    sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 \
    sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp set_robust_list set_thread_area \
    set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority \
    setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setuid setuid32 sigaltstack \
    signalfd signalfd4 sigprocmask sigreturn tgkill tkill ugetrlimit vfork wait4 waitid waitpid";

/// Calls to wait, for time and for the rest of a machine.
const WAITING: &str = "clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 \
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 getrandom \
    gettimeofday nanosleep _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64 select sysinfo syslog time timer_create \
    timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime \
    timerfd_gettime64 timerfd_settime timerfd_settime64 times uname adjtimex clock_adjtime clock_adjtime64";

/// Calls between processes and over networks. `socket` stands apart.
const TALKING: &str = "accept accept4 bind connect getpeername getsockname getsockopt ipc listen mq_getsetattr mq_notify mq_open \
    mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd recv recvfrom \
    recvmmsg recvmmsg_time64 recvmsg semctl semget semop semtimedop semtimedop_time64 send sendmmsg sendmsg sendto setsockopt shmat \
    shmctl shmdt shmget shutdown socketcall socketpair";

/// What the machine's own architecture needs besides.
const NATIVE: &[(&str, &str)] = &[
    ("x86_64", "arch_prctl modify_ldt"),
    ("x86", "modify_ldt"),
    ("aarch64", "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2"),
    ("riscv64", "riscv_flush_icache riscv_hwprobe"),
    ("powerpc64", "sync_file_range2 swapcontext"),
    ("s390x", "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr"),
];

/// Calls that a capability brings.
const WITH_CAPABILITY: &[(&str, &str)] = &[
    ("CAP_BPF", "bpf"),
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ("CAP_PERFMON", "perf_event_open"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount \
         name_to_handle_at open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module query_module"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYSLOG", "syslog"),
];

/// Execution domains that `personality` may ask for: Linux, Linux of 32 bits, both with the UNAME26 flag, and the question which it is.
const PERSONALITIES: &[u64] = &[0x0, 0x8, 0x20000, 0x20008, 0xffff_ffff];

/// New namespaces, by the flags of `clone` in linux/sched.h: cgroup, mount, UTS, IPC, user, PID, network.
const NEW_NAMESPACES: u64 =
    0x0200_0000 | 0x0002_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000;

/// The family of sockets to a virtual machine's host, which no namespace keeps apart.
const AF_VSOCK: u64 = 40;

const ENOSYS: u32 = 38;

/// The profile for a container with these capabilities (`CAP_…`), as the OCI's `linux.seccomp`.
pub fn runtime_default(capabilities: &[String]) -> Value {
    let names = |it: &str| it.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let allow = |it: Vec<String>| json!({"names": it, "action": "SCMP_ACT_ALLOW"});
    let only = |name: &str, index: u32, value: u64, op: &str, two: u64| {
        let argument = json!({"index": index, "value": value, "valueTwo": two, "op": op});
        json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": [argument]})
    };
    let has = |it: &str| capabilities.iter().any(|capability| capability == it);
    let mut plain: Vec<String> = [FILES, MEMORY, PROCESSES, WAITING, TALKING].into_iter().flat_map(names).collect();
    plain.extend(NATIVE.iter().filter(|it| it.0 == std::env::consts::ARCH).flat_map(|it| names(it.1)));
    plain.extend(WITH_CAPABILITY.iter().filter(|it| has(it.0)).flat_map(|it| names(it.1)));
    plain.sort();
    plain.dedup();
    let mut rules = vec![allow(plain), only("socket", 0, AF_VSOCK, "SCMP_CMP_NE", 0)];
    rules.extend(PERSONALITIES.iter().map(|it| only("personality", 0, *it, "SCMP_CMP_EQ", 0)));
    if !has("CAP_SYS_ADMIN") {
        // On s390x the flags are the second argument.
        let index = u32::from(std::env::consts::ARCH == "s390x");
        // The mask first, what is left of the flags second.
        rules.push(only("clone", index, NEW_NAMESPACES, "SCMP_CMP_MASKED_EQ", 0));
        rules.push(json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS}));
    }
    json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": architectures(), "syscalls": rules})
}

/// The machine's architecture and those whose programs it runs, too. Not x32, which next to no kernel runs any more and systemd's `native` keeps out, too.
fn architectures() -> &'static [&'static str] {
    match std::env::consts::ARCH {
        "x86_64" => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "aarch64" => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        "s390x" => &["SCMP_ARCH_S390X", "SCMP_ARCH_S390"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(capabilities: &[&str], name: &str) -> bool {
        let owned: Vec<String> = capabilities.iter().map(|it| it.to_string()).collect();
        let profile = runtime_default(&owned);
        let parsed: oci_spec::runtime::LinuxSeccomp = serde_json::from_value(profile).unwrap();
        let rules = parsed.syscalls().clone().unwrap();
        let allow = oci_spec::runtime::LinuxSeccompAction::ScmpActAllow;
        rules.iter().any(|it| it.action() == allow && it.args().is_none() && it.names().iter().any(|it| it == name))
    }

    #[test]
    fn dangerous_calls_need_their_capability() {
        let check = |capabilities: &[&str], name: &str, expected: bool| {
            assert_eq!(allowed(capabilities, name), expected, "{name} with {capabilities:?}");
        };
        for name in ["openat", "execve", "epoll_wait", "futex", "rseq"] {
            check(&[], name, true);
        }
        for name in
            ["mount", "unshare", "keyctl", "add_key", "kexec_load", "bpf", "io_uring_setup", "swapon", "userfaultfd"]
        {
            check(&["CAP_CHOWN"], name, false);
        }
        check(&["CAP_SYS_ADMIN"], "mount", true);
        check(&["CAP_SYS_ADMIN"], "clone", true);
        check(&[], "clone", false);
        check(&["CAP_SYS_PTRACE"], "kcmp", true);
    }
}
