//! Indexes in other processes.

use crate::artifact::{artifact, host};
use futures::future::BoxFuture;
use ndarray::Array2;
use recs_core::observe::CancelToken;
use recs_serve::index::remote::{
    Among, Blocking, Care, Connect, PgvectorConfig, PgvectorIndex, QdrantConfig, QdrantIndex, RemoteIndex,
};
use recs_serve::index::{ExactIndex, Filter, Hit, Scratch, VectorIndex, conformance};
use recs_serve::model::ServingModel;
use recs_serve::retriever::{Request, Retriever};
use recs_serve::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// Another side that comes back with a part of what is asked for, unless it is asked to look at all; counts what it is asked.
#[derive(Debug)]
struct Lazy {
    inside: ExactIndex,
    /// It finds one of so many.
    finds_one_of: usize,
    asked: AtomicUsize,
    fetched: AtomicUsize,
}

impl RemoteIndex for Lazy {
    fn len(&self) -> usize {
        self.inside.len()
    }

    fn dim(&self) -> usize {
        self.inside.dim()
    }

    fn nearest<'a>(
        &'a self,
        query: &'a [f32],
        limit: usize,
        among: Among<'a>,
        care: Care,
    ) -> BoxFuture<'a, Result<Vec<Hit>>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let filter = match among {
            Among::All => Filter::default(),
            Among::Only(ids) => Filter::default().allow(ids.iter().copied()),
        };
        let mut hits = Vec::new();
        let found = self.inside.search(query, limit, &filter, &mut Scratch::default(), &mut hits);
        if care == Care::Approximate {
            hits = hits.into_iter().step_by(self.finds_one_of).collect();
        }
        // In an order of its own.
        hits.reverse();
        self.fetched.fetch_add(hits.len(), Ordering::SeqCst);
        Box::pin(async { found.map(|()| hits) })
    }
}

fn lazy(vectors: Array2<f32>, finds_one_of: usize) -> Result<Lazy> {
    let (asked, fetched) = (AtomicUsize::new(0), AtomicUsize::new(0));
    Ok(Lazy { inside: ExactIndex::new(vectors)?, finds_one_of, asked, fetched })
}

fn blocking<R: RemoteIndex + 'static>(remote: R) -> Result<Box<dyn VectorIndex>> {
    Ok(Box::new(Blocking::new(Arc::new(remote), PATIENCE)?))
}

#[test]
fn whatever_the_other_side_does_the_rules_hold() {
    for finds_one_of in [1, 2, 50] {
        conformance::run(&|vectors| blocking(lazy(vectors, finds_one_of)?));
    }
    conformance::agrees_with_naive_search(&|vectors| blocking(lazy(vectors, 1)?));
}

#[tokio::test]
async fn a_filter_costs_few_questions() {
    let vectors = Array2::from_shape_fn((50_000, 4), |(i, j)| ((i * 31 + j * 7) % 101) as f32);
    let index = lazy(vectors, 1).unwrap();
    let asked = async |filter: &Filter| {
        index.asked.store(0, Ordering::SeqCst);
        index.fetched.store(0, Ordering::SeqCst);
        let hits = index.search(&[1.0, 2.0, 3.0, 4.0], 100, filter).await.unwrap();
        assert!(
            hits.iter().all(|hit| filter.passes(hit.index)) && hits.len() == 100.min(filter.count(50_000))
        );
        (index.asked.load(Ordering::SeqCst), index.fetched.load(Ordering::SeqCst))
    };
    let third = |of: u32| Filter::default().allow((0..50_000).filter(move |i| i % of == 0));
    assert_eq!(asked(&Filter::default()).await, (1, 100));
    assert_eq!(asked(&Filter::default().deny(0..30)).await, (1, 130));
    // A named few are sent.
    assert_eq!(asked(&third(500)).await, (1, 100));
    assert_eq!(asked(&third(50_000)).await, (1, 1));
    assert_eq!(asked(&Filter::default().allow([])).await, (0, 0));
    // Of many, some more than are wanted are fetched.
    let (questions, fetched) = asked(&third(3)).await;
    assert!(questions <= 2 && fetched < 5000, "{questions} {fetched}");
}

