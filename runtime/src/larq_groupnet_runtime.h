/* C interface of liblarq_groupnet_runtime, beside the two functions of an external delegate of
 * TensorFlow Lite, tflite_plugin_create_delegate and tflite_plugin_destroy_delegate.
 *
 * Options of a delegate, keys and values being strings:
 *   num_threads  1 to 64; 1 by default.
 *   kernel       "auto", or one of larq_groupnet_runtime_kernels().
 *   fuse         "1" (default): runs the float operations around binary ones together with them.
 *                "0": runs only LCE's operations.
 *   profile      "1": measures every step; "0" by default.
 *   repeat       Runs every binary convolution this many times, to count its instructions; 1 by
 *                default.
 */
#ifndef LARQ_GROUPNET_RUNTIME_LARQ_GROUPNET_RUNTIME_H_
#define LARQ_GROUPNET_RUNTIME_LARQ_GROUPNET_RUNTIME_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define LARQ_GROUPNET_RUNTIME_API __attribute__((visibility("default")))
#else
#define LARQ_GROUPNET_RUNTIME_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

struct TfLiteDelegate;

typedef void (*larq_groupnet_runtime_report)(const char* message);

/* Returns null, after a message to `report` (may be null), if an option is unknown or invalid. */
LARQ_GROUPNET_RUNTIME_API struct TfLiteDelegate* tflite_plugin_create_delegate(
    const char* const* keys, const char* const* values, size_t num_options,
    larq_groupnet_runtime_report report);

/* Call it after destroying the interpreters that use the delegate. */
LARQ_GROUPNET_RUNTIME_API void tflite_plugin_destroy_delegate(struct TfLiteDelegate* delegate);

LARQ_GROUPNET_RUNTIME_API const char* larq_groupnet_runtime_version(void);

/* The kernels that this machine can run, fastest first, separated by commas. */
LARQ_GROUPNET_RUNTIME_API const char* larq_groupnet_runtime_kernels(void);

/* The kernel that a delegate uses. */
LARQ_GROUPNET_RUNTIME_API const char* larq_groupnet_runtime_kernel(
    const struct TfLiteDelegate* delegate);

/* Profiles the steps of a delegate with the option profile=1: calls `visit` for each step, in
 * execution order, with its name, total seconds and number of runs. Do not call it while an
 * interpreter runs. */
typedef void (*larq_groupnet_runtime_visit)(void* data, const char* name, double seconds,
                                            uint64_t calls);
LARQ_GROUPNET_RUNTIME_API void larq_groupnet_runtime_profile(
    const struct TfLiteDelegate* delegate, larq_groupnet_runtime_visit visit, void* data);

#ifdef __cplusplus
}
#endif

#endif /* LARQ_GROUPNET_RUNTIME_LARQ_GROUPNET_RUNTIME_H_ */
