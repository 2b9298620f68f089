//! Arrow data in and out over the Arrow C Data Interface, without a copy.
//!
//! Hosts that use another Arrow implementation (arrow2, polars, C++) hand over the two C structs of an array; ours reads
//! the same buffers and calls the producer's release callback when it is done. The layout of both structs is fixed by
//! <https://arrow.apache.org/docs/format/CDataInterface.html>, so a pointer to any implementation's struct will do.
//!
//! A table is a struct array: its fields are the columns.

use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, RecordBatch, StructArray, make_array};
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi, to_ffi};
use std::ffi::c_void;

/// Where errors of this module happened.
const PLACE: &str = "Arrow C Data Interface";

fn refuse(reason: impl Into<String>) -> Error {
    Error::document(PLACE, reason)
}

/// Takes over an array from another implementation. Buffers are shared, not copied.
///
/// # Errors
/// [`Error::Document`] for null pointers, released structs and types that this library does not have.
///
/// # Safety
/// `array` and `schema` must each point to a valid struct of the C Data Interface that nobody else uses at the same
/// time. The array is moved out: the caller must not release it afterwards. The schema stays the caller's.
pub unsafe fn import_array(array: *mut c_void, schema: *const c_void) -> Result<ArrayRef> {
    if array.is_null() || schema.is_null() {
        return Err(refuse("a pointer is null"));
    }
    // SAFETY: the caller vouches for both structs; `from_raw` moves the array out and leaves a released one behind.
    let (array, schema) = unsafe {
        (FFI_ArrowArray::from_raw(array.cast::<FFI_ArrowArray>()), &*schema.cast::<FFI_ArrowSchema>())
    };
    // SAFETY: the caller vouches for the struct; its first field is the format, which a released one does not have.
    if unsafe { *std::ptr::from_ref(schema).cast::<*const c_void>() }.is_null() {
        return Err(refuse("the schema was released before it was handed over"));
    }
    if array.is_released() {
        return Err(refuse("the array was released before it was handed over"));
    }
    // SAFETY: as above; arrow checks the layout against the schema.
    let data = unsafe { from_ffi(array, schema) }.map_err(|e| refuse(e.to_string()))?;
    data.validate_full().map_err(|e| refuse(format!("the array is invalid: {e}")))?;
    Ok(make_array(data))
}

/// Takes over a table (a struct array) as a record batch. Buffers are shared, not copied.
///
/// # Errors
/// Those of [`import_array`]; [`Error::Document`] for an array that is no struct or has null rows.
///
/// # Safety
/// As [`import_array`].
pub unsafe fn import_batch(array: *mut c_void, schema: *const c_void) -> Result<RecordBatch> {
    // SAFETY: the caller's promise is passed on.
    let imported = unsafe { import_array(array, schema) }?;
    let Some(table) = imported.as_any().downcast_ref::<StructArray>() else {
        return Err(refuse(format!("a struct array is expected, this is {}", imported.data_type())));
    };
    if table.null_count() > 0 {
        return Err(refuse("a table cannot have null rows; nulls belong to its columns"));
    }
    Ok(RecordBatch::from(table))
}

/// Hands out an array as the two C structs. Dropping them releases the buffers, unless the consumer moved them out.
///
/// # Errors
/// [`Error::Document`] for types that the interface does not have.
pub fn export_array(array: &dyn Array) -> Result<(FFI_ArrowArray, FFI_ArrowSchema)> {
    to_ffi(&array.to_data()).map_err(|e| refuse(e.to_string()))
}

/// Hands out a record batch as a struct array.
///
/// # Errors
/// As [`export_array`].
pub fn export_batch(batch: RecordBatch) -> Result<(FFI_ArrowArray, FFI_ArrowSchema)> {
    export_array(&StructArray::from(batch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::datatypes::Int64Type;
    use std::sync::Arc;

    #[test]
    fn a_batch_goes_out_and_comes_back_with_the_same_pointers() {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
        let names: ArrayRef = Arc::new(StringArray::from(vec!["a", "é", ""]));
        let batch = RecordBatch::try_from_iter([("id", Arc::clone(&ids)), ("name", names)]).unwrap();
        let (mut array, schema) = export_batch(batch.clone()).unwrap();
        // SAFETY: both structs come from `export_batch` and are used by nobody else.
        let back = unsafe { import_batch((&raw mut array).cast(), (&raw const schema).cast()) }.unwrap();
        assert_eq!(back, batch);
        assert_eq!(
            back.column(0).as_primitive::<Int64Type>().values().as_ptr(),
            ids.as_primitive::<Int64Type>().values().as_ptr()
        );
    }

    #[test]
    fn null_and_released_structs_are_refused() {
        // SAFETY: null pointers are allowed by the function's checks; the second array is a valid released struct.
        unsafe {
            assert!(import_array(std::ptr::null_mut(), std::ptr::null()).is_err());
            let mut array = FFI_ArrowArray::empty();
            let schema = FFI_ArrowSchema::empty();
            assert!(import_array((&raw mut array).cast(), (&raw const schema).cast()).is_err());
        }
    }
}
