//! Ranges -> batches, in the order of the ranges, over several connections.
//!
//! A worker takes the next range, hands the receiving end of that range's channel to the consumer and fills it. The consumer empties
//! one channel after the other, so batches come in the order of the ranges whoever read them. Of ranges that nobody has looked at yet
//! there are as many as workers; of batches that wait, 16 a range.

use super::PostgresSource;
use super::catalog::{Table, quoted};
use super::condition::condition;
use super::config::SpecialValues;
use super::connection::{Server, Session};
use super::decode::{Decoder, Fault};
use super::frames::{Frames, Malformed};
use super::ranges::Range;
use crate::error::{Cause, DatabaseFailure, Error, Place, Result};
use crate::source::BatchStream;
use crate::source::filter::Finish;
use crate::source::request::ReadRequest;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use futures::{StreamExt, TryStreamExt};
use recs_core::observe::{Event, Observer};
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_postgres::types::{FromSql, Type};

/// A batch ends early at so many bytes of values, whatever its rows.
const MAX_BATCH_BYTES: usize = 4 << 20;

/// Batches of a range that wait for the consumer.
const WAITING_BATCHES: usize = 16;

/// The snapshot that all connections of a read see; without a name only its own connection does.
pub(super) type Snapshot = Option<String>;

/// Everything that the workers of a read need.
pub(super) struct Job {
    server: Server,
    observer: Arc<dyn Observer>,
    table: Table,
    schema: SchemaRef,
    /// Positions of the columns to read.
    columns: Vec<usize>,
    /// Of each of them whether somebody was told about its special values.
    warned: Vec<AtomicBool>,
    request: ReadRequest,
}

/// Ranges that nobody has begun, and where to announce those that somebody has.
struct Queue {
    ranges: VecDeque<Range>,
    announce: mpsc::Sender<mpsc::Receiver<Result<RecordBatch>>>,
}

/// Begins the transaction of a read.
pub(super) async fn begin(server: &Server, session: &Session, table: &str) -> Result<Snapshot> {
    let failed = |e| server.failed(table, e);
    if !session.dialect.postgres {
        session.client.batch_execute("BEGIN READ ONLY").await.map_err(failed)?;
        return Ok(None);
    }
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    session.client.batch_execute(begin).await.map_err(failed)?;
    if server.config.connections == 1 {
        return Ok(None);
    }
    session
        .client
        .query_one_scalar("SELECT pg_catalog.pg_export_snapshot()", &[])
        .await
        .map(Some)
        .map_err(failed)
}

/// Joins the transaction of another connection.
async fn join(server: &Server, table: &str, snapshot: &str) -> Result<Session> {
    let session = server.connect().await?;
    let sql = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{}'",
        snapshot.replace('\'', "''")
    );
    session.client.batch_execute(&sql).await.map_err(|e| server.failed(table, e))?;
    Ok(session)
}

/// Starts the workers. Dropping the stream closes their connections.
pub(super) fn start(
    job: Job,
    session: Session,
    snapshot: Option<&str>,
    ranges: VecDeque<Range>,
    finish: &Finish,
) -> BatchStream {
    if finish.is_done() {
        return futures::stream::empty().boxed();
    }
    let more = match (snapshot, job.request.limit) {
        (Some(_), None) => job.server.config.connections.min(ranges.len()) - 1,
        _ => 0,
    };
    let (announce, announced) = mpsc::channel(more + 1);
    let queue = Arc::new(Mutex::new(Queue { ranges, announce }));
    let (job, first) = (Arc::new(job), Arc::new(session));
    let mut workers = JoinSet::new();
    workers.spawn(Arc::clone(&job).work(Arc::clone(&first), Arc::clone(&queue), finish.clone()));
    for _ in 0..more {
        let (job, first, queue, finish) =
            (Arc::clone(&job), Arc::clone(&first), Arc::clone(&queue), finish.clone());
        let snapshot = snapshot.unwrap_or_default().to_owned();
        workers.spawn(async move {
            // The first connection holds the snapshot until the last worker has ended.
            let _held = first;
            match join(&job.server, &job.table.name, &snapshot).await {
                Ok(session) => job.work(Arc::new(session), queue, finish).await,
                Err(error) => job.without(&error, &queue).await,
            }
        });
    }
    drop(queue);
    merged(workers, announced, job)
}

