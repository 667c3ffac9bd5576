//! Which capabilities a container's program has: the CRI's default set, what a pod adds and drops. Pure.

/// What a container has without a word about it, as containerd and Docker give it.
const DEFAULT: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// All there are, by their numbers in linux/capability.h.
const ALL: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The word for all of them in an API object.
const EVERY: &str = "ALL";

/// The names of the capabilities in a mask such as `CapBnd` of `/proc/<pid>/status`.
pub fn of_mask(mask: u64) -> Vec<&'static str> {
    ALL.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1).map(|(_, name)| *name).collect()
}

/// A container's capabilities as the OCI names them, in the kernel's order. `available` is what this machine can give at all: `ALL` means
/// these, and a privileged container has them.
///
/// # Errors
/// A name that is none.
pub fn granted(
    privileged: bool,
    add: &[String],
    drop: &[String],
    available: &[&'static str],
) -> Result<Vec<String>, String> {
    let known = |it: &String| -> Result<&'static str, String> {
        let upper = it.to_ascii_uppercase();
        let name = upper.trim_start_matches("CAP_");
        ALL.iter().find(|it| **it == name).copied().ok_or_else(|| format!("unknown capability {it:?}"))
    };
    let every = |list: &[String]| list.iter().any(|it| it.eq_ignore_ascii_case(EVERY));
    let each = |list: &[String]| -> Result<Vec<&'static str>, String> {
        list.iter().filter(|it| !it.eq_ignore_ascii_case(EVERY)).map(known).collect()
    };
    let (added, dropped) = (each(add)?, each(drop)?);
    let has = |it: &&&str| {
        if privileged {
            return available.contains(*it);
        }
        if dropped.contains(*it) {
            return false;
        }
        let begun = match (every(add), every(drop)) {
            (true, _) => available.contains(*it),
            (false, true) => false,
            (false, false) => DEFAULT.contains(*it) && available.contains(*it),
        };
        begun || added.contains(*it)
    };
    Ok(ALL.iter().filter(has).map(|it| format!("CAP_{it}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(privileged: bool, add: &[&str], drop: &[&str], expected: Result<&[&str], &str>) {
        let owned = |it: &[&str]| it.iter().map(|it| it.to_string()).collect::<Vec<_>>();
        let available: Vec<_> = ALL.iter().copied().filter(|it| *it != "SYS_RESOURCE").collect();
        let granted = granted(privileged, &owned(add), &owned(drop), &available);
        assert_eq!(granted, expected.map(owned).map_err(str::to_owned), "{privileged} +{add:?} -{drop:?}");
    }

    #[test]
    fn pods_add_and_drop() {
        check(false, &[], &["all"], Ok(&[]));
        check(false, &["NET_ADMIN"], &["ALL"], Ok(&["CAP_NET_ADMIN"]));
        check(false, &["CAP_SYS_TIME", "CHOWN"], &["ALL", "CHOWN"], Ok(&["CAP_SYS_TIME"]));
        check(false, &["NO_SUCH"], &[], Err("unknown capability \"NO_SUCH\""));
        let count = |privileged, add: &[&str], drop: &[&str]| {
            let owned = |it: &[&str]| it.iter().map(|it| it.to_string()).collect::<Vec<_>>();
            granted(privileged, &owned(add), &owned(drop), ALL).unwrap().len()
        };
        assert_eq!(count(false, &[], &[]), DEFAULT.len());
        assert_eq!(count(false, &["ALL"], &["SYS_ADMIN"]), ALL.len() - 1);
        assert_eq!(count(true, &[], &["ALL"]), ALL.len());
    }

    #[test]
    fn masks_are_read_by_the_kernels_numbers() {
        assert_eq!(of_mask(1 | 1 << 21 | 1 << 40), ["CHOWN", "SYS_ADMIN", "CHECKPOINT_RESTORE"]);
        assert_eq!(of_mask(0x1ff_ffff_ffff).len(), ALL.len());
    }
}
