// The GPU side for a GPU. Whether its launch stub collides with cpu.cpp is up to nvcc's -static-global-template-stub.
#include <cuda_runtime.h>

#include "inverse.h"

template <typename Scalar> __global__ void inverse_kernel(const Scalar* X, Scalar* Y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        inverse_row(X + 8 * i, Y + 8 * i);
    }
}

extern "C" int specimen_gpu_inverse(const float* X, float* Y, int n) {
    const size_t bytes = sizeof(float) * 8 * static_cast<size_t>(n);
    float *X_device = nullptr, *Y_device = nullptr;
    cudaError_t status = cudaMalloc(&X_device, bytes);
    status = status != cudaSuccess ? status : cudaMalloc(&Y_device, bytes);
    status = status != cudaSuccess ? status : cudaMemcpy(X_device, X, bytes, cudaMemcpyHostToDevice);
    if (status == cudaSuccess) {
        inverse_kernel<float><<<(n + 127) / 128, 128>>>(X_device, Y_device, n);
        status = cudaGetLastError();
    }
    status = status != cudaSuccess ? status : cudaMemcpy(Y, Y_device, bytes, cudaMemcpyDeviceToHost);
    cudaFree(X_device);
    cudaFree(Y_device);
    return static_cast<int>(status);
}