/// The batches of one range after another, until the limit.
fn merged(
    workers: JoinSet<()>,
    announced: mpsc::Receiver<mpsc::Receiver<Result<RecordBatch>>>,
    job: Arc<Job>,
) -> BatchStream {
    struct Merge {
        workers: JoinSet<()>,
        announced: mpsc::Receiver<mpsc::Receiver<Result<RecordBatch>>>,
        current: Option<mpsc::Receiver<Result<RecordBatch>>>,
        left: u64,
        job: Arc<Job>,
    }
    let left = job.request.limit.unwrap_or(u64::MAX);
    let merge = Merge { workers, announced, current: None, left, job };
    futures::stream::try_unfold(merge, |mut merge| async move {
        while merge.left > 0 {
            if let Some(current) = &mut merge.current
                && let Some(batch) = current.recv().await
            {
                let batch = batch?;
                let rows = batch.num_rows().min(usize::try_from(merge.left).unwrap_or(usize::MAX));
                merge.left -= rows as u64;
                return Ok(Some((batch.slice(0, rows), merge)));
            }
            merge.current = merge.announced.recv().await;
            if merge.current.is_none() {
                // All have ended: well, or by a panic.
                while let Some(ended) = merge.workers.join_next().await {
                    ended.map_err(|_| Error::ReaderLost { place: Box::new(merge.job.place()) })?;
                }
                break;
            }
        }
        Ok(None)
    })
    .boxed()
}

impl Job {
    pub(super) fn new(
        source: &PostgresSource,
        request: &ReadRequest,
        table: Table,
        columns: Vec<usize>,
    ) -> Self {
        let fields = table.schema();
        let fields: Vec<_> = columns.iter().map(|&at| Arc::clone(&fields.fields()[at])).collect();
        Self {
            server: source.server.clone(),
            observer: Arc::clone(&source.observer),
            schema: Arc::new(arrow::datatypes::Schema::new(fields)),
            warned: columns.iter().map(|_| AtomicBool::new(false)).collect(),
            table,
            columns,
            request: request.clone(),
        }
    }

    fn place(&self) -> Place {
        self.server.place(&self.table.name)
    }

    fn failed(&self, error: tokio_postgres::Error) -> Error {
        self.server.failed(&self.table.name, error)
    }

    /// Reads ranges until there is none left or nobody listens.
    async fn work(self: Arc<Self>, session: Arc<Session>, queue: Arc<Mutex<Queue>>, finish: Finish) {
        loop {
            let (range, sender) = {
                let mut queue = queue.lock().await;
                let Some(range) = queue.ranges.pop_front() else { return };
                let (sender, receiver) = mpsc::channel(WAITING_BATCHES);
                // Under the lock, so that ranges are announced in their order.
                if queue.announce.send(receiver).await.is_err() {
                    return;
                }
                (range, sender)
            };
            let mut outlet = Outlet { sender, finish: finish.clone() };
            match self.read(&session, &range, &mut outlet).await {
                Ok(()) => {}
                Err(Stop::Failed(error)) => {
                    // Nobody listens when the consumer is gone; then nobody needs the error either.
                    let _ = outlet.sender.send(Err(error)).await;
                    return;
                }
                // The statement is unfinished; the connection closes with the stream.
                Err(Stop::Enough | Stop::Malformed(_)) => return,
            }
        }
    }

    /// A worker that gets no connection is missed by nobody while another one works.
    async fn without(&self, error: &Error, queue: &Mutex<Queue>) {
        if !queue.lock().await.ranges.is_empty() {
            let message = format!("{error}; reading goes on over fewer connections");
            self.observer.on_event(&Event::Warning { stage: "source", message });
        }
    }

