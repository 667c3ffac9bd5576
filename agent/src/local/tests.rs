//! Both ends of the socket against each other, over the node's own store.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use http::StatusCode;
use tokio_util::sync::CancellationToken;

use super::server::receive;
use super::{Door, LocalError, SOCKET, images, load, power_off};
use crate::power_off::PowerOff;
use crate::runtime::docker::archive::{self, Config, File};
use crate::runtime::hollow::{Hollow, HollowOptions};
use crate::runtime::native::images::ImageStore;

fn saved(name: &str) -> Vec<u8> {
    let files = [File { path: "it", mode: 0o755, bytes: b"#!" }];
    archive::image(name, &files, &Config { entrypoint: &["/it"], ..Config::default() }).unwrap()
}

fn hollow() -> Arc<Hollow> {
    Arc::new(Hollow::new(HollowOptions::default()))
}

#[tokio::test]
async fn an_agent_without_times_for_it_ends_no_pods() {
    let dir = tempfile::tempdir().unwrap();
    let off = PowerOff::default();
    let _door = Door::open(dir.path(), hollow(), off.clone(), CancellationToken::new()).unwrap();
    let error = power_off(dir.path()).await.unwrap_err().to_string();
    assert!(error.contains("without --shutdown-grace-period"), "{error}");
    assert!(!off.is_asked());
}

#[tokio::test]
async fn an_archive_comes_into_the_store_of_the_agent() {
    let dir = tempfile::tempdir().unwrap();
    // Deeper than a socket's address is long.
    let data = dir.path().join("x".repeat(150));
    std::fs::create_dir(&data).unwrap();
    let stop = CancellationToken::new();
    let store = Arc::new(ImageStore::open(&data.join("images")).unwrap());
    let door = Door::open(&data, store, PowerOff::default(), stop.clone()).unwrap();
    let mode = std::fs::metadata(data.join(SOCKET)).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);

    let file = dir.path().join("saved.tar");
    std::fs::write(&file, saved("orlop.local/it:1")).unwrap();
    let loaded = load(&data, &file).await.unwrap();
    assert_eq!(loaded[0].tags, ["orlop.local/it:1"]);
    assert_eq!(load(&data, &file).await.unwrap(), loaded, "a second time changes nothing");
    assert_eq!(images(&data).await.unwrap(), loaded);

    std::fs::write(&file, "no archive").unwrap();
    let error = load(&data, &file).await.unwrap_err();
    assert!(matches!(&error, LocalError::Refused(why) if !why.is_empty()), "{error:?}");
    let missing = load(&data, &dir.path().join("none")).await.unwrap_err();
    assert!(matches!(missing, LocalError::File { .. }), "{missing:?}");
    assert!(matches!(load(&data, dir.path()).await.unwrap_err(), LocalError::File { .. }));
    assert_eq!(std::fs::read_dir(data.join("incoming")).unwrap().count(), 0, "nothing stays");

    let ending = tokio::spawn({
        let stop = stop.clone();
        async move {
            stop.cancelled().await;
            drop(door);
        }
    });
    super::stop(&data).await.unwrap();
    ending.await.unwrap();
    let error = images(&data).await.unwrap_err();
    assert!(matches!(error, LocalError::Away { .. }), "{error:?}");
}

#[tokio::test]
async fn what_a_killed_agent_left_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    drop(std::os::unix::net::UnixListener::bind(dir.path().join(SOCKET)).unwrap());
    std::fs::set_permissions(dir.path().join(SOCKET), PermissionsExt::from_mode(0o777)).unwrap();
    std::fs::create_dir(dir.path().join("incoming")).unwrap();
    std::fs::write(dir.path().join("incoming/archive-x"), "half").unwrap();
    let _door = Door::open(dir.path(), hollow(), PowerOff::default(), CancellationToken::new()).unwrap();
    assert!(!dir.path().join("incoming/archive-x").exists());
    let error = images(dir.path()).await.unwrap_err().to_string();
    assert!(error.contains("hollow has no images"), "{error}");
    let file = dir.path().join("saved.tar");
    std::fs::write(&file, saved("a/b:c")).unwrap();
    let error = load(dir.path(), &file).await.unwrap_err().to_string();
    assert!(error.contains("hollow has no images"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_body_has_an_end_and_comes_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("it");
    let silence = Duration::from_secs(3);
    let part = || Ok::<_, std::io::Error>(Bytes::from_static(b"1234"));
    let two = || Body::from_stream(futures::stream::iter([part(), part()]));
    receive(two(), &path, 8, silence).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"12341234");
    let error = receive(two(), &path, 7, silence).await.unwrap_err();
    assert_eq!(error.0, StatusCode::PAYLOAD_TOO_LARGE);
    let stuck = futures::stream::iter([part()]).chain(futures::stream::pending());
    let error = receive(Body::from_stream(stuck), &path, 8, silence).await.unwrap_err();
    assert_eq!(error.0, StatusCode::REQUEST_TIMEOUT);
    let broken = futures::stream::iter([part(), Err(std::io::ErrorKind::BrokenPipe.into())]);
    let error = receive(Body::from_stream(broken), &path, 8, silence).await.unwrap_err();
    assert_eq!(error.0, StatusCode::BAD_REQUEST);
}
