//! A server that knows just enough of MLflow, and misbehaves as told.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) path: String,
    pub(super) authorization: Option<String>,
    pub(super) body: Value,
}

/// What to do instead of answering well.
#[derive(Debug, Clone)]
pub(super) enum Odd {
    Status(u16, &'static str, Value),
    /// Do what was asked, then hang up without an answer.
    LoseAnswer,
    /// Never answer.
    Hang,
}

type Whim = Box<dyn FnMut(&Request) -> Option<Odd> + Send>;

#[derive(Default)]
struct Memory {
    requests: Vec<Request>,
    runs: Vec<Value>,
}

pub(super) struct Fake {
    pub(super) url: String,
    memory: Arc<Mutex<Memory>>,
}

impl Fake {
    pub(super) fn start(whim: impl FnMut(&Request) -> Option<Odd> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let memory = Arc::new(Mutex::new(Memory::default()));
        let (whim, kept): (Arc<Mutex<Whim>>, _) = (Arc::new(Mutex::new(Box::new(whim))), Arc::clone(&memory));
        // The thread ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (whim, memory) = (Arc::clone(&whim), Arc::clone(&kept));
                std::thread::spawn(move || serve(&stream, &whim, &memory));
            }
        });
        Self { url, memory }
    }

    /// Bodies of the requests to `path`, in order.
    pub(super) fn bodies(&self, path: &str) -> Vec<Value> {
        let memory = self.memory.lock().unwrap();
        memory.requests.iter().filter(|r| r.path.ends_with(path)).map(|r| r.body.clone()).collect()
    }

    pub(super) fn authorization(&self) -> Option<String> {
        self.memory.lock().unwrap().requests[0].authorization.clone()
    }
}

fn serve(stream: &TcpStream, whim: &Mutex<Whim>, memory: &Mutex<Memory>) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let odd = (whim.lock().unwrap())(&request);
        let (status, headers, body) = match odd {
            Some(Odd::Hang) => {
                std::thread::sleep(Duration::from_secs(3600));
                return;
            }
            Some(Odd::Status(status, headers, body)) => (status, headers, body),
            Some(Odd::LoseAnswer) => {
                answer(&request, memory);
                return;
            }
            None => {
                let body = answer(&request, memory);
                (if body.get("error_code").is_some() { 404 } else { 200 }, "", body)
            }
        };
        let body = body.to_string();
        let mut stream = stream;
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.split('?').next()?.to_owned();
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { path, authorization, body: serde_json::from_slice(&body).unwrap_or_default() })
}

fn answer(request: &Request, memory: &Mutex<Memory>) -> Value {
    let mut memory = memory.lock().unwrap();
    memory.requests.push(request.clone());
    let call = request.path.rsplit("/mlflow/").next().unwrap_or_default();
    match call {
        "experiments/get-by-name" => json!({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"}),
        "experiments/create" => json!({"experiment_id": "7"}),
        "runs/create" => {
            let id = format!("run{}", memory.runs.len());
            let info = json!({"run_id": id, "artifact_uri": format!("mlflow-artifacts:/7/{id}/artifacts")});
            memory.runs.push(json!({"info": info, "tags": request.body["tags"]}));
            json!({"run": memory.runs.last()})
        }
        "runs/search" => {
            let filter = request.body["filter"].as_str().unwrap_or_default();
            let tagged = |run: &Value| {
                run["tags"].as_array().unwrap().iter().any(|t| {
                    t["key"] == "recs.run_key"
                        && filter.ends_with(&format!("'{}'", t["value"].as_str().unwrap()))
                })
            };
            json!({"runs": memory.runs.iter().filter(|r| tagged(r)).collect::<Vec<_>>()})
        }
        "runs/get" => json!({"run": {"info": {"lifecycle_stage": "active"}}}),
        _ => json!({}),
    }
}
