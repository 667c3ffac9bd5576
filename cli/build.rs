//! How the command is linked, where the linker is LLVM's, as rustc's own is on this target since 1.90.
//!
//! `orlop up` is the whole control plane in one process, whose memory is mostly its program. The addresses that the loader has to correct are listed in a
//! few kilobytes (DT_RELR, glibc 2.36) instead of two megabytes, all of which would be read at the start.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for it in ["CARGO_ENCODED_RUSTFLAGS", "RUSTC_LINKER"] {
        println!("cargo:rerun-if-env-changed={it}");
    }
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|it| it == value);
    let chosen = std::env::var_os("RUSTC_LINKER").is_some()
        || std::env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|it| it.contains("link"));
    let here = ["TARGET", "HOST"].iter().all(|it| is(it, "x86_64-unknown-linux-gnu"));
    if here && !chosen && is("PROFILE", "release") && glibc().is_some_and(|it| it >= (2, 36)) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's C library.
fn glibc() -> Option<(u32, u32)> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
