//! TFRecord files: frames with checksums, gzip around them, and sets of shards.
//!
//! ```text
//! file  = gzip(frame *)            one member on write, any number on read; plain files are read too
//! frame = [u64 length LE][u32 masked crc32c(length)][data][u32 masked crc32c(data)]
//! mask(crc) = rotate_right(crc, 15) + 0xa282ead8
//! ```
//! Definition: <https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details>.
//!
//! | file | what |
//! |---|---|
//! | `crc.rs` | [`masked_crc32c`] |
//! | `frame.rs` | the byte layout of one frame |
//! | `gzip.rs` | gzip detection, decompression, compression |
//! | `reader.rs` | [`RecordReader`]: any `Read` -> records, every checksum verified |
//! | `writer.rs` | [`RecordWriter`]: records -> any `Write` |
//! | `shard.rs` | shard names and which rows go where |

mod crc;
mod frame;
mod gzip;
mod reader;
mod shard;
mod writer;

pub use crc::masked_crc32c;
pub use reader::{DEFAULT_MAX_RECORD_BYTES, Position, RecordReader};
pub use shard::{MAX_SHARDS, ShardPlan, shard_name};
pub use writer::{DEFAULT_GZIP_LEVEL, RecordWriter};
