//! Weights and columns that do not fit.

use super::artifact::model;
use ndarray::Array2;
use recs_core::Error;
use recs_core::model::{TowerColumns, TowerModel, Weights};
use recs_core::schema::Tower;
use std::sync::Arc;

fn shape<T>(refused: recs_core::Result<T>) -> (String, Vec<usize>, Vec<usize>) {
    match refused {
        Err(Error::Shape { tensor, expected, got, .. }) => (tensor, expected, got),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("was taken"),
    }
}

#[test]
fn tensors_of_another_number_of_values() {
    let model = model("v1");
    for (wrong, expected) in [
        ("query.dense_0.bias", vec![128]),
        ("candidate.dense_2.bias", vec![32]),
        ("query.dense_1.kernel", vec![128, 64]),
    ] {
        let built = Weights::build(&model.config, &model.vocabulary, |name, shape| {
            Ok(vec![0.5; shape.iter().product::<usize>() + usize::from(name == wrong)])
        });
        let values = expected.iter().product::<usize>() + 1;
        assert_eq!(shape(built), (wrong.into(), expected, vec![values]));
    }
}

#[test]
fn kernels_stand_row_after_row() {
    let model = model("v1");
    let mut weights = (**model.weights.tower(Tower::Query)).clone();
    let kernel = &mut weights.dense[1].kernel;
    let turned: Vec<f32> = kernel.t().iter().copied().collect();
    *kernel = Array2::from_shape_vec((64, 128), turned).unwrap().reversed_axes();
    let refused = TowerModel::new(&model.config, Tower::Query, Arc::new(weights)).unwrap_err().to_string();
    assert!(refused.contains("query.dense_1.kernel") && refused.contains("row after row"), "{refused}");
}

#[test]
fn columns_that_end_early_are_named() {
    let model = model("v1");
    let weights = Arc::clone(model.weights.tower(Tower::Query));
    let tower = TowerModel::new(&model.config, Tower::Query, weights).unwrap();
    let widths = model.config.schema.widths(Tower::Query);
    let whole = TowerColumns {
        rows: 2,
        ids: vec![0; 2 * widths.ids],
        numbers: vec![0.0; 2 * widths.numbers],
        ..TowerColumns::default()
    };
    assert_eq!(tower.embed(&whole).unwrap().nrows(), 2);
    let mut bad = whole.clone();
    bad.numbers.truncate(widths.numbers);
    assert_eq!(shape(tower.embed(&bad)).0, "numbers");
    let mut bad = whole;
    bad.ids.truncate(widths.ids);
    assert_eq!(shape(tower.embed(&bad)).0, "ids");
}