    /// `SELECT columns FROM table WHERE predicates AND range`.
    fn statement(&self, session: &Session, range: &Range) -> String {
        let columns = self.columns.iter().map(|&at| {
            let column = &self.table.columns[at];
            let name = quoted(&column.name);
            column.reading.cast.map_or(name.clone(), |cast| format!("{name}::{cast} AS {name}"))
        });
        let mut list: Vec<String> = columns.collect();
        if list.is_empty() {
            list.push("1::smallint".into());
        }
        let mut sql = format!("SELECT {} FROM {}", list.join(", "), self.table.relation.sql());
        let pushed = self.request.predicates.iter().filter_map(|predicate| {
            let column = self.table.columns.iter().find(|c| c.name == predicate.column())?;
            condition(predicate, column, self.server.config.special_values, session.dialect.postgres)
        });
        let conditions: Vec<String> = pushed.chain(range.condition()).collect();
        if !conditions.is_empty() {
            sql.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
        }
        if let Some(order) = range.order() {
            sql.push_str(&format!(" ORDER BY {order}"));
        }
        if let (Some(limit), []) = (self.request.limit, self.request.predicates.as_slice()) {
            sql.push_str(&format!(" LIMIT {}", limit.min(i64::MAX.unsigned_abs())));
        }
        sql
    }

    async fn read(&self, session: &Session, range: &Range, outlet: &mut Outlet) -> Result<(), Stop> {
        let sql = self.statement(session, range);
        let done = if session.dialect.copy {
            self.copy(session, &sql, range, outlet).await
        } else {
            self.fetch(session, &sql, range, outlet).await
        };
        match done {
            Err(Stop::Malformed(malformed)) => {
                let failure = match malformed {
                    Malformed::Truncated => DatabaseFailure::Lost,
                    _ => DatabaseFailure::Statement,
                };
                Err(Stop::Failed(Error::database(self.place(), failure, Cause::new(malformed))))
            }
            other => other,
        }
    }

    async fn copy(
        &self,
        session: &Session,
        sql: &str,
        range: &Range,
        outlet: &mut Outlet,
    ) -> Result<(), Stop> {
        let sql = format!("COPY ({sql}) TO STDOUT (FORMAT binary)");
        let mut pieces = pin!(session.client.copy_out(&sql).await.map_err(|e| self.failed(e))?);
        let mut frames = Frames::new(self.columns.len().max(1));
        let mut building = Building::new(self, range);
        let mut full: Vec<RecordBatch> = Vec::new();
        while let Some(piece) = pieces.try_next().await.map_err(|e| self.failed(e))? {
            frames.feed(&piece, |frame| {
                if let Some(batch) = building.push(|at| frame.field(at))? {
                    full.push(batch);
                }
                Ok::<(), Stop>(())
            })?;
            for batch in full.drain(..) {
                outlet.put(batch).await?;
            }
        }
        frames.end()?;
        building.last(outlet).await
    }

    /// By a cursor, for servers whose `COPY` writes no rows.
    async fn fetch(
        &self,
        session: &Session,
        sql: &str,
        range: &Range,
        outlet: &mut Outlet,
    ) -> Result<(), Stop> {
        let failed = |e| Stop::Failed(self.failed(e));
        let client = &session.client;
        client.batch_execute(&format!("DECLARE recs_rows CURSOR FOR {sql}")).await.map_err(failed)?;
        let fetch = format!("FETCH FORWARD {} FROM recs_rows", self.request.batch_rows);
        let fetch = client.prepare(&fetch).await.map_err(failed)?;
        let mut building = Building::new(self, range);
        loop {
            let none: [i32; 0] = [];
            let mut rows = pin!(client.query_raw(&fetch, none).await.map_err(failed)?);
            let mut came = 0;
            while let Some(row) = rows.try_next().await.map_err(failed)? {
                came += 1;
                let fields: Vec<Raw<'_>> =
                    (0..row.len()).map(|at| row.try_get(at)).collect::<Result<_, _>>().map_err(failed)?;
                if let Some(batch) = building.push(|at| fields.get(at).and_then(|f| f.0))? {
                    outlet.put(batch).await?;
                }
            }
            if came < self.request.batch_rows {
                break;
            }
        }
        client.batch_execute("CLOSE recs_rows").await.map_err(failed)?;
        building.last(outlet).await
    }
}

