// What a solve cannot do without, each by itself. Compiled behind sim3solve/kernels/gauss_newton.cu, whose reading and arithmetic
// it uses.

extern "C" __global__ void __launch_bounds__(BLOCK, 1) floor_empty() {}

// One barrier over all blocks, `rounds` times: the blocks count on, and wait for the count.
extern "C" __global__ void __launch_bounds__(BLOCK, 1) floor_barriers(unsigned* counter, int32 rounds) {
    __shared__ unsigned start;
    if (threadIdx.x == 0) // counts on from launch to launch; a launch adds a multiple of gridDim
        start = *(volatile unsigned*)counter / (gridDim.x * rounds) * (gridDim.x * rounds);
    __syncthreads();
    for (unsigned round = 1; round <= rounds; ++round) {
        __syncthreads();
        if (threadIdx.x == 0) {
            asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
            unsigned seen;
            do {
                asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(counter) : "memory");
            } while (seen - start < gridDim.x * round);
        }
        __syncthreads();
    }
}

// Reads every input once, keeps the points on chip, and then adds them all up `rounds` times at one pose. No sum leaves a thread.
extern "C" __global__ void __launch_bounds__(BLOCK, 1)
    floor_arithmetic(const __grid_constant__ Problem problem, const __grid_constant__ Launch launch, int32 rounds, float* sink) {
    Share share = share_of(problem, int(blockIdx.x), int(gridDim.x), launch.kept);
    float bad = 0.0f, total = 0.0f;
    stream<RayDist>(
        problem, share, 0, bad,
        [&](int k, const Point& p) {
            if (k < share.kept)
                keep(p, k);
        },
        [] {});
    Affine T = {{{1, 0, 0, 0.1f}, {0, 1, 0, 0.1f}, {0, 0, 1, 0.1f}}};
    float sums[N_SUMS] = {};
    for (int round = 0; round < rounds; ++round) {
        T.m[0][3] += 1e-3f; // so that no round is another's
        add_all<RayDist>(problem, problem.options, T, share, sums);
    }
    for (int i = 0; i < N_SUMS; ++i)
        total += sums[i];
    if (total + bad == 12345.678f) // never, but the compiler cannot know
        *sink = total;
}
