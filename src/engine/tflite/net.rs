//! A loaded file with its interpreter, in one value.

use super::{options, refused};
use crate::error::{Error, Result};
use std::mem::transmute;
use std::ptr::NonNull;
use tflitec::interpreter::{Interpreter, Options};
use tflitec::model::Model;
use tflitec::tensor::Tensor;

/// An interpreter that owns its model, with its inputs and outputs looked up once, so that a run allocates nothing.
pub struct Net {
    // In the order in which they are dropped: each refers to the next.
    inputs: [Tensor<'static>; 2],
    outputs: [Tensor<'static>; 2],
    interpreter: Interpreter<'static>,
    _owned: Owned,
}

/// The file and the model that reads it.
struct Owned {
    model: NonNull<Model<'static>>,
    file: NonNull<[u8]>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: both were leaked from boxes in `load` and are freed here alone, the reader first. The interpreter, which reads
        // both, is gone: it stands before this field in `Net`, and is the younger local in `Net::open`.
        unsafe {
            drop(Box::from_raw(self.model.as_ptr()));
            drop(Box::from_raw(self.file.as_ptr()));
        }
    }
}

// SAFETY: interpreter, model and tensors are used through `&mut self` or dropped with it, so by one thread at a time; TensorFlow
// Lite keeps nothing of them in thread-local storage, and XNNPACK with one thread starts none.
unsafe impl Send for Net {}

fn load(file: Vec<u8>) -> Result<(Owned, &'static Model<'static>)> {
    let file = NonNull::from(Box::leak(file.into_boxed_slice()));
    // SAFETY: live, never written, and freed by `Owned` after the last use of the reference.
    let bytes: &'static [u8] = unsafe { file.as_ref() };
    match Model::from_bytes(bytes) {
        Ok(model) => {
            let model = NonNull::from(Box::leak(Box::new(model)));
            // SAFETY: as above.
            Ok((Owned { model, file }, unsafe { model.as_ref() }))
        }
        Err(e) => {
            // SAFETY: leaked above; no model was made, so nothing else refers to it.
            drop(unsafe { Box::from_raw(file.as_ptr()) });
            Err(refused("does not read the graph", e))
        }
    }
}

fn has_bytes(tensor: &Tensor<'_>, want: usize) -> Result<()> {
    let have = tensor.data::<u8>().len();
    if have == want {
        return Ok(());
    }
    let what = format!("tensor {} of the graph has {have} bytes, expected {want}", tensor.name());
    Err(Error::unsupported(what).at("engine tflite"))
}

impl Net {
    /// Loads a file of two inputs and two outputs of the given sizes in bytes, and runs it once.
    ///
    /// # Errors
    /// If the library refuses any part of the graph.
    pub fn open(file: Vec<u8>, inputs: [usize; 2], outputs: [usize; 2]) -> Result<Self> {
        let (owned, model) = load(file)?;
        log::debug!("XNNPACK options: {:?}", options::vaerr_xnnpack_options());
        let wanted = Options { thread_count: 1, is_xnnpack_enabled: true };
        let interpreter = Interpreter::new(model, Some(wanted)).map_err(|e| refused("refuses an operator", e))?;
        interpreter.allocate_tensors().map_err(|e| refused("refuses the graph", e))?;
        if (interpreter.input_tensor_count(), interpreter.output_tensor_count()) != (2, 2) {
            return Err(Error::unsupported("the graph has not a student's inputs and outputs").at("engine tflite"));
        }
        interpreter.invoke().map_err(|e| refused("cannot run the graph", e))?;
        let lookup = |found: tflitec::Result<Tensor<'_>>, bytes: usize| -> Result<Tensor<'static>> {
            let tensor = found.map_err(|e| refused("hides a tensor", e))?;
            has_bytes(&tensor, bytes)?;
            // SAFETY: a tensor points into the C interpreter, not at the Rust value, and `Net` drops it before the interpreter. Its
            // data stay in place, because no input is resized and nothing allocated again.
            Ok(unsafe { transmute::<Tensor<'_>, Tensor<'static>>(tensor) })
        };
        Ok(Self {
            inputs: [lookup(interpreter.input(0), inputs[0])?, lookup(interpreter.input(1), inputs[1])?],
            outputs: [lookup(interpreter.output(0), outputs[0])?, lookup(interpreter.output(1), outputs[1])?],
            interpreter,
            _owned: owned,
        })
    }

    /// One run: bytes and f32 in, f32 out.
    ///
    /// # Errors
    /// If the library fails; what was put out is then of no use.
    pub fn run(&mut self, bytes: &[u8], floats: &[f32], first: &mut [f32], second: &mut [f32]) -> Result<()> {
        self.inputs[0].set_data(bytes).map_err(|e| refused("takes no input", e))?;
        self.inputs[1].set_data(floats).map_err(|e| refused("takes no input", e))?;
        let failed = |_| Error::device("TensorFlow Lite failed in a step").at("engine tflite");
        self.interpreter.invoke().map_err(failed)?;
        first.copy_from_slice(self.outputs[0].data());
        second.copy_from_slice(self.outputs[1].data());
        Ok(())
    }
}
