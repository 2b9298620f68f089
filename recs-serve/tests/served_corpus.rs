//! The fuzz corpus of models as they are served, replayed on stable: what is not refused answers without harm.
//!
//! `RECS_MAKE_CORPUS=1` writes the valid files anew, for a new version of the format.

use crate::artifact::{host, thin_artifacts};
use recs_serve::Error;
use recs_serve::index::IndexConfig;
use recs_serve::model::{ServingModel, ask_all};
use std::path::Path;
use std::sync::Arc;

#[test]
fn served_model_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/served_model");
    for (name, artifact) in thin_artifacts() {
        let model = ServingModel::new(Arc::new(artifact)).unwrap().prepared(&IndexConfig::default()).unwrap();
        let (mut bytes, path) = (Vec::new(), folder.join(name));
        model.write(&mut bytes, &path).unwrap();
        if std::env::var_os("RECS_MAKE_CORPUS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        // A file of this format opens for ever.
        assert!(std::fs::read(&path).unwrap() == bytes, "{name}: another format needs another version");
    }
    let mut answered = 0;
    for path in std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()) {
        let bytes = std::fs::read(&path).unwrap();
        match ServingModel::read_signed(&bytes).and_then(|model| ask_all(model, &host())) {
            Ok(()) => answered += 1,
            Err(Error::Core(_) | Error::Model { .. } | Error::Index { .. }) => {}
            Err(other) => panic!("{}: {other}", path.display()),
        }
    }
    assert!(answered >= 2, "valid files are in the corpus too");
}
