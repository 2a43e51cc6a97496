"""The example in C, compiled as C and as C++, on a stand-in for TensorFlow Lite's library.

`arm/prove.py` runs it on Debian's library.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from larq_groupnet_runtime._delegate import library_path

SOURCE = Path(__file__).parents[1] / "examples" / "predict.c"

# A network whose output is the start of its input, both of the shapes in the environment.
_STAND_IN = """
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
typedef struct TfLiteDelegate TfLiteDelegate;
typedef struct { int dims, size[4]; float values[64]; } TfLiteTensor;
typedef struct { int nothing; } TfLiteModel, TfLiteInterpreterOptions, TfLiteInterpreter;
enum { kTfLiteOk, kTfLiteFloat32 };
static TfLiteTensor tensors[2];
static TfLiteModel some;
static TfLiteModel* TfLiteModelCreateFromFile(const char* path) {
  for (int i = 0; i < 2; i++) {
    char* text = getenv(i ? "OUT" : "IN");
    TfLiteTensor* t = tensors + i;
    for (; *text; text += *text == ',') t->size[t->dims++] = strtol(text, &text, 10);
  }
  return path ? &some : NULL;
}
static TfLiteInterpreterOptions* TfLiteInterpreterOptionsCreate(void) { return &some; }
static void TfLiteInterpreterOptionsSetNumThreads(TfLiteInterpreterOptions* o, int n) {
  o->nothing = n;
}
static void TfLiteInterpreterOptionsAddDelegate(TfLiteInterpreterOptions* o, TfLiteDelegate* d) {
  o->nothing = d != NULL;
}
static TfLiteInterpreter* TfLiteInterpreterCreate(TfLiteModel* m, TfLiteInterpreterOptions* o) {
  return m == o ? &some : NULL;
}
static int TfLiteInterpreterAllocateTensors(TfLiteInterpreter* i) { return i != &some; }
static int TfLiteInterpreterGetInputTensorCount(TfLiteInterpreter* i) {
  return i ? atoi(getenv("INPUTS")) : 0;
}
static TfLiteTensor* TfLiteInterpreterGetInputTensor(TfLiteInterpreter* i, int n) {
  return i ? tensors + n : NULL;
}
static const TfLiteTensor* TfLiteInterpreterGetOutputTensor(TfLiteInterpreter* i, int n) {
  return i ? tensors + 1 + n : NULL;
}
static int TfLiteTensorType(const TfLiteTensor* t) { return t ? kTfLiteFloat32 : 0; }
static int TfLiteTensorNumDims(const TfLiteTensor* t) { return t->dims; }
static int TfLiteTensorDim(const TfLiteTensor* t, int n) { return n < 0 ? 0 : t->size[n]; }
static size_t TfLiteTensorByteSize(const TfLiteTensor* t) {
  size_t size = sizeof(float);
  for (int i = 0; i < t->dims; i++) size *= t->size[i];
  return size;
}
static int TfLiteTensorCopyFromBuffer(TfLiteTensor* t, const void* from, size_t size) {
  memcpy(t->values, from, size);
  return 0;
}
static int TfLiteTensorCopyToBuffer(const TfLiteTensor* t, void* to, size_t size) {
  memcpy(to, t->values, size);
  return 0;
}
static int TfLiteInterpreterInvoke(TfLiteInterpreter* i) {
  memcpy(tensors[1].values, tensors[0].values, sizeof tensors[1].values);
  return i != &some;
}
static void TfLiteInterpreterDelete(TfLiteInterpreter* i) { i->nothing = 0; }
static void TfLiteInterpreterOptionsDelete(TfLiteInterpreterOptions* o) { o->nothing = 0; }
static void TfLiteModelDelete(TfLiteModel* m) { m->nothing = 0; }
"""


@pytest.fixture(scope="module", params=["gcc", "g++"])
def program(request, tmp_path_factory):
    if not shutil.which(request.param):
        pytest.skip(f"expected {request.param}")
    folder = tmp_path_factory.mktemp("example")
    header = folder / "tensorflow" / "lite" / "c" / "c_api.h"
    header.parent.mkdir(parents=True)
    header.write_text(_STAND_IN)
    engine = library_path().resolve()
    flags = ["-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"]
    flags += ["-I", str(SOURCE.parents[1] / "src"), "-isystem", str(folder)]
    links = [str(engine), f"-Wl,-rpath,{engine.parent}", "-o", str(folder / "predict")]
    subprocess.run([request.param, *flags, str(SOURCE), *links], check=True)
    return folder / "predict"


def run(program, folder, x, expected=None, inputs=1, shapes=("1,4", "1,3")):
    files = []
    for name, values in (("input.bin", x), ("expected.bin", expected)):
        if values is not None:
            np.asarray(values, np.float32).tofile(folder / name)
            files.append(name)
    shape = dict(zip(("IN", "OUT"), shapes, strict=True))
    environment = {**os.environ, "INPUTS": str(inputs), **shape, "ASAN_OPTIONS": "detect_leaks=0"}
    command = [program, "model.tflite", *files]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=folder, timeout=60
    )


def test_classes_are_printed_and_compared(program, tmp_path):
    x = [0, 1, 0, 9, 1, 0, 0, 9]
    done = run(program, tmp_path, x)
    assert (done.returncode, done.stdout) == (0, "sample 0: class 1\nsample 1: class 0\n")
    done = run(program, tmp_path, x, [0, 1, 0, 0, 0, 1])
    assert done.returncode == 1
    assert done.stdout.endswith("1 of 2 positions have another class\n")


def test_batches_are_printed_sample_by_sample(program, tmp_path):
    x = [0, 1, 1, 0, 0, 1, 0, 1]
    done = run(program, tmp_path, x, shapes=("2,2", "2,2"))
    expected = "".join(f"sample {i}: class {label}\n" for i, label in enumerate([1, 0, 1, 1]))
    assert (done.returncode, done.stdout) == (0, expected)


@pytest.mark.parametrize(
    ("x", "expected", "other", "message"),
    [
        ([1] * 4, None, {"inputs": 2}, "expected one input in model.tflite"),
        ([1] * 4, None, {"shapes": ("0,4", "1,3")}, "expected an input that is not empty"),
        ([1] * 4, None, {"shapes": ("1,4", "")}, "and scores of classes, in model.tflite"),
        ([1] * 4, None, {"shapes": ("1,4", "1,0")}, "and scores of classes, in model.tflite"),
        ([1] * 6, None, {}, "input.bin: expected a multiple of 4 floats. Received: 6"),
        ([], None, {}, "input.bin: expected a multiple of 4 floats. Received: 0"),
        ([1] * 8, [1] * 3, {}, "expected.bin: expected 6 floats. Received: 3"),
        ([1] * 4, None, {"shapes": ("2,4", "2,3")}, "expected a multiple of 8 floats. Received: 4"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(program, tmp_path, x, expected, other, message):
    done = run(program, tmp_path, x, expected, **other)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and done.stderr.count("\n") == 1