#[tokio::test]
async fn an_other_side_that_has_lost_candidates_gives_what_it_has() {
    let mut index = lazy(Array2::from_elem((40, 3), 1.0), 1).unwrap();
    index.finds_one_of = 2;
    #[derive(Debug)]
    struct Claims(Lazy);
    impl RemoteIndex for Claims {
        fn len(&self) -> usize {
            50_000
        }
        fn dim(&self) -> usize {
            3
        }
        fn nearest<'a>(
            &'a self,
            q: &'a [f32],
            k: usize,
            a: Among<'a>,
            c: Care,
        ) -> BoxFuture<'a, Result<Vec<Hit>>> {
            self.0.nearest(q, k, a, c)
        }
    }
    let filter = Filter::default().deny([3]);
    assert_eq!(Claims(index).search(&[1.0; 3], 100, &filter).await.unwrap().len(), 39);
}

#[test]
fn an_other_side_that_does_not_answer_is_an_error_in_time() {
    #[derive(Debug)]
    struct Silent;
    impl RemoteIndex for Silent {
        fn len(&self) -> usize {
            9
        }
        fn dim(&self) -> usize {
            2
        }
        fn nearest<'a>(
            &'a self,
            _: &'a [f32],
            _: usize,
            _: Among<'a>,
            _: Care,
        ) -> BoxFuture<'a, Result<Vec<Hit>>> {
            Box::pin(std::future::pending())
        }
    }
    let index = Blocking::new(Arc::new(Silent), Duration::from_millis(50)).unwrap();
    let mut hits = Vec::new();
    let failed = index.search(&[1.0, 1.0], 3, &Filter::default(), &mut Scratch::default(), &mut hits);
    assert!(matches!(failed, Err(Error::Remote { .. })), "{failed:?}");
}

/// Another side whose driver runs on the host's runtime, as that of a database does.
#[derive(Debug)]
struct Driven {
    inside: Lazy,
    runtime: tokio::runtime::Handle,
}

impl RemoteIndex for Driven {
    fn len(&self) -> usize {
        self.inside.len()
    }

    fn dim(&self) -> usize {
        self.inside.dim()
    }

    fn nearest<'a>(
        &'a self,
        query: &'a [f32],
        limit: usize,
        among: Among<'a>,
        care: Care,
    ) -> BoxFuture<'a, Result<Vec<Hit>>> {
        let driver = self.runtime.spawn(tokio::time::sleep(Duration::from_millis(5)));
        Box::pin(async move {
            driver.await.unwrap();
            self.inside.nearest(query, limit, among, care).await
        })
    }
}

#[cfg(feature = "http")]
#[tokio::test]
async fn requests_that_wait_for_it_hold_up_no_thread_that_it_needs() {
    use crate::http_client::{post_request, send, tenant};
    use recs_serve::http::{AppState, Auth, ServeConfig, router};
    let inside = lazy(artifact("v1").candidates.vectors.clone(), 1).unwrap();
    let driven = Driven { inside, runtime: tokio::runtime::Handle::current() };
    let index = Blocking::new(Arc::new(driven), PATIENCE).unwrap();
    let model = ServingModel::new(Arc::new(artifact("v1"))).unwrap();
    let retriever = Retriever::over(model, Arc::new(index), host()).unwrap();
    let config = ServeConfig { default_tenant: Some(tenant("acme")), ..ServeConfig::default() };
    let state = AppState::new(host(), config).unwrap();
    state.swap(&tenant("acme"), Arc::new(retriever));
    let app = router(state, Auth::Open);
    let one = serde_json::json!({"customer_id": "c3", "city": "alpha", "revenue": 1.0});
    let product = crate::artifact::product_id(0);
    for (path, body) in [
        ("/recommend", one.clone()),
        ("/recommend-batch", serde_json::json!({"requests": [one, one]})),
        ("/similar", serde_json::json!({"product_id": product})),
    ] {
        let ask = || send(app.clone(), post_request(path, body.to_string()));
        // This runtime has one thread, which the driver needs.
        let both = tokio::time::timeout(PATIENCE / 2, async { tokio::join!(ask(), ask()) }).await.unwrap();
        assert_eq!((both.0.0.status().as_u16(), both.1.0.status().as_u16()), (200, 200), "{path}");
    }
}

#[tokio::test]
async fn a_retriever_serves_by_it() {
    let (model, expected) =
        (ServingModel::new(Arc::new(artifact("v1"))).unwrap(), crate::artifact::retriever());
    let vectors = artifact("v1").candidates.vectors.clone();
    let index = Blocking::new(Arc::new(lazy(vectors, 1).unwrap()), PATIENCE).unwrap();
    let retriever = Retriever::over(model, Arc::new(index), host()).unwrap();
    let request = Request {
        customer_id: "c3".into(),
        k: 10,
        category_cap: Some(3),
        exclude_purchased: true,
        ..Request::default()
    };
    assert_eq!(retriever.recommend(&request).unwrap(), expected.recommend(&request).unwrap());
    let batch = vec![request; 40];
    assert_eq!(retriever.recommend_batch(&batch).unwrap(), expected.recommend_batch(&batch).unwrap());
}

