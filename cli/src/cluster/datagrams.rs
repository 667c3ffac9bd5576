//! Questions over UDP passed on to a server that only this machine's loopback has, and its answers back: for the host's DNS.
//!
//! Each question has a socket of its own towards the server, so that answers find their way by themselves.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Questions at one time; the next waits in the kernel's queue, or is lost there, which its asker knows to bear.
const QUESTIONS_MOST: usize = 256;
/// How long the server may take: askers give up after five seconds (resolv.conf(5)).
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// The largest that DNS sends over UDP by its extensions in use.
const DATAGRAM_BYTES: usize = 4096;
/// After a failure of the socket.
const RETRY: Duration = Duration::from_millis(100);

/// Passes questions on for as long as it is polled.
pub async fn serve(socket: UdpSocket, server: SocketAddr) {
    let (socket, room) = (Arc::new(socket), Arc::new(Semaphore::new(QUESTIONS_MOST)));
    // They end with this.
    let mut asking = JoinSet::new();
    let mut buffer = [0; DATAGRAM_BYTES];
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        match socket.recv_from(&mut buffer).await {
            Ok((length, client)) => {
                let (socket, question) = (Arc::clone(&socket), buffer[..length].to_vec());
                asking.spawn(async move {
                    let answered = async { socket.send_to(&ask(server, &question).await?, client).await };
                    if let Err(error) = answered.await {
                        tracing::debug!(%error, %server, "a question has no answer");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a question could not be taken");
                tokio::time::sleep(RETRY).await;
            }
        }
        while asking.try_join_next().is_some() {}
    }
}

async fn ask(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; DATAGRAM_BYTES];
    let length = tokio::time::timeout(ANSWER_LIMIT, socket.recv(&mut buffer)).await??;
    buffer.truncate(length);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_gets_the_answer_to_the_own_question() {
        let bind = || async { UdpSocket::bind("127.0.0.1:0").await.unwrap() };
        let (server, front) = (bind().await, bind().await);
        let (server_at, front_at) = (server.local_addr().unwrap(), front.local_addr().unwrap());
        tokio::spawn(serve(front, server_at));
        let clients = [bind().await, bind().await];
        for (client, question) in clients.iter().zip(["a", "b"]) {
            client.send_to(question.as_bytes(), front_at).await.unwrap();
        }
        let mut buffer = [0; 16];
        let mut questions = Vec::new();
        for _ in &clients {
            let (length, from) = server.recv_from(&mut buffer).await.unwrap();
            questions.push((buffer[..length].to_vec(), from));
        }
        // In the other order than they came.
        for (question, from) in questions.into_iter().rev() {
            server.send_to(&[b"to ", &question[..]].concat(), from).await.unwrap();
        }
        for (client, answer) in clients.iter().zip(["to a", "to b"]) {
            let length = client.recv(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..length], answer.as_bytes());
        }
    }
}
