//! `tf.train.Example`: the value model and its bounds-checked protobuf wire form, read without copying.
//!
//! | file | what |
//! |---|---|
//! | `feature.rs` | [`Example`], [`Feature`]: owned values, any number per feature |
//! | `wire.rs` | protobuf varints and fields; [`ExampleView`] walks a record in place |
//! | `row.rs` | [`RowWriter`], [`RowReader`]: one value per field of a [`Schema`](crate::schema::Schema), the hot path |
//!
//! ```text
//! Example  { 1: Features }            Features { 1: map entry { 1: key, 2: Feature } * }
//! Feature  { 1: BytesList | 2: FloatList | 3: Int64List }
//! BytesList { 1: bytes * }   FloatList { 1: packed fixed32 }   Int64List { 1: packed varint }
//! ```
//! Definition: <https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/example/feature.proto>.
//! Keys are written sorted, so equal values give equal bytes.

mod feature;
mod row;
mod wire;

pub use feature::{Example, Feature};
pub use row::{RowReader, RowWriter};
pub use wire::{ExampleView, FeatureView, WireFault};
