// Kernels with one planted fault each, for compute-sanitizer to find. The line of each fault ends in its name.

extern "C" __global__ void healthy(float* out, const float* in, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        out[i] = in[i] + 1.0f;
}

extern "C" __global__ void misaligned_read(float* out, const float* in) {
    float4 v = reinterpret_cast<const float4*>(in + 3)[threadIdx.x]; // misaligned_read
    out[threadIdx.x] = v.x + v.y + v.z + v.w;
}

extern "C" __global__ void misaligned_write(float* out) {
    reinterpret_cast<float4*>(out + 1)[threadIdx.x] = make_float4(1, 2, 3, 4); // misaligned_write
}

extern "C" __global__ void read_past_end(float* out, const float* in, int n) {
    int i = threadIdx.x;
    if (i < n)
        out[i] = in[i + 1]; // read_past_end
}

extern "C" __global__ void write_past_end(float* out, int n) {
    out[n] = 1.0f; // write_past_end
}

extern "C" __global__ void read_before(float* out, const float* in) {
    out[0] = in[-1]; // read_before
}

extern "C" __global__ void atomic_past_end(int* out, int n) {
    atomicAdd(out + n, 1); // atomic_past_end
}

extern "C" __global__ void far_away(float* out) {
    out[1ull << 42] = 1.0f; // far_away
}

__device__ __noinline__ float deep(const float* in, int i) {
    return in[i]; // called
}

extern "C" __global__ void called(float* out, const float* in, int n) { out[threadIdx.x] = deep(in, n + threadIdx.x); }

extern "C" __global__ void shared_past_end(float* out, int n) {
    extern __shared__ float tile[];
    tile[threadIdx.x] = 1.0f;
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x + n]; // shared_past_end
}

extern "C" __global__ void local_past_end(float* out, int n) {
    float mine[8];
    for (int i = 0; i < 8; i++)
        mine[i] = out[i];
    reinterpret_cast<volatile float*>(mine)[n] = 2.0f; // local_past_end
    out[0] = mine[threadIdx.x & 7];
}

__device__ __noinline__ int recurse(volatile int* out, int depth) {
    volatile int room[256];
    room[depth & 255] = out[0];
    return depth <= 0 ? room[7] : recurse(out, depth - 1) + room[depth & 255]; // stack_overflow
}

extern "C" __global__ void stack_overflow(int* out, int depth) { out[1] = recurse(out, depth); }

extern "C" __global__ void uninitialised(float* out, const float* in, int n) {
    int i = threadIdx.x;
    if (i < n)
        out[i] = in[i] * 2.0f; // uninitialised
}

extern "C" __global__ void race(float* out) {
    __shared__ float tile[256];
    tile[threadIdx.x] = float(threadIdx.x);            // race writer
    out[threadIdx.x] = tile[(threadIdx.x + 33) % 256]; // race reader
}

extern "C" __global__ void race_of_writers(float* out) {
    __shared__ float sum;
    sum = float(threadIdx.x); // race_of_writers
    __syncthreads();
    out[threadIdx.x] = sum;
}

extern "C" __global__ void divergent_barrier(float* out) {
    if (threadIdx.x < 40)
        __syncthreads(); // divergent_barrier
    out[threadIdx.x] = 1.0f;
}

extern "C" __global__ void bad_warp_mask(int* out) {
    if (threadIdx.x & 1)
        __syncwarp(0x55555555); // bad_warp_mask
    out[threadIdx.x] = 1;
}

extern "C" __global__ void trap(float* out) {
    if (threadIdx.x == 5)
        asm volatile("trap;"); // trap
    out[threadIdx.x] = 1.0f;
}

extern "C" __global__ void heap_double_free(float* out) {
    char* p = static_cast<char*>(malloc(16));
    if (p)
        p[0] = 1;
    free(p);
    free(p); // heap_double_free
    out[0] = 1.0f;
}

extern "C" __global__ void endless(volatile float* out) {
    while (out[0] >= 0.0f) { // endless
    }
}
