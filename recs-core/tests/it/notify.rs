//! Alerts, delivered to listeners that speak the real protocols.

use recs_core::Error;
use recs_core::notify::{
    Alert, AlertState, CollectAlerts, Encryption, Mail, MailConfig, Notifier, Webhook, WebhookForm,
    notify_all,
};
use recs_core::tenant::TenantId;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

fn alert() -> Alert {
    Alert {
        tenant: TenantId::new("acme").unwrap(),
        rule: "error_rate".into(),
        state: AlertState::Firing,
        value: 0.25,
        limit: 0.01,
        text: "25 % of the requests failed, 1 % may: büro".into(),
        at: "2026-01-02T03:04:05Z".into(),
    }
}

/// A client of a host that has chosen a TLS provider.
fn client() -> reqwest::Client {
    // Refused where another test of this process was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// Serves one connection on a thread; gives the port.
fn listen<T: Send + 'static>(serve: impl FnOnce(TcpStream) -> T + Send + 'static) -> (u16, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (port, std::thread::spawn(move || serve(listener.accept().unwrap().0)))
}

/// Answers one HTTP request with a status line; gives its head and body.
fn http(status: &'static str) -> (u16, JoinHandle<(String, serde_json::Value)>) {
    listen(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            reader.read_line(&mut head).unwrap();
        }
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap()];
        reader.read_exact(&mut body).unwrap();
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").unwrap();
        (head, serde_json::from_slice(&body).unwrap())
    })
}

#[tokio::test]
async fn a_webhook_gets_the_alert() {
    let (port, listener) = http("204 No Content");
    let url = format!("http://127.0.0.1:{port}/hooks/secret");
    let webhook = Webhook::new(client(), &url, WebhookForm::Alert).unwrap();
    webhook.notify(&alert()).await.unwrap();
    let (head, body) = listener.join().unwrap();
    assert!(head.starts_with("POST /hooks/secret HTTP/1.1"), "{head}");
    assert_eq!(serde_json::from_value::<Alert>(body).unwrap(), alert());
    assert!(!format!("{webhook:?}").contains("secret"));
}

#[tokio::test]
async fn chats_get_one_line_of_text() {
    let (port, listener) = http("200 OK");
    let url = format!("http://127.0.0.1:{port}/services/T0/B0/x");
    Webhook::new(client(), &url, WebhookForm::Text).unwrap().notify(&alert()).await.unwrap();
    let (_, body) = listener.join().unwrap();
    assert_eq!(
        body,
        serde_json::json!({"text": "[FIRING] acme: 25 % of the requests failed, 1 % may: büro"})
    );
}

#[tokio::test]
async fn what_is_not_delivered_is_said_without_secrets() {
    let refused = |error: Error, text: &str| {
        let shown = format!("{error} {error:?}");
        assert!(matches!(error, Error::Notify { .. }) && shown.contains(text), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    };
    let to = |port: u16| {
        let url = format!("http://127.0.0.1:{port}/secret");
        Webhook::new(client(), &url, WebhookForm::Alert).unwrap()
    };
    let (port, listener) = http("403 Forbidden");
    refused(to(port).notify(&alert()).await.unwrap_err(), "403");
    listener.join().unwrap();
    // Nobody listens there any more.
    refused(to(port).notify(&alert()).await.unwrap_err(), "efused");
    let (memory, closed) = (Arc::new(CollectAlerts::default()), Arc::new(to(port)));
    let all: [Arc<dyn Notifier>; 2] = [closed, memory.clone()];
    refused(notify_all(&all, &alert()).await.unwrap_err(), "efused");
    assert_eq!(memory.alerts(), [alert()], "the others are told nevertheless");
    for url in ["", "secret", "ftp://secret.example"] {
        let error = Webhook::new(client(), url, WebhookForm::Alert).unwrap_err();
        assert!(matches!(error, Error::Config { .. }) && !error.to_string().contains("secret"));
    }
}

/// A mail server without encryption that takes one mail; gives what it was told. `refuses` a recipient, or takes all.
fn smtp(refuses: Option<&'static str>) -> (u16, JoinHandle<Vec<String>>) {
    listen(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut told, mut is_data) = (Vec::new(), false);
        stream.write_all(b"220 mail.example ESMTP\r\n").unwrap();
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap() > 0 {
            let text = line.trim_end().to_owned();
            line.clear();
            let answer: &[u8] = match text.split(' ').next().unwrap_or_default() {
                _ if is_data && text != "." => b"",
                "." => {
                    is_data = false;
                    b"250 kept\r\n"
                }
                "EHLO" => b"250-mail.example\r\n250-AUTH PLAIN\r\n250 8BITMIME\r\n",
                "RCPT" if refuses.is_some_and(|whom| text.contains(whom)) => b"550 no such user\r\n",
                "DATA" => {
                    is_data = true;
                    b"354 go on\r\n"
                }
                "AUTH" => b"235 welcome\r\n",
                "QUIT" => b"221 bye\r\n",
                _ => b"250 ok\r\n",
            };
            told.push(text);
            stream.write_all(answer).unwrap();
        }
        told
    })
}

fn config(port: u16) -> MailConfig {
    MailConfig {
        host: "127.0.0.1".into(),
        port: Some(port),
        encryption: Encryption::None,
        from: "recs <recs@example.com>".into(),
        to: vec!["ops@example.com".into(), "boss@example.com".into()],
    }
}

#[tokio::test]
async fn a_mail_server_gets_the_alert() {
    let (port, listener) = smtp(None);
    Mail::new(&config(port), None).unwrap().notify(&alert()).await.unwrap();
    let told = listener.join().unwrap().join("\n");
    for expected in [
        "MAIL FROM:<recs@example.com>",
        "RCPT TO:<ops@example.com>",
        "RCPT TO:<boss@example.com>",
        "From: recs <recs@example.com>",
        "rule: error_rate",
        "measured: 0.25",
    ] {
        assert!(told.contains(expected), "{expected} is not in\n{told}");
    }
    // Letters beyond ASCII are encoded words in a subject (RFC 2047).
    assert!(told.contains("Subject: [FIRING] acme: ") && told.contains("=?utf-8?"), "{told}");
}

#[tokio::test]
async fn a_mail_server_that_asks_for_a_name_gets_it() {
    let (port, listener) = smtp(None);
    let login = ("ops".to_owned(), "secret".to_owned());
    let mail = Mail::new(&config(port), Some(login)).unwrap();
    assert!(!format!("{mail:?}").contains("secret"));
    mail.notify(&alert()).await.unwrap();
    // RFC 4616: nobody else's name, the own one, the password.
    let told = listener.join().unwrap();
    assert!(told.contains(&"AUTH PLAIN AG9wcwBzZWNyZXQ=".to_owned()), "{told:?}");
}

#[tokio::test]
async fn a_mail_that_is_refused_is_an_error() {
    let (port, listener) = smtp(Some("boss"));
    let error = Mail::new(&config(port), None).unwrap().notify(&alert()).await.unwrap_err();
    assert!(matches!(error, Error::Notify { .. }) && error.to_string().contains("no such user"), "{error}");
    listener.join().unwrap();
    for (field, faulty) in [
        ("mail.from", MailConfig { from: "nobody".into(), ..config(1) }),
        ("mail.to", MailConfig { to: Vec::new(), ..config(1) }),
    ] {
        let error = Mail::new(&faulty, None).unwrap_err();
        assert!(matches!(&error, Error::Config { field: at, .. } if at == field), "{error}");
    }
}
