// The GPU side without a GPU: by hand what nvcc makes of gpu.cu, on the stand-in device of device.cpp.
// A kernel template becomes a host function of the same mangled name, the launch stub, which is weak as every template is.
#include "device.h"
#include "inverse.h"

#ifdef _WIN32
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C"
#endif

static void __device_stub__Z14inverse_kernelIfEvPKT_PS0_i(const float* X, float* Y, int n);

template <typename Scalar> void inverse_kernel(const Scalar* X, Scalar* Y, int n) {
    __device_stub__Z14inverse_kernelIfEvPKT_PS0_i(X, Y, n);
}

// What would be compiled for the GPU.
static void on_device(void** arguments) {
    const float* X = *static_cast<const float**>(arguments[0]);
    float* Y = *static_cast<float**>(arguments[1]);
    for (int i = 0; i < *static_cast<int*>(arguments[2]); ++i) {
        inverse_row(X + 8 * i, Y + 8 * i);
    }
}

static void __device_stub__Z14inverse_kernelIfEvPKT_PS0_i(const float* X, float* Y, int n) {
    void* arguments[] = {&X, &Y, &n};
    __cudaLaunchKernel(reinterpret_cast<void*>(&inverse_kernel<float>), arguments);
}

static const bool registered = __cudaRegisterFunction(reinterpret_cast<void*>(&inverse_kernel<float>), on_device);

EXPORT int specimen_gpu_inverse(const float* X, float* Y, int n) {
    if (!registered) {
        return 1;
    }
    const unsigned long long bytes = 32ull * static_cast<unsigned>(n);
    float* X_device = static_cast<float*>(device_allocate(bytes));
    float* Y_device = static_cast<float*>(device_allocate(bytes));
    if (X_device == nullptr || Y_device == nullptr) {
        return 2;
    }
    device_copy(X_device, X, bytes);
    inverse_kernel<float>(X_device, Y_device, n);
    device_copy(Y, Y_device, bytes);
    device_free(X_device, bytes);
    device_free(Y_device, bytes);
    return 0;
}
