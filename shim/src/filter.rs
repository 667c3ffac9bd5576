//! A container's system call filter: compiled by libseccomp, once for all containers that have the same, and loaded as the kernel takes it.
//!
//! libseccomp takes four milliseconds to compile the default profile, a tenth of all that a container's start costs. So what it made is kept in a folder, a file a
//! profile, as crun does: the profile in JSON, a line's end, the program (`struct sock_filter[]`, seccomp(2)). A file is used only where its profile is the same, letter for
//! letter, and was compiled by the same libseccomp on the same kernel. Whatever is wrong with a file, the filter is compiled anew.

use std::env::consts::ARCH;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Seek};
use std::path::Path;

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall, ScmpVersion};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompFilterFlag as Flag,
    LinuxSeccompOperator as Operator,
};
use rustix::fs::MemfdFlags;

/// The most files that are kept; when there are as many, they go. A node has few profiles, one for each set of capabilities among its pods.
const KEPT_MOST: usize = 64;

/// The longest program that the kernel takes, in instructions (`BPF_MAXINSNS`).
const INSTRUCTIONS_MOST: usize = 4096;

/// The bytes of a `struct sock_filter`.
const INSTRUCTION_BYTES: usize = 8;

/// A compiled filter.
#[derive(Clone, Debug)]
pub struct Filter {
    program: Vec<libc::sock_filter>,
    flags: libc::c_ulong,
}

/// The filter of a profile; from the folder `kept` if it is there, and kept there otherwise.
///
/// # Errors
/// In words: what libseccomp does not take.
pub fn of(profile: &LinuxSeccomp, kept: Option<&Path>) -> Result<Filter, String> {
    let key = key(profile)?;
    let name = name(&key);
    let known = kept.and_then(|folder| fs::read(folder.join(&name)).ok());
    let known = known.as_deref().and_then(|it| it.strip_prefix(key.as_slice())).and_then(|it| program(it).ok());
    let program = match known {
        Some(it) => it,
        None => {
            let bytes = compile(profile)?;
            let made = program(&bytes)?;
            if let Some(folder) = kept {
                // It is only slower without.
                let _ = keep(folder, &name, &[key, bytes].concat());
            }
            made
        }
    };
    Ok(Filter { program, flags: flags(profile) })
}

/// Whether a profile asks somebody else what to do: such a filter comes with a descriptor, which libcontainer hands on.
pub fn asks(profile: &LinuxSeccomp) -> bool {
    profile.syscalls().iter().flatten().any(|it| it.action() == Action::ScmpActNotify)
}

/// A profile as libcontainer 0.7 has to be told it: it takes a mask for what is to be left, and the other way round.
///
/// # Errors
/// None that a profile which was read as JSON can cause.
pub fn for_libcontainer(profile: &LinuxSeccomp) -> Result<LinuxSeccomp, String> {
    let words = |it: serde_json::Error| it.to_string();
    let mut whole = serde_json::to_value(profile).map_err(words)?;
    let rules = whole["syscalls"].as_array_mut().into_iter().flatten();
    for argument in rules.filter_map(|it| it["args"].as_array_mut()).flatten() {
        if argument["op"] == "SCMP_CMP_MASKED_EQ" {
            let (mask, left) = (argument["value"].take(), argument["valueTwo"].take());
            argument["value"] = if left.is_null() { 0.into() } else { left };
            argument["valueTwo"] = mask;
        }
    }
    serde_json::from_value(whole).map_err(words)
}

