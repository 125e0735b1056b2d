//! What XNNPACK is asked for. tflitec takes the library's defaults and sets the number of threads alone; in TensorFlow 2.9 the
//! defaults leave quantised operators to the slower and inexact built-in kernels. Our header therefore names this function as the
//! source of the defaults.

/// The option struct of TensorFlow 2.9.
#[repr(C)]
#[derive(Debug)]
pub struct XnnpackOptions {
    num_threads: i32,
    flags: u32,
}

/// XNNPACK runs signed int8 operators.
const QS8: u32 = 1;

/// One thread, int8 included.
#[unsafe(no_mangle)]
pub extern "C" fn vaerr_xnnpack_options() -> XnnpackOptions {
    XnnpackOptions { num_threads: 1, flags: QS8 }
}
