//! A host application on arrow2 hands its data to recs-core, and takes data back, without copying a byte.
//!
//! Both sides speak the Arrow C Data Interface (<https://arrow.apache.org/docs/format/CDataInterface.html>): two C
//! structs, one for the data (`ArrowArray`) and one for its type (`ArrowSchema`), of fixed layout in every
//! implementation. Each step prints a line; a step that fails ends the program with another exit code.

mod counted;

use arrow::array::{Array as _, AsArray, RecordBatch};
use arrow::datatypes::{Float32Type, Int64Type};
use arrow2::array::{Array, Float32Array, Int64Array, StructArray, Utf8Array};
use arrow2::datatypes::{DataType, Field};
use arrow2::ffi::{export_array_to_c, export_field_to_c, import_array_from_c, import_field_from_c};
use counted::{Releases, counted};
use recs_core::interop::{export_batch, import_array, import_batch};
use std::error::Error;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    one_column()?;
    let batch = a_table()?;
    and_back(batch)?;
    released_whatever_happens()
}

/// The host's data: one column, with arrow2's own types.
fn products() -> Int64Array {
    Int64Array::from([Some(1_071_939), None, Some(-3), Some(i64::MAX)])
}

/// The host's table. arrow2 has no record batch: a table is a struct array, its fields are the columns.
fn purchases() -> StructArray {
    let customers = Utf8Array::<i32>::from_slice(["c1", "é", "", "a longer customer id"]);
    let revenue = Float32Array::from_slice([9.5, 0.0, 1e-7, 120.25]);
    let columns: Vec<Box<dyn Array>> = vec![customers.boxed(), products().boxed(), revenue.boxed()];
    let fields = vec![
        Field::new("customer_id", DataType::Utf8, false),
        Field::new("product_id", DataType::Int64, true),
        Field::new("revenue", DataType::Float32, false),
    ];
    StructArray::new(DataType::Struct(fields), columns, None)
}

/// 1. A single column: export, hand over two pointers, read.
fn one_column() -> Result<(), Box<dyn Error>> {
    let host = products();
    let (values, validity) = (host.values().as_ptr(), host.validity().map(|v| v.as_slice().0.as_ptr()));

    let mut array = export_array_to_c(host.clone().boxed());
    let schema = export_field_to_c(&Field::new("product_id", DataType::Int64, true));
    // SAFETY: both structs come from arrow2's export and nobody else uses them. The array is moved out and `array` is
    // left released; the schema stays ours and is dropped at the end of this function.
    let imported = unsafe { import_array((&raw mut array).cast(), (&raw const schema).cast()) }?;

    let imported = imported.as_primitive::<Int64Type>();
    assert_eq!(imported.values().as_ptr(), values, "values were copied");
    assert_eq!(imported.nulls().map(|n| n.validity().as_ptr()), validity, "the validity bitmap was copied");
    assert!(imported.iter().eq(host.iter().map(|v| v.copied())), "values differ");
    println!("one column     int64 with nulls: the same values at {values:p}");
    Ok(())
}

/// 2. A table: the struct array becomes a record batch. The host may drop its own handle; the data lives on.
fn a_table() -> Result<RecordBatch, Box<dyn Error>> {
    let host = purchases();
    let theirs = pointers_in_arrow2(&host);

    let schema = export_field_to_c(&Field::new("purchases", host.data_type().clone(), false));
    let mut array = export_array_to_c(host.boxed());
    // SAFETY: as above.
    let batch = unsafe { import_batch((&raw mut array).cast(), (&raw const schema).cast()) }?;

    let customers = batch.column(0).as_string::<i32>();
    let products_in = batch.column(1).as_primitive::<Int64Type>();
    let revenue = batch.column(2).as_primitive::<Float32Type>();
    assert!(customers.iter().eq([Some("c1"), Some("é"), Some(""), Some("a longer customer id")]));
    assert!(products_in.iter().eq(products().iter().map(|v| v.copied())));
    assert_eq!(revenue.values(), &[9.5, 0.0, 1e-7, 120.25]);
    let ours = pointers_in_arrow(&batch);
    assert_eq!(ours, theirs, "a buffer was copied");
    for (field, pointers) in batch.schema().fields().iter().zip(&ours) {
        println!("a table        {} {}: the same values at {pointers:x?}", field.name(), field.data_type());
    }
    Ok(batch)
}

