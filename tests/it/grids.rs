//! Students whose recurrent weights are in int8.

use vaerr::model::Student;
use vaerr::quant::Grid;

/// The same student with the weights of GRU and head on int8 grids.
pub fn on_grids(mut student: Student) -> Student {
    let (h, f) = (student.spec.hidden, student.spec.features());
    let matrices = [(&mut student.gru.w, f), (&mut student.gru.r, h), (&mut student.head.weight, h)];
    matrices.into_iter().for_each(|(weights, width)| *weights = Grid::round(weights, width).real());
    student
}