impl Filter {
    /// Puts this thread, and what it will execute, under the filter. It must have CAP_SYS_ADMIN or can gain no privileges any more.
    ///
    /// # Errors
    /// The kernel's.
    #[allow(unsafe_code)]
    pub fn load(&self) -> io::Result<()> {
        let len = libc::c_ushort::try_from(self.program.len()).map_err(io::Error::other)?;
        let program = libc::sock_fprog { len, filter: self.program.as_ptr().cast_mut() };
        // SAFETY: the kernel copies the program, whose length is the vector's, and writes to none of it (seccomp(2)).
        let done =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, self.flags, &raw const program) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// What a file begins with: the profile, and what else the program depends on: libseccomp, the architecture, and the kernel, which libseccomp asks what it can do.
fn key(profile: &LinuxSeccomp) -> Result<Vec<u8>, String> {
    let version = ScmpVersion::current().map_err(|it| it.to_string())?;
    let version = [version.major, version.minor, version.micro];
    let kernel =
        fs::read_to_string("/proc/sys/kernel/osrelease").map_err(|it| format!("the kernel's release: {it}"))?;
    let mut key = serde_json::to_vec(&(version, ARCH, kernel, profile)).map_err(|it| it.to_string())?;
    key.push(b'\n');
    Ok(key)
}

/// A file's name. Two keys may share one: the later then takes the earlier one's place.
fn name(key: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn keep(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    if fs::read_dir(folder)?.count() >= KEPT_MOST {
        for it in fs::read_dir(folder)? {
            fs::remove_file(it?.path())?;
        }
    }
    // Two may write the same at once; each has a file of its own until then.
    let unfinished = format!(".{name}.{}", std::process::id());
    fs::write(folder.join(&unfinished), bytes)?;
    fs::rename(folder.join(unfinished), folder.join(name))
}

/// The instructions of a program.
fn program(bytes: &[u8]) -> Result<Vec<libc::sock_filter>, String> {
    let (instructions, rest) = bytes.as_chunks::<INSTRUCTION_BYTES>();
    if instructions.is_empty() || !rest.is_empty() || instructions.len() > INSTRUCTIONS_MOST {
        return Err(format!("a filter of {} bytes", bytes.len()));
    }
    let instruction = |&[c0, c1, jt, jf, k0, k1, k2, k3]: &[u8; INSTRUCTION_BYTES]| libc::sock_filter {
        code: u16::from_ne_bytes([c0, c1]),
        jt,
        jf,
        k: u32::from_ne_bytes([k0, k1, k2, k3]),
    };
    Ok(instructions.iter().map(instruction).collect())
}

/// The program as libseccomp makes it.
fn compile(profile: &LinuxSeccomp) -> Result<Vec<u8>, String> {
    let words = |it: libseccomp::error::SeccompError| it.to_string();
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut context = ScmpFilterContext::new(default).map_err(words)?;
    for it in profile.architectures().iter().flatten() {
        context.add_arch(architecture(*it)).map_err(words)?;
    }
    for rule in profile.syscalls().iter().flatten() {
        let action = action(rule.action(), rule.errno_ret())?;
        if action == default {
            // libseccomp takes no rule that changes nothing.
            continue;
        }
        let arguments = rule.args().as_deref().unwrap_or_default();
        for name in rule.names() {
            // A call that this libseccomp does not know is left to the default action, as runc does it.
            let Ok(call) = ScmpSyscall::from_name(name) else { continue };
            for it in alternatives(arguments) {
                context.add_rule_conditional(action, call, &it).map_err(|it| format!("{name}: {it}"))?;
            }
        }
    }
    let unnamed = rustix::fs::memfd_create("filter", MemfdFlags::CLOEXEC).map_err(|it| it.to_string())?;
    context.export_bpf(&unnamed).map_err(words)?;
    let mut bytes = Vec::new();
    let mut file = File::from(unnamed);
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(|it| it.to_string())?;
    Ok(bytes)
}

/// The conditions of a rule: all of them at once, or, where one argument is compared twice, which libseccomp does not do, each by itself (runc does so).
fn alternatives(arguments: &[LinuxSeccompArg]) -> Vec<Vec<ScmpArgCompare>> {
    let compare = |it: &LinuxSeccompArg| {
        let index = u32::try_from(it.index()).unwrap_or(u32::MAX);
        let value = it.value();
        let (operator, value) = match it.op() {
            Operator::ScmpCmpNe => (ScmpCompareOp::NotEqual, value),
            Operator::ScmpCmpLt => (ScmpCompareOp::Less, value),
            Operator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, value),
            Operator::ScmpCmpEq => (ScmpCompareOp::Equal, value),
            Operator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, value),
            Operator::ScmpCmpGt => (ScmpCompareOp::Greater, value),
            // The first value is the mask.
            Operator::ScmpCmpMaskedEq => (ScmpCompareOp::MaskedEqual(value), it.value_two().unwrap_or(0)),
        };
        ScmpArgCompare::new(index, operator, value)
    };
    let twice =
        arguments.iter().enumerate().any(|(at, it)| arguments[..at].iter().any(|other| other.index() == it.index()));
    if twice {
        arguments.iter().map(|it| vec![compare(it)]).collect()
    } else {
        vec![arguments.iter().map(compare).collect()]
    }
}