/// Real ones. `RECS_TEST_REMOTE` is a Python with pgserver and qdrant-client.
mod real {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};
    use std::sync::OnceLock;
    use tokio::runtime::Runtime;

    /// Runs until it is dropped; the first line that it prints says where it is.
    struct Server(Child, String);

    impl Server {
        fn start(script: &str, args: &[&str]) -> Self {
            let python = std::env::var("RECS_TEST_REMOTE").expect("a Python with pgserver and qdrant-client");
            let script = format!("{}/../scripts/checks/{script}", env!("CARGO_MANIFEST_DIR"));
            let mut child = Command::new(python)
                .arg(script)
                .args(args)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut place = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut place).unwrap();
            assert!(!place.trim().is_empty(), "{script:?} does not start", script = args);
            Self(child, place.trim().to_owned())
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            drop(self.0.stdin.take());
            let _ = self.0.wait();
        }
    }

    /// A name that no other index of this process has.
    fn name() -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        format!("conformance_{}", NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Connections live as long as the process.
    fn runtime() -> &'static Runtime {
        static RUNTIME: OnceLock<Runtime> = OnceLock::new();
        RUNTIME.get_or_init(|| Runtime::new().unwrap())
    }

    fn client() -> reqwest::Client {
        // Refused where another test of this process was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::new()
    }

    fn qdrant(server: &Server, collection: &str) -> QdrantConfig {
        let url = format!("http://127.0.0.1:{}", server.1);
        QdrantConfig { url, collection: collection.into(), api_key: Some("key".into()), ef: Some(64) }
    }

    #[test]
    #[ignore = "needs RECS_TEST_REMOTE"]
    fn qdrant_keeps_the_rules() {
        // A graph may come back with too few.
        let server = Server::start("qdrant_server.py", &["--short-of", "3"]);
        let build = |vectors: Array2<f32>| {
            let (config, cancel) = (qdrant(&server, &name()), CancelToken::new());
            blocking(runtime().block_on(QdrantIndex::create(client(), config, &vectors.view(), &cancel))?)
        };
        conformance::run(&build);
        conformance::recall_is_at_least(&build, 0.95);
    }

    #[test]
    #[ignore = "needs RECS_TEST_REMOTE"]
    fn qdrant_is_opened_again_and_refused_when_it_is_another() {
        let server = Server::start("qdrant_server.py", &[]);
        let vectors = Array2::from_shape_fn((700, 5), |(i, j)| ((i * 7 + j * 13) % 29) as f32);
        runtime().block_on(async {
            let open_with = async |collection: &str, vectors: &Array2<f32>| {
                QdrantIndex::open(client(), qdrant(&server, collection), &vectors.view()).await
            };
            let open = async |collection: &str, len, dim| {
                let vectors = Array2::from_shape_fn((len, dim), |(i, j)| ((i * 7 + j * 13) % 29) as f32);
                open_with(collection, &vectors).await
            };
            assert!(matches!(open("acme-v1", 700, 5).await, Err(Error::Remote { .. })));
            let cancelled = CancelToken::new();
            cancelled.cancel();
            QdrantIndex::create(client(), qdrant(&server, "acme-v1"), &vectors.view(), &cancelled)
                .await
                .unwrap_err();
            let half = open("acme-v1", 700, 5).await.unwrap_err();
            assert!(matches!(half, Error::Index { .. }) && half.to_string().contains("0 of 700"), "{half}");
            QdrantIndex::create(client(), qdrant(&server, "acme-v1"), &vectors.view(), &CancelToken::new())
                .await
                .unwrap();
            assert!(matches!(open("acme-v1", 699, 5).await, Err(Error::Index { .. })));
            assert!(matches!(open("acme-v1", 700, 4).await, Err(Error::Index { .. })));
            for others in others(&vectors) {
                assert!(matches!(open_with("acme-v1", &others).await, Err(Error::Index { .. })));
            }
            let index = open("acme-v1", 700, 5).await.unwrap();
            assert_eq!(index.search(&[1.0; 5], 7, &Filter::default()).await.unwrap().len(), 7);
            assert!(
                !format!("{:?} {index:?}", qdrant(&server, "acme-v1")).contains("key\""),
                "the key is shown"
            );
            index.delete().await.unwrap();
            assert!(matches!(open("acme-v1", 700, 5).await, Err(Error::Remote { .. })));
            let mut odd = vectors.clone();
            odd[[3, 1]] = f32::NAN;
            let odd =
                QdrantIndex::create(client(), qdrant(&server, "odd"), &odd.view(), &CancelToken::new()).await;
            assert!(matches!(odd, Err(Error::NonFinite { row: 3, .. })));
        });
    }

    /// As many, as wide, and not the same: all of another model, or shifted by one.
    fn others(vectors: &Array2<f32>) -> [Array2<f32>; 2] {
        let len = vectors.nrows();
        let shifted = Array2::from_shape_fn(vectors.dim(), |(i, j)| vectors[[(i + 1) % len, j]]);
        [vectors.mapv(|x| 1.5 - x), shifted]
    }

    fn connect(server: &Server) -> Connect {
        let place = server.1.clone();
        Arc::new(move || {
            let place = place.clone();
            Box::pin(async move {
                let (client, connection) = tokio_postgres::connect(&place, tokio_postgres::NoTls).await?;
                runtime().spawn(connection);
                Ok(client)
            })
        })
    }

    #[test]
    #[ignore = "needs RECS_TEST_REMOTE"]
    fn pgvector_keeps_the_rules_and_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start("pgvector_server.py", &[folder.path().to_str().unwrap()]);
        let client = connect(&server);
        let create = |table: &str, vectors: &Array2<f32>, cancel: &CancelToken| {
            let config = PgvectorConfig { ef_search: 100, ..PgvectorConfig::new(table) };
            runtime().block_on(PgvectorIndex::create(Arc::clone(&client), config, &vectors.view(), cancel))
        };
        let build = |vectors: Array2<f32>| blocking(create(&name(), &vectors, &CancelToken::new())?);
        conformance::run(&build);
        conformance::recall_is_at_least(&build, 0.9);

        let vectors = Array2::from_shape_fn((300, 5), |(i, j)| ((i * 7 + j * 13) % 29) as f32);
        let open_with = |table: &str, vectors: &Array2<f32>| {
            let config = PgvectorConfig::new(table);
            runtime().block_on(PgvectorIndex::open(Arc::clone(&client), config, &vectors.view()))
        };
        let open = |table: &str, len, dim| {
            let vectors = Array2::from_shape_fn((len, dim), |(i, j)| ((i * 7 + j * 13) % 29) as f32);
            open_with(table, &vectors)
        };
        let before = create("acme_v1", &vectors, &CancelToken::new()).unwrap();
        let find = |index: &PgvectorIndex| {
            runtime().block_on(index.search(&[1.0; 5], 300, &Filter::default())).unwrap()
        };
        assert_eq!(find(&open("acme_v1", 300, 5).unwrap()), find(&before));
        for others in others(&vectors) {
            assert!(matches!(open_with("acme_v1", &others), Err(Error::Index { .. })));
        }
        // A connection that is lost is made again.
        let lost = open("acme_v1", 300, 5).unwrap();
        runtime().block_on(async {
            let other = client().await.unwrap();
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()";
            other.batch_execute(sql).await.unwrap();
            let mut again = lost.search(&[1.0; 5], 300, &Filter::default()).await;
            while again.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                again = lost.search(&[1.0; 5], 300, &Filter::default()).await;
            }
        });
        assert_eq!(find(&lost), find(&before));
        assert!(matches!(open("acme_v1", 301, 5), Err(Error::Index { .. })));
        assert!(matches!(open("acme_v1", 300, 4), Err(Error::Index { .. })));
        assert!(matches!(open("nobodys", 1, 1), Err(Error::Remote { .. })));
        assert!(matches!(open("a\"; DROP TABLE acme_v1; --", 1, 1), Err(Error::Config { .. })));
        // What is not finished changes nothing.
        let wide = Array2::from_shape_fn((2000, 300), |(i, j)| (i + j) as f32);
        let cancelled = CancelToken::new();
        cancelled.cancel();
        create("acme_v1", &wide, &cancelled).unwrap_err();
        assert_eq!(find(&open("acme_v1", 300, 5).unwrap()).len(), 300);
        runtime().block_on(before.delete()).unwrap();
        assert!(matches!(open("acme_v1", 300, 5), Err(Error::Remote { .. })));
    }
}
