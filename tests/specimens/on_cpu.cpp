// Known-bad functions of a CPU solver, one fault each: they copy the points of a frame, and go wrong on the way.
// Compiled by on_cpu.py. What must be found in each is in table.toml. Never link any of this into anything.

#include <cstdint>
#include <cstdlib>

#if defined(_MSC_VER)
#include <emmintrin.h>
#define EXPORT extern "C" __declspec(dllexport)
using Four = __m128;
#else
#define EXPORT extern "C" __attribute__((visibility("default"), noinline))
using Four = float __attribute__((vector_size(16)));
#endif

// What MSVC calls long is 32 bits wide everywhere, what other compilers call so is 64 on today's machines. -DLONG=int32_t shows it
// anywhere.
#ifndef LONG
#define LONG long
#endif

// No fault: what the others are compared with.
EXPORT void sim3solve_specimen_copy(const float* from, float* to, int64_t count) {
    for (int64_t i = 0; i < count; ++i)
        to[i] = from[i];
}

// Rows of three floats begin at multiples of 12 bytes: three of four are no place to load 16 bytes from.
EXPORT void sim3solve_specimen_wide_load(const float* from, float* padded, int64_t rows) {
    for (int64_t i = 0; i < rows - 1; ++i)
        reinterpret_cast<Four*>(padded)[i] = *reinterpret_cast<const Four*>(from + 3 * i);
    for (int c = 0; c < 3; ++c)
        padded[4 * (rows - 1) + c] = from[3 * (rows - 1) + c];
}

// Reads one float too many, and never uses it.
EXPORT void sim3solve_specimen_past_the_end(const float* from, float* room, int64_t count) {
    for (int64_t i = 0; i <= count; ++i)
        room[i] = from[i];
}

// Adds to an accumulator that nobody has set to zero.
EXPORT void sim3solve_specimen_uninitialised_sum(const float* from, float* to, int64_t count) {
    float* sum = static_cast<float*>(std::malloc(count * sizeof(float)));
    for (int64_t i = 0; i < count; ++i)
        sum[i] += from[i];
    for (int64_t i = 0; i < count; ++i)
        to[i] = sum[i];
    std::free(sum);
}

// Takes shape and strides (in bytes) as long. The caller writes them as int64, as torch and NumPy have them.
EXPORT void sim3solve_specimen_long_strides(const char* from, float* to, const LONG* shape, const LONG* strides) {
    for (LONG i = 0; i < shape[0]; ++i)
        for (LONG c = 0; c < 3; ++c)
            to[3 * i + c] = *reinterpret_cast<const float*>(from + i * strides[0] + c * strides[1]);
}
