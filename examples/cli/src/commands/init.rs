//! `recs init`.

use crate::config::TEMPLATE;
use crate::error::{Error, Result};
use crate::output::Report;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

pub(super) fn run(path: &Path) -> Result<Report> {
    let fail = |source| Error::File { path: path.into(), source };
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(fail)?;
    file.write_all(TEMPLATE.as_bytes()).map_err(fail)?;
    let mut report = Report::default();
    report.line(format!("wrote {}: name your tables there, then run `recs extract`", path.display()));
    report.set("config", path.display().to_string());
    Ok(report)
}
