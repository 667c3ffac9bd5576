//! hostPath: a path of this machine, checked against the type that the pod expects.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use k8s_openapi::api::core::v1::HostPathVolumeSource;

/// Checks the path, and makes it where its type says so. The messages are the kubelet's.
///
/// # Errors
/// What is there is not of the type.
pub fn check(source: &HostPathVolumeSource) -> Result<(), String> {
    let path = Path::new(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    if path.components().any(|it| it == std::path::Component::ParentDir) {
        return Err(format!("hostPath {:?} must not contain '..'", source.path));
    }
    let make = |made: std::io::Result<()>| made.map_err(|it| format!("{}: {it}", source.path));
    match kind {
        "DirectoryOrCreate" if !path.exists() => {
            make(std::fs::create_dir_all(path).and_then(|()| mode(path, 0o755)))?;
        }
        "FileOrCreate" if !path.exists() => {
            make(std::fs::write(path, []).and_then(|()| mode(path, 0o644)))?;
        }
        _ => {}
    }
    let is = |test: fn(&std::fs::Metadata) -> bool| path.metadata().is_ok_and(|it| test(&it));
    let (holds, wanted) = match kind {
        "" => return Ok(()),
        "Directory" | "DirectoryOrCreate" => (is(|it| it.is_dir()), "a directory"),
        "File" | "FileOrCreate" => (is(|it| it.is_file()), "a file"),
        "Socket" => (is(|it| it.file_type().is_socket()), "a socket file"),
        "CharDevice" => (is(|it| it.file_type().is_char_device()), "a character device"),
        "BlockDevice" => (is(|it| it.file_type().is_block_device()), "a block device"),
        _ => return Err(format!("{kind:?} is an invalid volume type")),
    };
    if holds { Ok(()) } else { Err(format!("hostPath type check failed: {} is not {wanted}", source.path)) }
}

fn mode(path: &Path, mode: u32) -> std::io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let check = |name: &str, kind: &str, expected: Result<(), &str>| {
            let path = folder.path().join(name).display().to_string();
            let told = super::check(&HostPathVolumeSource { path, type_: Some(kind.into()) });
            match expected {
                Ok(()) => assert_eq!(told, Ok(()), "{kind}"),
                Err(part) => assert!(told.unwrap_err().contains(part), "{kind}"),
            }
        };
        check("made", "DirectoryOrCreate", Ok(()));
        check("made", "Directory", Ok(()));
        check("made", "File", Err("is not a file"));
        check("absent", "Directory", Err("hostPath type check failed"));
        check("../x", "", Err("must not contain"));
    }
}
