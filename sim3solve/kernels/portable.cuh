// What lets the same source be a CUDA kernel (NVRTC, no headers but ours) and host C++: qualifiers, fixed-width types, float maths.
// `long` never appears: it has 32 bits on Windows and 64 on Linux, in device code too.
#pragma once

#if defined(__CUDACC__)
#define SIM3_FN __host__ __device__ __forceinline__
using int32 = int;
using int64 = long long;
using uint8 = unsigned char;
#define SIM3_UNROLL _Pragma("unroll")
#define SIM3_ROLLED _Pragma("unroll 1")
#else
#define SIM3_ROLLED
#include <math.h>
#include <stdint.h>
#define SIM3_FN inline
using int32 = int32_t;
using int64 = int64_t;
using uint8 = uint8_t;
#if defined(__clang__)
#define SIM3_UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define SIM3_UNROLL _Pragma("GCC unroll 8")
#else
#define SIM3_UNROLL
#endif
#endif

static_assert(sizeof(int32) == 4 && sizeof(int64) == 8, "fixed-width types");

// A finite number minus itself is zero; NaN and infinities give NaN. Survives compilers that know no isfinite.
SIM3_FN bool is_finite(float x) { return x - x == 0.0f; }
#if defined(__CUDA_ARCH__)
SIM3_FN bool is_finite(double x) {
    return (__double2hiint(x) & 0x7FF00000) != 0x7FF00000;
} // no arithmetic in double: that takes long
#else
SIM3_FN bool is_finite(double x) { return x - x == 0.0; }
#endif

// A NaN that no compiler folds into an error, as it may 0.0f / 0.0f.
SIM3_FN float quiet_nan() {
    union {
        int32 bits;
        float value;
    } nan;
    nan.bits = 0x7FC00000;
    return nan.value;
}