fn action(it: Action, errno: Option<u32>) -> Result<ScmpAction, String> {
    let errno = errno.map_or(Ok(libc::EPERM), i32::try_from).map_err(|it| format!("an error's number: {it}"))?;
    Ok(match it {
        Action::ScmpActKill | Action::ScmpActKillThread => ScmpAction::KillThread,
        Action::ScmpActKillProcess => ScmpAction::KillProcess,
        Action::ScmpActTrap => ScmpAction::Trap,
        Action::ScmpActErrno => ScmpAction::Errno(errno),
        Action::ScmpActTrace => {
            ScmpAction::Trace(u16::try_from(errno).map_err(|it| format!("a tracer's number: {it}"))?)
        }
        Action::ScmpActAllow => ScmpAction::Allow,
        Action::ScmpActNotify => ScmpAction::Notify,
        Action::ScmpActLog => ScmpAction::Log,
    })
}

fn flags(profile: &LinuxSeccomp) -> libc::c_ulong {
    let flag = |it: &Flag| match it {
        Flag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
        Flag::SeccompFilterFlagTsync => libc::SECCOMP_FILTER_FLAG_TSYNC,
        Flag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        // Only where somebody is asked.
        Flag::SeccompFilterFlagWaitKillableRecv => 0,
    };
    profile.flags().iter().flatten().map(flag).fold(0, |all, it| all | it)
}

