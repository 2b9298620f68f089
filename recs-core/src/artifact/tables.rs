//! Parquet form of the catalogue, of the customers and of the probe set.

use super::catalogue::invalid;
use super::{CANDIDATES_FILE, CUSTOMERS_FILE, Candidates, Customers, MAX_PROBES, PROBE_FILE, Probe};
use crate::error::{Error, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeListArray, Float32Array, Int32Array, Int64Array,
    ListArray, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Float32Type, Int32Type, Int64Type, UInt32Type, UInt64Type};
use bytes::Bytes;
use ndarray::Array2;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

/// Largest embedding that a table may claim.
const MAX_DIM: usize = 4096;

/// How this library writes Parquet: compressed by zstd, the same bytes for the same rows.
pub fn parquet_properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by("recs".into())
        .build()
}

fn write(batch: &RecordBatch, file: &str, out: &mut (dyn Write + Send)) -> Result<()> {
    let fault = |e: parquet::errors::ParquetError| Error::document(file, e.to_string());
    let mut writer = ArrowWriter::try_new(out, batch.schema(), Some(parquet_properties())).map_err(fault)?;
    writer.write(batch).map_err(fault)?;
    writer.close().map_err(fault)?;
    Ok(())
}

/// Reads a whole table into one batch.
pub(super) fn read(bytes: Bytes, file: &str) -> Result<RecordBatch> {
    let damaged = |e: String| Error::corrupt(file, e);
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|e| damaged(e.to_string()))?;
    let schema = Arc::clone(builder.schema());
    let reader = builder.build().map_err(|e| damaged(e.to_string()))?;
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(|e| damaged(e.to_string()))?;
    arrow::compute::concat_batches(&schema, &batches).map_err(|e| damaged(e.to_string()))
}

/// A column of the expected type without nulls.
fn column<'a>(
    batch: &'a RecordBatch,
    name: &str,
    is: impl Fn(&DataType) -> bool,
    file: &str,
) -> Result<&'a ArrayRef> {
    let present = || batch.schema().fields().iter().map(|f| f.name().clone()).collect();
    let found = batch.column_by_name(name).ok_or_else(|| Error::MissingColumn {
        file: file.into(),
        record: None,
        field: name.into(),
        column: name.into(),
        present: present(),
    })?;
    if !is(found.data_type()) {
        return Err(Error::WrongType {
            file: file.into(),
            record: None,
            column: name.into(),
            expected: "the type that recs writes".into(),
            got: found.data_type().to_string(),
        });
    }
    if let Some(record) =
        (found.null_count() > 0).then(|| (0..found.len()).find(|&i| found.is_null(i))).flatten()
    {
        return Err(invalid(file, record, name, "is null; no column of this table may be".into()));
    }
    Ok(found)
}

fn texts(batch: &RecordBatch, name: &str, file: &str) -> Result<Vec<String>> {
    let found = column(batch, name, |t| *t == DataType::Utf8, file)?;
    Ok(found.as_string::<i32>().iter().map(|v| v.unwrap_or_default().to_owned()).collect())
}

fn batch(columns: Vec<(&str, ArrayRef)>, file: &str) -> Result<RecordBatch> {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, false)))
        .map_err(|e| Error::document(file, e.to_string()))
}

fn item(of: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", of, false))
}

fn is_list(of: DataType) -> impl Fn(&DataType) -> bool {
    move |t| matches!(t, DataType::List(f) if *f.data_type() == of)
}

fn lists(of: DataType, offsets: &OffsetBuffer<i32>, values: ArrayRef, file: &str) -> Result<ArrayRef> {
    let lists = ListArray::try_new(item(of), offsets.clone(), values, None);
    Ok(Arc::new(lists.map_err(|e| Error::document(file, e.to_string()))?))
}

