//! Who is asked for.

use super::Asked;
use crate::retriever::{Request, Retriever};
use std::sync::Arc;

/// One request for each customer that the model was trained on, in the order of their ids: `like` says everything else. Without
/// a city each is asked for where the customer bought last.
pub fn all_customers(retriever: Arc<Retriever>, like: Request) -> Asked {
    let customers = 0..retriever.customers();
    Box::new(customers.map(move |number| {
        let customer_id = retriever.customer(number).unwrap_or_default().to_owned();
        Ok(Request { customer_id, ..like.clone() })
    }))
}

#[cfg(feature = "http")]
mod lines {
    use super::Asked;
    use crate::error::{Error, Result};
    use crate::http::parse_request;
    use std::io::{BufRead, Read};

    /// Longest line.
    const MAX_LINE_BYTES: u64 = 1 << 20;

    /// One request a line, each as the body of `/recommend`; empty lines are passed over. `name` stands in errors.
    ///
    /// The iterator ends with its first error: [`recs_core::Error::Document`], which names line and faults.
    pub fn json_lines(reader: impl BufRead + Send + 'static, name: &str) -> Asked {
        Box::new(Lines { reader, name: name.to_owned(), number: 0, is_over: false })
    }

    struct Lines<R> {
        reader: R,
        name: String,
        number: u64,
        is_over: bool,
    }

    impl<R: BufRead> Lines<R> {
        /// The next line that is not empty.
        fn line(&mut self) -> Result<Option<Vec<u8>>, String> {
            loop {
                let mut line = Vec::new();
                self.number += 1;
                let mut limited = (&mut self.reader).take(MAX_LINE_BYTES);
                if limited.read_until(b'\n', &mut line).map_err(|e| e.to_string())? == 0 {
                    return Ok(None);
                }
                if line.len() as u64 == MAX_LINE_BYTES && line.last() != Some(&b'\n') {
                    return Err(format!("is longer than {MAX_LINE_BYTES} bytes"));
                }
                if !line.trim_ascii().is_empty() {
                    return Ok(Some(line));
                }
            }
        }
    }

    impl<R: BufRead> Iterator for Lines<R> {
        type Item = Result<crate::retriever::Request>;

        fn next(&mut self) -> Option<Self::Item> {
            if self.is_over {
                return None;
            }
            let read = match self.line() {
                Ok(None) => None,
                Ok(Some(line)) => Some(parse_request(&line).map_err(|e| e.to_string())),
                Err(reason) => Some(Err(reason)),
            };
            self.is_over = !matches!(read, Some(Ok(_)));
            let refuse = |reason| {
                Error::from(recs_core::Error::document(&self.name, format!("line {}: {reason}", self.number)))
            };
            Some(read?.map_err(refuse))
        }
    }
}

#[cfg(feature = "http")]
pub use lines::json_lines;
