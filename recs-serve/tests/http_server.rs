//! Real connections: slow clients, idle ones, and the end of the server.

use crate::http_client::state;
use recs_serve::http::{Auth, ServerConfig, router, serve};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<recs_serve::Result<()>>,
}

async fn start(config: ServerConfig) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, (stop, stopped)) = (listener.local_addr().unwrap(), oneshot::channel());
    let app = router(state(), Auth::Open);
    let ended =
        tokio::spawn(async move { serve(listener, app, &config, async { drop(stopped.await) }).await });
    Running { address, stop, ended }
}

async fn asked(stream: &mut TcpStream, head: &str) -> String {
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let n = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..n]).into_owned()
}

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn connections_are_kept_and_closed_when_they_rest_or_dawdle() {
    let server = start(ServerConfig { idle_seconds: 1, ..ServerConfig::default() }).await;
    let mut kept = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..3 {
        assert!(asked(&mut kept, HEALTH).await.starts_with("HTTP/1.1 200"));
    }
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET /health HT").await.unwrap();
    for mut stream in [kept, slow] {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "a connection that rests stays open");
    }
}

#[tokio::test]
async fn idle_connections_do_not_keep_others_from_being_answered() {
    let server = start(ServerConfig::default()).await;
    let mut idle = Vec::new();
    for _ in 0..400 {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    assert!(asked(&mut stream, HEALTH).await.starts_with("HTTP/1.1 200"));
    drop(idle);
}

#[tokio::test]
async fn one_connection_too_many_waits() {
    let server = start(ServerConfig { max_connections: 2, ..ServerConfig::default() }).await;
    let (mut first, mut second) = (
        TcpStream::connect(server.address).await.unwrap(),
        TcpStream::connect(server.address).await.unwrap(),
    );
    assert!(asked(&mut first, HEALTH).await.starts_with("HTTP/1.1 200"));
    assert!(asked(&mut second, HEALTH).await.starts_with("HTTP/1.1 200"));
    let mut third = TcpStream::connect(server.address).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(200), asked(&mut third, HEALTH)).await;
    assert!(early.is_err(), "the third is answered while two are open");
    drop(first);
    let mut answer = vec![0; 64];
    assert!(third.read(&mut answer).await.unwrap() > 0 && answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn the_end_waits_for_requests_but_not_for_ever() {
    let server = start(ServerConfig { drain_seconds: 1, ..ServerConfig::default() }).await;
    let mut resting = TcpStream::connect(server.address).await.unwrap();
    assert!(asked(&mut resting, HEALTH).await.starts_with("HTTP/1.1 200"));
    // A body that does not come.
    let mut hanging = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    hanging.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begin = Instant::now();
    server.stop.send(()).unwrap();
    server.ended.await.unwrap().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert!(TcpStream::connect(server.address).await.is_err());
    let mut rest = Vec::new();
    assert_eq!(resting.read_to_end(&mut rest).await.unwrap(), 0);
}

#[tokio::test]
async fn limits_of_nothing_are_refused() {
    for config in [
        ServerConfig { max_connections: 0, ..ServerConfig::default() },
        ServerConfig { idle_seconds: 0, ..ServerConfig::default() },
    ] {
        let server = start(config).await;
        assert!(matches!(server.ended.await.unwrap(), Err(recs_serve::Error::Config { .. })));
    }
}
