// SPECIMEN: a kernel whose strides are long: 64 bits on Linux and 32 on Windows, in device code too.
// The object is made by a C++ compiler, as nvcc would make it of
//     template <typename Scalar> __global__ void copy_rows(const Scalar* from, Scalar* to, long row, long column);
// so that harness audit has something to name on any machine. It is never linked or run: on_cpu.cpp shows what the fault does.

extern "C" void __cudaLaunchKernel(void* host_function, void** arguments);

static void __device_stub__Z9copy_rowsIfEvPKT_PS0_ll(const float* from, float* to, long row, long column);

template <typename Scalar> void copy_rows(const Scalar* from, Scalar* to, long row, long column) {
    __device_stub__Z9copy_rowsIfEvPKT_PS0_ll(from, to, row, column);
}

static void __device_stub__Z9copy_rowsIfEvPKT_PS0_ll(const float* from, float* to, long row, long column) {
    void* arguments[] = {&from, &to, &row, &column};
    __cudaLaunchKernel(reinterpret_cast<void*>(&copy_rows<float>), arguments);
}

void specimen_copy_rows(const float* from, float* to, long row, long column) { copy_rows<float>(from, to, row, column); }
