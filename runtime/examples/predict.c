/* Runs a network with this engine through TensorFlow Lite's C interface.
 *
 *   predict MODEL.tflite INPUT.bin [EXPECTED.bin]
 *
 * INPUT.bin holds samples as raw float32, as larq_groupnet.deploy.verify writes them. Prints the
 * class of each; with EXPECTED.bin, ends with status 1 if one has another class there.
 *
 * C and C++. docs/devices.md says how to compile and link it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "larq_groupnet_runtime.h"
#include "tensorflow/lite/c/c_api.h"

static void fail(const char* message, const char* subject) {
  fprintf(stderr, "predict: %s%s\n", message, subject);
  exit(2);
}

static void report(const char* message) { fprintf(stderr, "predict: %s\n", message); }

/* Reads the floats of a file; the caller frees them. */
static float* read_floats(const char* path, size_t* count) {
  FILE* file = fopen(path, "rb");
  if (!file) fail("cannot read ", path);
  if (fseek(file, 0, SEEK_END)) fail("cannot seek in ", path);
  long size = ftell(file);
  rewind(file);
  *count = size > 0 ? (size_t)size / sizeof(float) : 0;
  float* values = (float*)malloc(*count * sizeof(float) + 1);
  if (!values || fread(values, sizeof(float), *count, file) != *count) fail("cannot read ", path);
  fclose(file);
  return values;
}

static void expect(int right, const char* path, const char* how, size_t floats, size_t count) {
  if (right) return;
  fprintf(stderr, "predict: %s: expected %s%zu floats. Received: %zu\n", path, how, floats, count);
  exit(2);
}

static size_t largest(const float* values, size_t count) {
  size_t best = 0;
  for (size_t i = 1; i < count; i++) {
    if (values[i] > values[best]) best = i;
  }
  return best;
}

int main(int argc, char** argv) {
  if (argc < 3) fail("expected MODEL.tflite INPUT.bin [EXPECTED.bin]", "");
  TfLiteModel* model = TfLiteModelCreateFromFile(argv[1]);
  if (!model) fail("cannot read ", argv[1]);

  const char* keys[] = {"num_threads"};
  const char* values[] = {"2"};
  TfLiteDelegate* engine = tflite_plugin_create_delegate(keys, values, 1, report);
  if (!engine) return 2;
  TfLiteInterpreterOptions* options = TfLiteInterpreterOptionsCreate();
  TfLiteInterpreterOptionsSetNumThreads(options, 2); /* For operations the engine leaves alone. */
  TfLiteInterpreterOptionsAddDelegate(options, engine);
  TfLiteInterpreter* interpreter = TfLiteInterpreterCreate(model, options);
  if (!interpreter || TfLiteInterpreterAllocateTensors(interpreter) != kTfLiteOk) {
    fail("the interpreter does not load ", argv[1]);
  }

  if (TfLiteInterpreterGetInputTensorCount(interpreter) != 1) {
    fail("expected one input in ", argv[1]);
  }
  TfLiteTensor* in = TfLiteInterpreterGetInputTensor(interpreter, 0);
  const TfLiteTensor* out = TfLiteInterpreterGetOutputTensor(interpreter, 0);
  if (TfLiteTensorType(in) != kTfLiteFloat32 || TfLiteTensorType(out) != kTfLiteFloat32) {
    fail("expected floats in and out of ", argv[1]);
  }
  if (TfLiteTensorNumDims(out) < 1 || !TfLiteTensorByteSize(in) || !TfLiteTensorByteSize(out)) {
    fail("expected an input that is not empty, and scores of classes, in ", argv[1]);
  }
  size_t in_size = TfLiteTensorByteSize(in) / sizeof(float);
  size_t out_size = TfLiteTensorByteSize(out) / sizeof(float);
  size_t classes = (size_t)TfLiteTensorDim(out, TfLiteTensorNumDims(out) - 1);

  size_t count, expected_count = 0, wrong = 0;
  float* samples = read_floats(argv[2], &count);
  float* expected = argc > 3 ? read_floats(argv[3], &expected_count) : NULL;
  expect(count && count % in_size == 0, argv[2], "a multiple of ", in_size, count);
  size_t runs = count / in_size, number = 0;
  expect(!expected || expected_count == runs * out_size, argv[3], "", runs * out_size,
         expected_count);
  float* result = (float*)malloc(out_size * sizeof(float));
  if (!result) fail("expected more memory", "");
  for (size_t run = 0; run < runs; run++) { /* Each run is one batch. */
    if (TfLiteTensorCopyFromBuffer(in, samples + run * in_size, in_size * sizeof(float)) ||
        TfLiteInterpreterInvoke(interpreter) ||
        TfLiteTensorCopyToBuffer(out, result, out_size * sizeof(float))) {
      fail("the interpreter does not run ", argv[1]);
    }
    for (size_t i = 0; i < out_size; i += classes) {
      size_t found = largest(result + i, classes);
      if (expected) wrong += found != largest(expected + run * out_size + i, classes);
      if (TfLiteTensorNumDims(out) == 2) printf("sample %zu: class %zu\n", number++, found);
    }
  }
  if (expected) {
    printf("%zu of %zu positions have another class\n", wrong, expected_count / classes);
  }

  free(result);
  free(expected);
  free(samples);
  TfLiteInterpreterDelete(interpreter); /* Before its delegate. */
  TfLiteInterpreterOptionsDelete(options);
  TfLiteModelDelete(model);
  tflite_plugin_destroy_delegate(engine);
  return wrong > 0;
}
