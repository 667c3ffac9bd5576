//! Compiles `src/pause/pause.rs` into a static binary that the crate embeds.

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

const SOURCE: &str = "src/pause/pause.rs";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-changed=build.rs");
    let var = |name: &str| env::var(name).unwrap_or_default();
    let binary = PathBuf::from(var("OUT_DIR")).join("pause");
    let output = Command::new(var("RUSTC"))
        .args(["--edition", "2024", "--crate-name", "pause", "--target", &var("TARGET"), "-O"])
        // Static, because the image has nothing else in it; stripped, because it is sent to the Engine as it is.
        .args(["-C", "target-feature=+crt-static", "-C", "panic=abort", "-C", "strip=symbols", "-o"])
        .arg(&binary)
        .arg(SOURCE)
        .output();
    let reason = match output {
        Ok(output) if output.status.success() => return ExitCode::SUCCESS,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    println!("cargo::error=the pause program could not be built as a static binary for {}", var("TARGET"));
    println!(
        "cargo::error=it needs a linker and the C library's static archive (Debian: gcc and libc6-dev; Alpine: musl-dev)"
    );
    for line in reason.lines().filter(|it| !it.trim().is_empty()).take(20) {
        println!("cargo::error={line}");
    }
    ExitCode::FAILURE
}
