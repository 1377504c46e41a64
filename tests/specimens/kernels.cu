// Known-bad kernels, one fault each, as they stand in real code: most copy the points of a frame, and go wrong on the way.
// Compiled by gpu_launch.py. What must be found in each is in table.toml. Never link any of this into anything.

// Rows of three floats begin at multiples of 12 bytes: three of four are no place to load 16 bytes from.
extern "C" __global__ void specimen_float4_load(const float* from, float4* padded, int rows) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows)
        return;
    if (i == rows - 1) { // no fault here: the last row's float4 would reach past the end, which is another specimen's matter
        padded[i] = make_float4(from[3 * i], from[3 * i + 1], from[3 * i + 2], 0);
        return;
    }
    padded[i] = *reinterpret_cast<const float4*>(from + 3 * i);
}

// Reads one float too many. In a pool the next tensor's memory is there to be read, and the value is never used.
extern "C" __global__ void specimen_past_the_end(const float* from, float* to, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i <= count)
        to[i] = from[i];
}

// Adds to an accumulator that nobody has set to zero.
extern "C" __global__ void specimen_uninitialised_sum(const float* from, float* sum, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count)
        sum[i] += from[i];
}

// Threads load the block's rows together, float by float, and then each reads a row that other threads have loaded.
extern "C" __global__ void specimen_missing_barrier(const float* from, float* to, int rows) {
    __shared__ float tile[3 * 256];
    int first = blockIdx.x * 256;
    int here = min(256, rows - first);
    for (int k = threadIdx.x; k < 3 * here; k += 256)
        tile[k] = from[3 * first + k];
    // __syncthreads() is missing here.
    if (threadIdx.x >= here)
        return;
    for (int c = 0; c < 3; ++c)
        to[3 * (first + threadIdx.x) + c] = tile[3 * threadIdx.x + c];
}

// Only threads that have a number to copy wait at the barrier. The first 8 have none, so that a warp is split whatever `count` is,
// and they are still there while the others wait: threads that have left count as having arrived.
extern "C" __global__ void specimen_divergent_barrier(const float* from, float* padded, int count) {
    __shared__ float tile[160];
    int at = blockIdx.x * blockDim.x + threadIdx.x, i = at - 8;
    bool has = i >= 0 && i < count;
    tile[threadIdx.x] = has ? from[i] : 0;
    if (has)
        __syncthreads();
    padded[at] = tile[threadIdx.x];
}

// The warp reduction of textbooks before 2017: volatile, and no __syncwarp(), as if 32 threads still moved in step.
extern "C" __global__ void specimen_old_warp_sum(const float* from, float* sums, int count) {
    __shared__ volatile float lane[64];
    int i = blockIdx.x * 32 + threadIdx.x;
    lane[threadIdx.x] = i < count ? from[i] : 0;
    lane[threadIdx.x + 32] = 0;
    lane[threadIdx.x] += lane[threadIdx.x + 16];
    lane[threadIdx.x] += lane[threadIdx.x + 8];
    lane[threadIdx.x] += lane[threadIdx.x + 4];
    lane[threadIdx.x] += lane[threadIdx.x + 2];
    lane[threadIdx.x] += lane[threadIdx.x + 1];
    if (threadIdx.x == 0)
        sums[blockIdx.x] = lane[0];
}

// A median by bisection that ends when the interval is empty, which an interval of floats never is: it calls itself for ever.
__device__ __noinline__ float median_between(const float* x, int count, float low, float high) {
    volatile float votes[64];
    float middle = 0.5f * (low + high);
    for (int i = 0; i < count; ++i)
        votes[i & 63] = x[i] < middle ? 1.0f : -1.0f;
    float below = 0;
    for (int i = 0; i < count; ++i)
        below += votes[i & 63];
    if (low > high)
        return middle;
    float found = below > 0 ? median_between(x, count, low, middle) : median_between(x, count, middle, high);
    return found + 0 * votes[0];
}

extern "C" __global__ void specimen_endless_recursion(const float* x, float* median, int count) {
    *median = median_between(x, count < 64 ? count : 64, -1e3f, 1e3f);
}

// Waits at a barrier for one block more than was launched.
extern "C" __global__ void specimen_endless_wait(volatile unsigned int* arrived) {
    if (threadIdx.x == 0) {
        atomicAdd(const_cast<unsigned int*>(arrived), 1u);
        while (*arrived < gridDim.x + 1) {
        }
    }
}

// No fault in these: how they are launched is one.
extern "C" __global__ void specimen_copy(const float* from, float* to, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count)
        to[i] = from[i];
}