/// Why a range is read no further.
enum Stop {
    /// Nobody listens, or the limit is reached.
    Enough,
    Failed(Error),
    Malformed(Malformed),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Malformed> for Stop {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// Where a range's batches go: filtered, projected and cut to the limit.
struct Outlet {
    sender: mpsc::Sender<Result<RecordBatch>>,
    finish: Finish,
}

impl Outlet {
    async fn put(&mut self, batch: RecordBatch) -> Result<(), Stop> {
        if let Some(batch) = self.finish.apply(batch)? {
            self.sender.send(Ok(batch)).await.map_err(|_| Stop::Enough)?;
        }
        if self.finish.is_done() { Err(Stop::Enough) } else { Ok(()) }
    }
}

/// The batch that is being filled.
struct Building<'a> {
    job: &'a Job,
    range: &'a Range,
    decoders: Vec<Decoder>,
    rows: usize,
    bytes: usize,
    read: u64,
}

impl<'a> Building<'a> {
    fn new(job: &'a Job, range: &'a Range) -> Self {
        let decoders =
            job.columns.iter().map(|&at| Decoder::new(&job.table.columns[at].reading.form)).collect();
        Self { job, range, decoders, rows: 0, bytes: 0, read: 0 }
    }

    /// Takes a row; gives the batch that is full with it.
    fn push<'r>(&mut self, field: impl Fn(usize) -> Option<&'r [u8]>) -> Result<Option<RecordBatch>> {
        self.read += 1;
        for at in 0..self.decoders.len() {
            let value = field(at);
            let bytes = value.map_or(0, <[u8]>::len);
            self.bytes += bytes;
            if bytes > self.job.server.config.max_value_bytes {
                return Err(self.refused(at, &Fault::Wrong(format!("{bytes} bytes"))));
            }
            if let Err(fault) = self.decoders[at].append(value) {
                self.special(at, &fault)?;
            }
        }
        self.rows += 1;
        let full = self.rows == self.job.request.batch_rows || self.bytes >= MAX_BATCH_BYTES;
        if full { self.finish().map(Some) } else { Ok(None) }
    }

    /// The rows that are left.
    async fn last(mut self, outlet: &mut Outlet) -> Result<(), Stop> {
        if self.rows > 0 {
            outlet.put(self.finish()?).await?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = self.decoders.iter_mut().map(Decoder::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        (self.rows, self.bytes) = (0, 0);
        RecordBatch::try_new_with_options(Arc::clone(&self.job.schema), columns, &options)
            .map_err(|e| Error::Read { place: Box::new(self.job.place()), cause: Cause::new(e) })
    }

    /// A value without an Arrow form has become null: say so once a column, where that is allowed.
    fn special(&self, at: usize, fault: &Fault) -> Result<()> {
        let Fault::Special(what) = fault else { return Err(self.refused(at, fault)) };
        if self.job.server.config.special_values == SpecialValues::Error {
            return Err(self.refused(at, fault));
        }
        if !self.job.warned[at].swap(true, Ordering::Relaxed) {
            let place = self.job.place().in_column(&self.job.table.columns[self.job.columns[at]].name);
            let message = format!(
                "{place}: {what} has no Arrow form and is read as null, here and in rows to come; \
                 set postgres.special_values = \"error\" to stop instead"
            );
            self.job.observer.on_event(&Event::Warning { stage: "source", message });
        }
        Ok(())
    }

    fn refused(&self, at: usize, fault: &Fault) -> Error {
        let column = &self.job.table.columns[self.job.columns[at]];
        let (got, remedy) = match fault {
            Fault::Special(what) => {
                ((*what).to_owned(), "mend it, or set postgres.special_values = \"null\"")
            }
            Fault::Wrong(got) => (
                got.clone(),
                "mend the value, declare another type in postgres.types, or raise max_value_bytes",
            ),
            Fault::Dimensions(n) => {
                (format!("an array of {n} dimensions"), "read the column as `text`, in postgres.types")
            }
        };
        Error::Value {
            place: Box::new(self.job.place().in_column(&column.name)),
            expected: format!("{} (`{}`)", column.reading.form.arrow(), column.native),
            got,
            remedy: format!("{remedy}; it stands in row {} of {}", self.read, self.range),
        }
    }
}

/// A field as it was sent.
struct Raw<'a>(Option<&'a [u8]>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
