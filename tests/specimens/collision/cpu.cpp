// The CPU side. Its template has the very name and signature of the kernel in gpu_stand_in.cpp and gpu.cu: that is the fault.
// -DANONYMOUS_NAMESPACE cures it: the name is then this file's own, and no linker may take the two for one.
#include "inverse.h"

#ifdef _WIN32
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C"
#endif

#ifdef ANONYMOUS_NAMESPACE
namespace {
#endif

template <typename Scalar> void inverse_kernel(const Scalar* X, Scalar* Y, int n) {
    for (int i = 0; i < n; ++i) {
        inverse_row(X + 8 * i, Y + 8 * i);
    }
}

#ifdef ANONYMOUS_NAMESPACE
}
#endif

EXPORT int specimen_cpu_inverse(const float* X, float* Y, int n) {
    inverse_kernel<float>(X, Y, n);
    return 0;
}
