//! The Python package `recs`: a thin skin over the crates.
//!
//! ```text
//! frame, dict -> frame, array -> ids, events -> shards in memory -> dataset
//!                                                   dataset -> model -> recommend -> frame
//! ```
//!
//! | file | what |
//! |---|---|
//! | `errors.rs` | errors of the crates -> the exceptions of `recs.errors` |
//! | `runtime.rs` | the one place where the interpreter is released and signals are checked |
//! | `progress.rs` | what a job tells, shown on `sys.stderr` |
//! | `frame.rs` | tables of pandas, polars, pyarrow, dicts, in and out |
//! | `array.rs` | lists and NumPy arrays -> Arrow |
//! | `ids.rs` | ids: any integer or text type -> text, and back |
//! | `events.rs` | columns of a purchase log -> those of the schema, every value checked |
//! | `dataset.rs`, `evaluation.rs`, `model.rs` | the classes |
//! | `params.rs`, `question.rs` | their arguments |
//! | `shards.rs`, `fit.rs`, `recommend.rs` | what their methods run, away from the interpreter |

mod array;
mod dataset;
mod errors;
mod evaluation;
mod events;
mod fit;
mod frame;
mod ids;
mod model;
mod params;
mod progress;
mod question;
mod recommend;
mod runtime;
mod shards;

/// Compiled part of the package `recs`.
#[pyo3::pymodule]
mod _recs {
    use pyo3::prelude::*;
    use std::ffi::OsString;

    #[pymodule_export]
    use crate::dataset::Dataset;
    #[pymodule_export]
    use crate::evaluation::EvaluationResult;
    #[pymodule_export]
    use crate::model::TwoTower;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

    /// Runs the command line; the first argument is the program's name. Gives the exit code.
    #[pyfunction]
    fn run_cli(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
        py.detach(|| recs_cli::run(arguments))
    }
}