impl Candidates {
    pub(super) fn write_parquet(&self, out: &mut (dyn Write + Send)) -> Result<()> {
        let dim = i32::try_from(self.vectors.ncols()).unwrap_or(i32::MAX);
        let values = Float32Array::from_iter_values(self.vectors.iter().copied());
        let vectors = FixedSizeListArray::try_new(item(DataType::Float32), dim, Arc::new(values), None)
            .map_err(|e| Error::document(CANDIDATES_FILE, e.to_string()))?;
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("product_id", Arc::new(StringArray::from_iter_values(&self.ids))),
            ("name", Arc::new(StringArray::from_iter_values(&self.names))),
            ("category", Arc::new(StringArray::from_iter_values(&self.categories))),
            ("available", Arc::new(BooleanArray::from(self.available.clone()))),
            ("popularity", Arc::new(UInt64Array::from(self.popularity.clone()))),
            ("vector", Arc::new(vectors)),
        ];
        write(&batch(columns, CANDIDATES_FILE)?, CANDIDATES_FILE, out)
    }

    pub(super) fn read_parquet(bytes: Bytes, file: &str) -> Result<Self> {
        let table = read(bytes, file)?;
        let bools = column(&table, "available", |t| *t == DataType::Boolean, file)?;
        let counts = column(&table, "popularity", |t| *t == DataType::UInt64, file)?;
        let is_vector = |t: &DataType| matches!(t, DataType::FixedSizeList(f, n) if *f.data_type() == DataType::Float32 && (1..=MAX_DIM as i32).contains(n));
        let vectors = column(&table, "vector", is_vector, file)?.as_fixed_size_list();
        let dim = vectors.value_length() as usize;
        let numbers = vectors.values().as_primitive::<Float32Type>().values();
        let vectors = Array2::from_shape_vec((table.num_rows(), dim), numbers.to_vec())
            .map_err(|e| Error::corrupt(file, e.to_string()))?;
        let candidates = Self {
            ids: texts(&table, "product_id", file)?,
            names: texts(&table, "name", file)?,
            categories: texts(&table, "category", file)?,
            available: bools.as_boolean().iter().map(|v| v.unwrap_or(false)).collect(),
            popularity: counts.as_primitive::<UInt64Type>().values().to_vec(),
            vectors,
        };
        candidates.validate(file)?;
        Ok(candidates)
    }
}

impl Customers {
    pub(super) fn write_parquet(&self, candidates: &Candidates, out: &mut (dyn Write + Send)) -> Result<()> {
        let offsets = OffsetBuffer::from_lengths(self.offsets.windows(2).map(|w| w[1] - w[0]));
        let product = |&i: &u32| candidates.ids.get(i as usize).map(String::as_str).unwrap_or_default();
        let ids = StringArray::from_iter_values(self.products.iter().map(product));
        let list = |of, values| lists(of, &offsets, values, CUSTOMERS_FILE);
        let repeat =
            if self.repeat.is_empty() { vec![0.0; self.products.len()] } else { self.repeat.clone() };
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("customer_id", Arc::new(StringArray::from_iter_values(&self.ids))),
            ("product_ids", list(DataType::Utf8, Arc::new(ids))?),
            ("counts", list(DataType::UInt32, Arc::new(UInt32Array::from(self.counts.clone())))?),
            ("last_day", Arc::new(Int32Array::from(self.last_day.clone()))),
            ("repeat", list(DataType::Float32, Arc::new(Float32Array::from(repeat)))?),
            ("segment", Arc::new(StringArray::from_iter_values(&self.segment))),
        ];
        write(&batch(columns, CUSTOMERS_FILE)?, CUSTOMERS_FILE, out)
    }

    pub(super) fn read_parquet(bytes: Bytes, candidates: &Candidates, file: &str) -> Result<Self> {
        let table = read(bytes, file)?;
        let products = column(&table, "product_ids", is_list(DataType::Utf8), file)?.as_list::<i32>();
        let counts = column(&table, "counts", is_list(DataType::UInt32), file)?.as_list::<i32>();
        if products.offsets() != counts.offsets() {
            return Err(Error::corrupt(file, "product_ids and counts have lists of different lengths"));
        }
        let index: HashMap<&str, u32> = candidates.ids.iter().map(String::as_str).zip(0..).collect();
        let names = products.values().as_string::<i32>();
        let find = |(i, name): (usize, Option<&str>)| {
            let name = name.unwrap_or_default();
            index.get(name).copied().ok_or_else(|| {
                let record = products.offsets().partition_point(|&o| o as usize <= i) - 1;
                let reason = format!("product {name:?} is not in {CANDIDATES_FILE}");
                invalid(file, record, "product_ids", reason)
            })
        };
        let customers = Self {
            repeat: repeat(&table, products.offsets(), file)?,
            ids: texts(&table, "customer_id", file)?,
            offsets: products.offsets().iter().map(|&o| o as usize).collect(),
            products: names.iter().enumerate().map(find).collect::<Result<_>>()?,
            counts: counts.values().as_primitive::<UInt32Type>().values().to_vec(),
            last_day: column(&table, "last_day", |t| *t == DataType::Int32, file)?
                .as_primitive::<Int32Type>()
                .values()
                .to_vec(),
            segment: texts(&table, "segment", file)?,
        };
        customers.validate(candidates, file)?;
        Ok(customers)
    }
}

