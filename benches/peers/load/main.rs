//! A load generator for `scripts/peers serve`: one thread, some connections, every request different, every answer checked.
//!
//! It asks what `recommend.lua` asks of wrk, and counts an answer as right as that does. wrk's script spends about 35
//! microseconds a request on counting products; on two cores that it shares with the server, that is the limit of a fast
//! server. This one spends about one.
#![allow(clippy::print_stdout, reason = "a program that prints what it measured")]

use clap::Parser;
use memchr::memmem::{Finder, find};
use recs_benches::Random;
use serde_json::json;
use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[derive(Parser)]
struct Args {
    /// Port on loopback.
    #[arg(long)]
    port: u16,
    #[arg(long, default_value_t = 8)]
    connections: u64,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// A line of JSON here for each tenth of a second: when it began (Unix seconds), and how many answers took how many steps of
    /// 2 % above a microsecond.
    #[arg(long)]
    histograms: Option<PathBuf>,
}

/// Answers of each tenth of a second, by the logarithm of their microseconds.
#[derive(Default)]
struct Bin(BTreeMap<u32, u64>);

const BIN: Duration = Duration::from_millis(100);
const STEP: f64 = 1.02;

/// When a question was asked, after the first of all, and the microseconds until its answer.
type Asked = (Duration, u32);

fn write_histograms(path: &Path, began: SystemTime, asked: &[Asked]) -> Result<(), Failed> {
    let mut bins: BTreeMap<u32, Bin> = BTreeMap::new();
    for (at, micros) in asked {
        let bin = bins.entry(u32::try_from(at.as_millis() / BIN.as_millis())?).or_default();
        *bin.0.entry(f64::from(*micros).max(1.0).log(STEP) as u32).or_default() += 1;
    }
    let mut out = std::io::BufWriter::new(std::fs::File::create(path)?);
    let began = began.duration_since(SystemTime::UNIX_EPOCH)?;
    for (number, Bin(counts)) in bins {
        let at = (began + BIN * number).as_secs_f64();
        writeln!(out, "{}", json!({"at": at, "seconds": BIN.as_secs_f64(), "step": STEP, "counts": counts}))?;
    }
    Ok(out.flush()?)
}

type Failed = Box<dyn Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let args = Args::parse();
    let (began, first) = (SystemTime::now(), Instant::now());
    let end = first + Duration::from_secs_f64(args.seconds);
    let tasks = (0..args.connections).map(|seed| connection(args.port, seed, first, end));
    let asked = futures::future::try_join_all(tasks).await?.concat();
    if let Some(path) = &args.histograms {
        write_histograms(path, began, &asked)?;
    }
    let mut took: Vec<u32> = asked.into_iter().map(|(_, micros)| micros).collect();
    took.sort_unstable();
    let percentile = |share: f64| {
        let at = ((took.len() as f64 * share) as usize).min(took.len().saturating_sub(1));
        took.get(at).map(|micros| f64::from(*micros) / 1e3)
    };
    let rate = took.len() as f64 / args.seconds;
    println!(
        "{}",
        json!({"rate": rate, "p50_ms": percentile(0.5), "p99_ms": percentile(0.99), "p999_ms": percentile(0.999)})
    );
    Ok(())
}

/// Asks one question after the other.
async fn connection(port: u16, seed: u64, first: Instant, end: Instant) -> Result<Vec<Asked>, Failed> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let (mut random, rank, mut took, mut answer) =
        (Random::new(seed), Finder::new("\"rank\""), Vec::new(), Vec::new());
    while Instant::now() < end {
        let request = request(&mut random);
        let begin = Instant::now();
        stream.write_all(request.as_bytes()).await?;
        let body = read(&mut stream, &mut answer).await?;
        took.push((begin - first, u32::try_from(begin.elapsed().as_micros())?));
        if rank.find_iter(&answer[body..]).count() != 100 {
            return Err(format!("a wrong answer: {}", String::from_utf8_lossy(&answer)).into());
        }
    }
    Ok(took)
}

fn request(random: &mut Random) -> String {
    let body = format!(
        "{{\"customer_id\":\"{}\",\"city\":\"store_{}\",\"revenue\":{:.2},\"timestamp\":{},\"num_recommendations\":100}}",
        random.below(2469) + 1,
        random.below(171) + 280,
        random.unit() * 5000.0,
        1_506_988_800 + random.below(7_776_000),
    );
    let head =
        "POST /recommend HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: ";
    format!("{head}{}\r\n\r\n{body}", body.len())
}

/// Reads a whole answer; gives where its body begins.
async fn read(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<usize, Failed> {
    answer.clear();
    let mut whole = None;
    loop {
        if stream.read_buf(answer).await? == 0 {
            return Err("the connection was closed".into());
        }
        if whole.is_none()
            && let Some(end) = find(answer, b"\r\n\r\n")
        {
            let head = std::str::from_utf8(&answer[..end])?.to_ascii_lowercase();
            if !head.starts_with("http/1.1 200") {
                return Err(head.into());
            }
            let length = head.split("content-length: ").nth(1).ok_or("an answer without Content-Length")?;
            let length: usize = length.split("\r\n").next().unwrap_or_default().trim().parse()?;
            answer.reserve(end + 4 + length);
            whole = Some((end + 4, end + 4 + length));
        }
        if let Some((body, end)) = whole
            && answer.len() >= end
        {
            return Ok(body);
        }
    }
}
