/* As the library of TensorFlow 2.9 has it: the struct is 8 bytes and returned in a register. Later versions grew it: do not mix.
   The defaults are our own function (src/engine/tflite/options.rs), because the library's leave int8 out. */
#include "tensorflow/lite/c/c_api.h"
typedef struct { int32_t num_threads; uint32_t flags; } TfLiteXNNPackDelegateOptions;
TfLiteXNNPackDelegateOptions TfLiteXNNPackDelegateOptionsDefault(void) __asm__("vaerr_xnnpack_options");
TfLiteDelegate *TfLiteXNNPackDelegateCreate(const TfLiteXNNPackDelegateOptions *options);
void TfLiteXNNPackDelegateDelete(TfLiteDelegate *delegate);