/// The repeat term; files written before there was one have no such column.
fn repeat(table: &RecordBatch, offsets: &OffsetBuffer<i32>, file: &str) -> Result<Vec<f32>> {
    if table.column_by_name("repeat").is_none() {
        return Ok(Vec::new());
    }
    let lists = column(table, "repeat", is_list(DataType::Float32), file)?.as_list::<i32>();
    if lists.offsets() != offsets {
        return Err(Error::corrupt(file, "product_ids and repeat have lists of different lengths"));
    }
    let values = lists.values().as_primitive::<Float32Type>().values().to_vec();
    Ok(if values.iter().all(|v| *v == 0.0) { Vec::new() } else { values })
}

pub(super) fn write_probe(probe: &[Probe], out: &mut (dyn Write + Send)) -> Result<()> {
    let offsets = OffsetBuffer::from_lengths(probe.iter().map(|p| p.product_ids.len()));
    let products: Vec<&String> = probe.iter().flat_map(|p| &p.product_ids).collect();
    let products = StringArray::from_iter_values(products);
    let text = |of: fn(&Probe) -> &str| Arc::new(StringArray::from_iter_values(probe.iter().map(of)));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("customer_id", text(|p| &p.customer_id)),
        ("city", text(|p| &p.city)),
        ("timestamp", Arc::new(Int64Array::from_iter_values(probe.iter().map(|p| p.timestamp)))),
        ("product_ids", lists(DataType::Utf8, &offsets, Arc::new(products), PROBE_FILE)?),
    ];
    write(&batch(columns, PROBE_FILE)?, PROBE_FILE, out)
}

pub(super) fn read_probe(bytes: Bytes, file: &str) -> Result<Vec<Probe>> {
    let table = read(bytes, file)?;
    if table.num_rows() > MAX_PROBES {
        let reason = format!("{} customers, allowed are {MAX_PROBES}", table.num_rows());
        return Err(Error::corrupt(file, reason));
    }
    let times = column(&table, "timestamp", |t| *t == DataType::Int64, file)?.as_primitive::<Int64Type>();
    let bought = column(&table, "product_ids", is_list(DataType::Utf8), file)?.as_list::<i32>();
    let bought = bought.iter().map(|list| match list {
        Some(list) => list.as_string::<i32>().iter().flatten().map(str::to_owned).collect(),
        None => Vec::new(),
    });
    let (customers, cities) = (texts(&table, "customer_id", file)?, texts(&table, "city", file)?);
    let rows = customers.into_iter().zip(cities).zip(times.values()).zip(bought);
    let probe = |(((customer_id, city), &timestamp), product_ids)| Probe {
        customer_id,
        city,
        timestamp,
        product_ids,
    };
    Ok(rows.map(probe).collect())
}
