//! `farm_fingerprint(text)`: the function of BigQuery's name, with its answers.

use ::datafusion::common::{Result, ScalarValue, exec_err};
use ::datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::DataType;
use recs_core::hash::fingerprint64;
use std::sync::Arc;

/// FarmHash Fingerprint64 of the UTF-8 bytes, as a signed integer; null of null.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct FarmFingerprint {
    signature: Signature,
}

impl FarmFingerprint {
    pub(super) fn new() -> Self {
        let text = [DataType::Utf8, DataType::Utf8View, DataType::LargeUtf8];
        let one = text.into_iter().map(|t| TypeSignature::Exact(vec![t])).collect();
        Self { signature: Signature::one_of(one, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for FarmFingerprint {
    fn name(&self) -> &str {
        "farm_fingerprint"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match arguments.args.as_slice() {
            [ColumnarValue::Array(texts)] => Ok(ColumnarValue::Array(of_array(texts)?)),
            [ColumnarValue::Scalar(text)] => {
                let text = text.try_as_str().flatten();
                Ok(ColumnarValue::Scalar(ScalarValue::Int64(text.map(of_text))))
            }
            other => exec_err!("farm_fingerprint takes one text, got {} arguments", other.len()),
        }
    }
}

fn of_text(text: &str) -> i64 {
    fingerprint64(text.as_bytes()).cast_signed()
}

fn of_array(texts: &ArrayRef) -> Result<ArrayRef> {
    Ok(match texts.data_type() {
        DataType::Utf8 => of_texts(texts.as_string::<i32>().iter()),
        DataType::LargeUtf8 => of_texts(texts.as_string::<i64>().iter()),
        DataType::Utf8View => of_texts(texts.as_string_view().iter()),
        other => return exec_err!("farm_fingerprint takes text, got {other}"),
    })
}

fn of_texts<'a>(texts: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(texts.map(|text| text.map(of_text)).collect::<Int64Array>())
}