/// 3. The way back: recs-core exports a record batch, arrow2 imports it.
fn and_back(batch: RecordBatch) -> Result<(), Box<dyn Error>> {
    let before = pointers_in_arrow(&batch);
    let (array, schema) = export_batch(batch)?;
    // SAFETY: the structs of both libraries are those of the C Data Interface, so moving from one type to the other
    // changes nothing; each is released by whoever holds it last.
    let (array, schema) = unsafe {
        (
            std::mem::transmute::<arrow::ffi::FFI_ArrowArray, arrow2::ffi::ArrowArray>(array),
            std::mem::transmute::<arrow::ffi::FFI_ArrowSchema, arrow2::ffi::ArrowSchema>(schema),
        )
    };
    // SAFETY: both structs are valid, they were exported above.
    let field = unsafe { import_field_from_c(&schema) }?;
    // SAFETY: as above; the type is the one exported with the array.
    let back = unsafe { import_array_from_c(array, field.data_type) }?;

    let table = back.as_any().downcast_ref::<StructArray>().ok_or("not a struct array")?;
    assert_eq!(table, &purchases(), "values differ after the way there and back");
    assert_eq!(pointers_in_arrow2(table), before, "a buffer was copied on the way back");
    println!(
        "and back       {} columns: equal to what the host built, at the same addresses",
        table.fields().len()
    );
    Ok(())
}

/// 4. Memory: whoever holds the data last releases it, exactly once, also when the other side refuses it.
fn released_whatever_happens() -> Result<(), Box<dyn Error>> {
    let releases = Releases::default();
    let schema = export_field_to_c(&Field::new("purchases", purchases().data_type().clone(), false));

    let mut array = counted(export_array_to_c(purchases().boxed()), &releases);
    // SAFETY: `counted` gives a valid struct of the interface that nobody else uses; the schema is arrow2's own.
    let batch = unsafe { import_batch((&raw mut array).cast(), (&raw const schema).cast()) }?;
    drop(array);
    let one_column = Arc::clone(batch.column(1));
    drop(batch);
    assert_eq!(releases.count(), 0, "released while a column is still in use");
    assert_eq!(one_column.as_primitive::<Int64Type>().value(0), 1_071_939);
    drop(one_column);
    assert_eq!(releases.count(), 1);

    let column = export_field_to_c(&Field::new("product_id", DataType::Int64, true));
    let mut array = counted(export_array_to_c(products().boxed()), &releases);
    // SAFETY: as above.
    let refused = unsafe { import_batch((&raw mut array).cast(), (&raw const column).cast()) };
    assert!(refused.is_err(), "a column is no table");
    drop(array);
    assert_eq!(releases.count(), 2, "refused data is released too");

    drop(counted(export_array_to_c(purchases().boxed()), &releases));
    assert_eq!(releases.count(), 3, "so is what nobody took");
    println!("released       once each: after the last column, after a refusal, and when nobody took it");
    Ok(())
}

/// Address of every buffer of every column: validity (0 without nulls), then offsets of text, then values.
fn pointers_in_arrow2(table: &StructArray) -> Vec<Vec<usize>> {
    let column = |column: &dyn Array| {
        let any = column.as_any();
        let mut at = vec![column.validity().map_or(0, |v| v.as_slice().0.as_ptr().addr())];
        if let Some(text) = any.downcast_ref::<Utf8Array<i32>>() {
            at.extend([text.offsets().buffer().as_ptr().addr(), text.values().as_ptr().addr()]);
        } else if let Some(numbers) = any.downcast_ref::<Int64Array>() {
            at.push(numbers.values().as_ptr().addr());
        } else if let Some(numbers) = any.downcast_ref::<Float32Array>() {
            at.push(numbers.values().as_ptr().addr());
        }
        at
    };
    table.values().iter().map(|c| column(c.as_ref())).collect()
}

/// The same of a record batch.
fn pointers_in_arrow(batch: &RecordBatch) -> Vec<Vec<usize>> {
    let column = |column: &arrow::array::ArrayRef| {
        let validity = column.nulls().map_or(0, |n| n.validity().as_ptr().addr());
        std::iter::once(validity)
            .chain(column.to_data().buffers().iter().map(|b| b.as_ptr().addr()))
            .collect()
    };
    batch.columns().iter().map(column).collect()
}