fn architecture(it: Arch) -> ScmpArch {
    match it {
        Arch::ScmpArchNative => ScmpArch::Native,
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchArm => ScmpArch::Arm,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchMips => ScmpArch::Mips,
        Arch::ScmpArchMips64 => ScmpArch::Mips64,
        Arch::ScmpArchMips64n32 => ScmpArch::Mips64N32,
        Arch::ScmpArchMipsel => ScmpArch::Mipsel,
        Arch::ScmpArchMipsel64 => ScmpArch::Mipsel64,
        Arch::ScmpArchMipsel64n32 => ScmpArch::Mipsel64N32,
        Arch::ScmpArchPpc => ScmpArch::Ppc,
        Arch::ScmpArchPpc64 => ScmpArch::Ppc64,
        Arch::ScmpArchPpc64le => ScmpArch::Ppc64Le,
        Arch::ScmpArchS390 => ScmpArch::S390,
        Arch::ScmpArchS390x => ScmpArch::S390X,
        Arch::ScmpArchRiscv64 => ScmpArch::Riscv64,
        Arch::ScmpArchParisc => ScmpArch::Parisc,
        Arch::ScmpArchParisc64 => ScmpArch::Parisc64,
        Arch::ScmpArchLoongarch64 => ScmpArch::Loongarch64,
        Arch::ScmpArchM68k => ScmpArch::M68k,
        Arch::ScmpArchSh => ScmpArch::Sh,
        Arch::ScmpArchSheb => ScmpArch::Sheb,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(text: &str) -> LinuxSeccomp {
        serde_json::from_str(text).unwrap()
    }

    /// What a filter answers to a call of x86_64, by running its program as the kernel does (socket filters' classic BPF).
    fn answer(filter: &Filter, call: u32, arguments: [u64; 6]) -> u32 {
        const X86_64: u32 = 0xC000_003E;
        let mut data = Vec::new();
        data.extend(call.to_ne_bytes());
        data.extend(X86_64.to_ne_bytes());
        data.extend(0_u64.to_ne_bytes());
        data.extend(arguments.iter().flat_map(|it| it.to_ne_bytes()));
        let (mut accumulator, mut at) = (0_u32, 0_usize);
        loop {
            let it = &filter.program[at];
            let k = usize::try_from(it.k).unwrap();
            at += 1;
            let jump = |holds: bool| usize::from(if holds { it.jt } else { it.jf });
            match it.code {
                0x20 => accumulator = u32::from_ne_bytes(data[k..k + 4].try_into().unwrap()),
                0x05 => at += k,
                0x15 => at += jump(accumulator == it.k),
                0x25 => at += jump(accumulator > it.k),
                0x35 => at += jump(accumulator >= it.k),
                0x54 => accumulator &= it.k,
                0x06 => return it.k,
                other => panic!("{other:#x}"),
            }
        }
    }

    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO: u32 = 0x0005_0000;

    #[test]
    fn a_program_answers_as_its_profile_says() {
        let it = of(
            &profile(
                r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], "syscalls": [
                {"names": ["read", "of_the_future"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["write"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
                {"names": ["close"], "action": "SCMP_ACT_ERRNO"},
                {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
                {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [
                    {"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
                {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
                    {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 2, "op": "SCMP_CMP_NE"}]}]}"#,
            ),
            None,
        )
        .unwrap();
        let check = |call: i64, arguments: &[u64], expected: u32| {
            let mut all = [0; 6];
            all[..arguments.len()].copy_from_slice(arguments);
            assert_eq!(answer(&it, u32::try_from(call).unwrap(), all), expected, "{call} {arguments:?}");
        };
        check(libc::SYS_read, &[], ALLOW);
        check(libc::SYS_write, &[], ERRNO | 38);
        check(libc::SYS_close, &[], ERRNO | 1);
        check(libc::SYS_open, &[], ERRNO | 38);
        check(libc::SYS_clone, &[0x11], ALLOW);
        check(libc::SYS_clone, &[0x1000_0000], ERRNO | 38);
        check(libc::SYS_personality, &[0], ALLOW);
        check(libc::SYS_personality, &[8], ALLOW);
        check(libc::SYS_personality, &[1], ERRNO | 38);
        check(libc::SYS_socket, &[1, 1], ALLOW);
        check(libc::SYS_socket, &[1, 2], ERRNO | 38);
        check(libc::SYS_socket, &[2, 1], ERRNO | 38);
        assert_eq!(it.flags, 0);
    }

    #[test]
    fn what_was_compiled_is_used_again_by_the_same_profile_alone() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("filters");
        let allow = |name: &str| {
            profile(&format!(
                r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{{"names": ["{name}"], "action": "SCMP_ACT_ALLOW"}}]}}"#
            ))
        };
        let of = |it: &LinuxSeccomp| of(it, Some(&kept)).unwrap();
        let open = |it: &Filter, call: i64| answer(it, u32::try_from(call).unwrap(), [0; 6]) == ALLOW;

        assert!(open(&of(&allow("read")), libc::SYS_read));
        let file = kept.join(name(&key(&allow("read")).unwrap()));
        // What is in the file is believed: here, that all is allowed.
        let everything: Vec<u8> =
            [key(&allow("read")).unwrap(), vec![6, 0, 0, 0], ALLOW.to_ne_bytes().to_vec()].concat();
        fs::write(&file, everything).unwrap();
        assert!(open(&of(&allow("read")), libc::SYS_write));
        // Another profile's file, one that was cut off, and one that is empty are not.
        for wrong in [
            [key(&allow("write")).unwrap(), vec![6, 0, 0, 0, 0, 0, 0xff, 0x7f]].concat(),
            [key(&allow("read")).unwrap(), vec![6, 0]].concat(),
            Vec::new(),
        ] {
            fs::write(&file, wrong).unwrap();
            assert!(!open(&of(&allow("read")), libc::SYS_write));
            // And it is made good.
            assert!(fs::read(&file).unwrap().starts_with(&key(&allow("read")).unwrap()));
        }
    }

    #[test]
    fn no_more_than_so_many_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        for it in 0..KEPT_MOST + 3 {
            keep(folder.path(), &it.to_string(), b"x").unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn flags_and_mistakes() {
        let it = profile(
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]}"#,
        );
        assert_eq!(flags(&it), 2 | 4);
        assert!(!asks(&it));
        let asking = profile(
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}]}"#,
        );
        assert!(asks(&asking));
        let masked = |value: u64, other: u64| {
            profile(&format!(
                r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{"names": ["clone"], "action": "SCMP_ACT_NOTIFY",
                "args": [{{"index": 0, "value": {value}, "valueTwo": {other}, "op": "SCMP_CMP_MASKED_EQ"}}, {{"index": 1, "value": 5, "op": "SCMP_CMP_EQ"}}]}}]}}"#
            ))
        };
        assert_eq!(for_libcontainer(&masked(7, 1)).unwrap(), masked(1, 7));
        let wrong = profile(
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 9, "value": 0, "op": "SCMP_CMP_EQ"}]}]}"#,
        );
        assert!(of(&wrong, None).unwrap_err().starts_with("mount: "));
    }
}
