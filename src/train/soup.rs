//! The mean of several students' weights: a model soup (Wortsman et al. 2022, arXiv 2203.05482).
//!
//! It reads better than each where trainings went on from the same student, so that their errors lie in one basin; of students of
//! separate beginnings it reads nothing.

use crate::error::{Error, Result};
use crate::model::{Conv, Gru, Linear, Student, Trunk};

/// The student whose every weight is the mean of those of `students`, in f64.
///
/// # Errors
/// If there is none, they are not of one shape, or one is not fp32.
pub fn mean(students: &[Student]) -> Result<Student> {
    let Some(first) = students.first() else { return Err(Error::usage("no student to take the mean of")) };
    if students.iter().any(|s| s.spec != first.spec) {
        return Err(Error::usage("the students to start from are not of one size")
            .remedy("take the mean of students of one size, or start from one of them"));
    }
    let trunks = students.iter().map(|s| match &s.trunk {
        Trunk::Fp32(convs) => Ok(convs),
        Trunk::Int8(_) => Err(Error::usage("an int8 student cannot be trained on").remedy("take its fp32 student")),
    });
    let trunks = trunks.collect::<Result<Vec<_>>>()?;
    let conv = |i: usize| Conv { weight: mean_of(&trunks, |t| &t[i].weight), bias: mean_of(&trunks, |t| &t[i].bias) };
    let student = Student {
        spec: first.spec.clone(),
        trunk: Trunk::Fp32((0..first.spec.convs.len()).map(conv).collect()),
        gru: Gru {
            w: mean_of(students, |s| &s.gru.w),
            r: mean_of(students, |s| &s.gru.r),
            wb: mean_of(students, |s| &s.gru.wb),
            rb: mean_of(students, |s| &s.gru.rb),
        },
        head: Linear { weight: mean_of(students, |s| &s.head.weight), bias: mean_of(students, |s| &s.head.bias) },
    };
    student.validate()?;
    Ok(student)
}

/// Mean over `all` of what `part` is in each, value by value.
fn mean_of<T>(all: &[T], part: impl Fn(&T) -> &Vec<f32>) -> Vec<f32> {
    let n = all.len() as f64;
    (0..part(&all[0]).len()).map(|k| (all.iter().map(|x| f64::from(part(x)[k])).sum::<f64>() / n) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::StudentSpec;
    use crate::train::fold::fold;
    use crate::train::net::StudentNet;
    use burn::module::Module;
    use burn::tensor::Device;

    fn student(spec: &StudentSpec, seed: u64) -> Student {
        fold(&StudentNet::new(spec, seed, &Device::flex().autodiff()).valid(), spec).unwrap()
    }

    #[test]
    fn every_weight_is_the_mean_and_one_student_is_itself() {
        let spec = StudentSpec::pico();
        let [a, b] = [student(&spec, 1), student(&spec, 2)];
        assert_eq!(mean(std::slice::from_ref(&a)).unwrap(), a);
        let between = mean(&[a.clone(), b.clone()]).unwrap();
        assert_eq!(mean(&[b.clone(), a.clone()]).unwrap(), between);
        let parts = |s: &Student| {
            let Trunk::Fp32(convs) = &s.trunk else { unreachable!() };
            let mut all =
                [&s.gru.w, &s.gru.r, &s.gru.wb, &s.gru.rb, &s.head.weight, &s.head.bias].map(Vec::clone).to_vec();
            all.extend(convs.iter().flat_map(|c| [c.weight.clone(), c.bias.clone()]));
            all.concat()
        };
        let (a, b, between) = (parts(&a), parts(&b), parts(&between));
        assert!(a != b && a.iter().zip(&b).zip(&between).all(|((a, b), m)| ((a + b) / 2.0 - m).abs() < 1e-6));
    }

    #[test]
    fn none_and_other_sizes_are_refused() {
        assert!(mean(&[]).is_err());
        let two = [student(&StudentSpec::pico(), 1), student(&StudentSpec::nano(), 1)];
        let told = mean(&two).unwrap_err().to_string();
        assert!(told.contains("not of one size"), "{told}");
    }
}
