//! Real connections: slow clients, idle ones, and the end of the server.

use crate::http_client::state;
use recs_serve::http::{Auth, ServerConfig, router, serve};
use serde_json::json;
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
    let silent = TcpStream::connect(server.address).await.unwrap();
    let mut second = TcpStream::connect(server.address).await.unwrap();
    // What every connection of HTTP/2 begins with, and an empty frame of settings.
    second.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    for mut stream in [kept, slow, silent, second] {
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
async fn a_request_under_way_is_answered_although_the_end_has_come() {
    let server = start(ServerConfig::default()).await;
    let mut late = TcpStream::connect(server.address).await.unwrap();
    let body = json!({"customer_id": "c3", "city": "alpha", "revenue": 49.5}).to_string();
    let head = "POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ";
    let request = format!("{head}{}\r\n\r\n{body}", body.len());
    let (first, last) = request.as_bytes().split_at(request.len() - 1);
    late.write_all(first).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.stop.send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(TcpStream::connect(server.address).await.is_err() && !server.ended.is_finished());
    late.write_all(last).await.unwrap();
    let mut answer = Vec::new();
    late.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"recommendations\":[{"), "{answer}");
    server.ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn many_requests_share_a_connection_of_http_2() {
    let server = start(ServerConfig::default()).await;
    let stream = hyper_util::rt::TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let executor = hyper_util::rt::TokioExecutor::new();
    let (sender, connection) = hyper::client::conn::http2::handshake(executor, stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let ask = |i: usize| {
        let mut sender = sender.clone();
        let body =
            json!({"customer_id": format!("c{}", i % 20), "city": "alpha", "revenue": 49.5}).to_string();
        let request = hyper::Request::post("http://x/recommend").header("content-type", "application/json");
        let request = request.body(http_body_util::Full::new(bytes::Bytes::from(body))).unwrap();
        async move {
            let answer = sender.send_request(request).await.unwrap();
            assert_eq!((answer.status().as_u16(), answer.version()), (200, hyper::Version::HTTP_2));
            let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
            serde_json::from_slice::<serde_json::Value>(&body).unwrap()["recommendations"]
                .as_array()
                .unwrap()
                .len()
        }
    };
    let lists = futures::future::join_all((0..100).map(ask)).await;
    assert!(lists[0] > 0 && lists.iter().all(|items| *items == lists[0]), "{lists:?}");
    // Who is told of the end finishes what is under way, and opens nothing new.
    let last = tokio::spawn(ask(7));
    server.stop.send(()).unwrap();
    assert!(last.await.is_ok());
    server.ended.await.unwrap().unwrap();
    drop(sender);
    driver.await.unwrap().unwrap();
}

/// Asks for several megabytes and reads nothing of them.
async fn asks_and_does_not_read(server: &Running) -> TcpStream {
    let ask = json!({"customer_id": "c3", "city": "alpha", "revenue": 49.5});
    let body = json!({"requests": vec![ask; 1000], "num_recommendations": 100}).to_string();
    let head =
        "POST /recommend-batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ";
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // One answer fits what the system buffers; not all of them.
    for _ in 0..16 {
        let request = format!("{head}{}\r\n\r\n{body}", body.len());
        let sent = tokio::time::timeout(Duration::from_millis(500), stream.write_all(request.as_bytes()));
        if sent.await.is_err() {
            break;
        }
    }
    stream
}

async fn is_cut(mut stream: TcpStream) -> bool {
    let mut part = vec![0; 1 << 16];
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        // What was buffered still comes, then the end: clean, or as an error when the other side had more to say.
        match tokio::time::timeout(Duration::from_secs(5), stream.read(&mut part)).await {
            Ok(Ok(0) | Err(_)) => return true,
            Ok(Ok(_)) => {}
            Err(_) => return false,
        }
    }
    false
}

#[tokio::test]
async fn who_does_not_read_the_answer_is_cut() {
    let server = start(ServerConfig { idle_seconds: 1, ..ServerConfig::default() }).await;
    let stream = asks_and_does_not_read(&server).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(is_cut(stream).await);
}

#[tokio::test]
async fn who_takes_an_answer_drop_by_drop_is_cut() {
    let server = start(ServerConfig { answer_seconds: 2, ..ServerConfig::default() }).await;
    let mut stream = asks_and_does_not_read(&server).await;
    let mut drop = vec![0; 1 << 12];
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if stream.read(&mut drop).await.unwrap_or(0) == 0 {
            return;
        }
    }
    assert!(is_cut(stream).await);
}

#[tokio::test]
async fn nothing_runs_on_when_the_server_has_ended() {
    let server = start(ServerConfig { drain_seconds: 1, ..ServerConfig::default() }).await;
    let stream = asks_and_does_not_read(&server).await;
    server.stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(5), server.ended).await.unwrap().unwrap().unwrap();
    assert!(is_cut(stream).await);
}

#[tokio::test]
async fn limits_of_nothing_are_refused() {
    for config in [
        ServerConfig { max_connections: 0, ..ServerConfig::default() },
        ServerConfig { idle_seconds: 0, ..ServerConfig::default() },
        ServerConfig { answer_seconds: 0, ..ServerConfig::default() },
    ] {
        let server = start(config).await;
        assert!(matches!(server.ended.await.unwrap(), Err(recs_serve::Error::Config { .. })));
    }
}
