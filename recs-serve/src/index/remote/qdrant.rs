//! A collection of Qdrant, by its REST interface.

use super::super::Hit;
use super::{Among, Care, RemoteIndex};
use crate::error::{Error, Result};
use futures::future::BoxFuture;
use ndarray::ArrayView2;
use recs_core::observe::CancelToken;
use reqwest::{Client, Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt;

/// Numbers of vectors that one request carries.
const UPLOAD_NUMBERS: usize = 1 << 18;

/// Where a collection is.
#[derive(Clone)]
pub struct QdrantConfig {
    /// `http://127.0.0.1:6333`, say.
    pub url: String,
    /// Name of the collection: one for each tenant and version, e.g. `acme-v7`.
    pub collection: String,
    /// The server's API key, where it asks for one.
    pub api_key: Option<String>,
    /// Candidates that a search of the graph keeps in view; None: what the collection says.
    pub ef: Option<usize>,
}

/// Without the key.
impl fmt::Debug for QdrantConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, collection, ef, .. } = self;
        f.debug_struct("QdrantConfig")
            .field("url", url)
            .field("collection", collection)
            .field("ef", ef)
            .finish_non_exhaustive()
    }
}

/// Vectors in a collection of Qdrant: the point with id `i` is candidate `i`, compared by dot product.
///
/// Cost of a search: a request, or two when the graph comes back with too few; the network's way is most of it.
pub struct QdrantIndex {
    http: Client,
    config: QdrantConfig,
    len: usize,
    dim: usize,
}

impl fmt::Debug for QdrantIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Qdrant collection {} at {}", self.config.collection, self.config.url)
    }
}

#[derive(Deserialize)]
struct Answered<T> {
    result: T,
}

#[derive(Deserialize)]
struct Counted {
    count: usize,
}

#[derive(Deserialize)]
struct Found {
    points: Vec<Point>,
}

#[derive(Deserialize)]
struct Point {
    id: u32,
    score: f32,
}

impl QdrantIndex {
    /// Makes the collection and fills it; one of that name is replaced. By the host's client, whose time-outs hold.
    ///
    /// # Shapes
    /// `vectors` `[len, dim]`.
    ///
    /// # Errors
    /// [`Error::Remote`]; [`Error::NonFinite`]; `Cancelled`. What is half filled is refused by [`QdrantIndex::open`].
    pub async fn create(
        http: Client,
        config: QdrantConfig,
        vectors: &ArrayView2<'_, f32>,
        cancel: &CancelToken,
    ) -> Result<Self> {
        super::check_vectors(vectors)?;
        let (len, dim) = vectors.dim();
        let index = Self { http, config, len, dim };
        match index.call::<Value>(Method::DELETE, "", None).await {
            Ok(_) | Err(Error::Remote { .. }) => {}
            Err(other) => return Err(other),
        }
        let collection = json!({"vectors": {"size": dim, "distance": "Dot"}});
        index.call::<Value>(Method::PUT, "", Some(collection)).await?;
        let rows: Vec<_> = vectors.rows().into_iter().enumerate().collect();
        for part in rows.chunks((UPLOAD_NUMBERS / dim.max(1)).max(1)) {
            cancel.check()?;
            let points: Vec<Value> =
                part.iter().map(|(id, row)| json!({"id": id, "vector": row.to_vec()})).collect();
            let body = json!({ "points": points });
            index.call::<Value>(Method::PUT, "/points?wait=true", Some(body)).await?;
        }
        index.check().await?;
        Ok(index)
    }

    /// Opens a collection that was filled with these vectors; a sample of them is looked at.
    ///
    /// # Shapes
    /// `vectors` `[len, dim]`.
    ///
    /// # Errors
    /// [`Error::Remote`] for one that is not there; [`Error::Index`] for one of other vectors.
    pub async fn open(http: Client, config: QdrantConfig, vectors: &ArrayView2<'_, f32>) -> Result<Self> {
        let (len, dim) = vectors.dim();
        let index = Self { http, config, len, dim };
        let found: Answered<Value> = index.call(Method::GET, "", None).await?;
        let of = &found.result["config"]["params"]["vectors"];
        if (of["size"].as_u64(), of["distance"].as_str()) != (Some(dim as u64), Some("Dot")) {
            let reason = format!("holds {of}, the model needs vectors of {dim} by Dot: fill it again");
            return Err(Error::index(format!("{index:?}"), reason));
        }
        index.check().await?;
        index.verify(*vectors).await?;
        Ok(index)
    }

    /// Deletes a collection.
    ///
    /// # Errors
    /// [`Error::Remote`].
    pub async fn delete(self) -> Result<()> {
        self.call::<Value>(Method::DELETE, "", None).await.map(drop)
    }

    async fn check(&self) -> Result<()> {
        let body = json!({"exact": true});
        let counted: Answered<Counted> = self.call(Method::POST, "/points/count", Some(body)).await?;
        if counted.result.count != self.len {
            let reason = format!("holds {} of {} vectors: fill it again", counted.result.count, self.len);
            return Err(Error::index(format!("{self:?}"), reason));
        }
        Ok(())
    }

    async fn call<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<T> {
        let QdrantConfig { url, collection, api_key, .. } = &self.config;
        let failed = |reason: String| Error::Remote { index: format!("{self:?}"), reason };
        let mut request = self
            .http
            .request(method, format!("{}/collections/{collection}{path}", url.trim_end_matches('/')));
        if let Some(key) = api_key {
            request = request.header("api-key", key);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.map_err(|e| failed(e.without_url().to_string()))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|e| failed(e.without_url().to_string()))?;
        if status != StatusCode::OK {
            return Err(failed(format!("answers {status}: {}", text.chars().take(300).collect::<String>())));
        }
        serde_json::from_str(&text).map_err(|e| failed(format!("answers what it should not: {e}")))
    }
}

impl RemoteIndex for QdrantIndex {
    fn len(&self) -> usize {
        self.len
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn nearest<'a>(
        &'a self,
        query: &'a [f32],
        limit: usize,
        among: Among<'a>,
        care: Care,
    ) -> BoxFuture<'a, Result<Vec<Hit>>> {
        Box::pin(async move {
            let mut body = json!({"query": query, "limit": limit, "params": {"exact": care == Care::Exact}});
            if let Some(ef) = self.config.ef {
                body["params"]["hnsw_ef"] = ef.into();
            }
            if let Among::Only(ids) = among {
                body["filter"] = json!({"must": [{"has_id": ids}]});
            }
            let found: Answered<Found> = self.call(Method::POST, "/points/query", Some(body)).await?;
            let hit = |Point { id, score }: Point| Hit { index: id, score };
            Ok(found.result.points.into_iter().map(hit).collect())
        })
    }
}
