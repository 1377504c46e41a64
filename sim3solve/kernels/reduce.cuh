// Sums over a block and over the grid in a fixed order, so that a result is the same bits in every run. Device only.
#pragma once
#include "normal_equations.cuh"

constexpr int N_PADDED = 40; // 32 sums folded over 32 lanes, 8 over 8

// Each exchange halves the values a lane holds and the lanes that hold a value: N - 1 shuffles instead of N log2(32). Recursive,
// so that every index is a constant and the values stay in registers. Exchanges over M, M / 2, ... down to END lanes.
template <int M, int END, class F, int N> __device__ __forceinline__ void fold(F (&v)[N], int lane) {
    if constexpr (M >= END) {
        bool upper = lane & M;
#pragma unroll
        for (int i = 0; i < M; ++i) {
            F give = upper ? v[i] : v[i + M];
            F keep = upper ? v[i + M] : v[i];
            v[i] = keep + __shfl_xor_sync(0xFFFFFFFFu, give, M);
        }
        fold<M / 2, END>(v, lane);
    }
}

// Sums of all threads' `sums` over the warp: row[k] gets sum k. The first two exchanges are of floats, since turning every float
// of every lane into a double would take longer than all the rest; from then on doubles, so that points on a line are still told
// from points that are not (MIN_PIVOT).
__device__ __forceinline__ void warp_sums(const float (&sums)[N_SUMS], double* row) {
    int lane = threadIdx.x & 31;
    float a[32], b[8];
#pragma unroll
    for (int i = 0; i < 32; ++i)
        a[i] = sums[i];
#pragma unroll
    for (int i = 0; i < 8; ++i)
        b[i] = 32 + i < N_SUMS ? sums[32 + i < N_SUMS ? 32 + i : 0] : 0.0f;
    fold<16, 8>(a, lane);
    fold<4, 2>(b, lane);
    double c[8], d[2];
#pragma unroll
    for (int i = 0; i < 8; ++i)
        c[i] = a[i];
    d[0] = b[0];
    d[1] = b[1];
    fold<4, 1>(c, lane);
    fold<1, 1>(d, lane);
    d[0] += __shfl_xor_sync(0xFFFFFFFFu, d[0], 8);
    d[0] += __shfl_xor_sync(0xFFFFFFFFu, d[0], 16);
    row[lane] = c[0];
    if (lane < 8)
        row[32 + lane] = d[0];
}

// Waits until all `blocks` of a group are here. `arrived` counts on for ever within a launch; `round` is 1 at the first barrier.
// The release and acquire make what any thread of a block wrote before visible to all threads of all blocks after.
__device__ __forceinline__ void grid_barrier(unsigned* arrived, unsigned blocks, unsigned round) {
    __syncthreads();
    if (threadIdx.x == 0) {
        asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(arrived) : "memory");
        unsigned seen;
        do {
            asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(arrived) : "memory");
        } while (seen < blocks * round);
    }
    __syncthreads();
}

// The sums over the partial sums of all blocks (`partials`: [blocks][N_PADDED]) into totals[N_SUMS], by the whole block. Slices of
// the blocks are added side by side, so that the loads of all threads are under way at once, then the slices in order.
template <int THREADS>
__device__ __forceinline__ void sum_over_blocks(const double* partials, int blocks, double (*rows)[N_PADDED], double* totals) {
    constexpr int SLICES = THREADS / N_PADDED, AHEAD = 16;
    int slice = threadIdx.x / N_PADDED, k = threadIdx.x % N_PADDED;
    if (slice < SLICES) {
        double sum = 0.0;
        for (int b = slice; b < blocks; b += SLICES * AHEAD) {
            double next[AHEAD];
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                int from = b + i * SLICES;
                next[i] = from < blocks ? __ldcg(partials + from * N_PADDED + k) : 0.0;
            }
#pragma unroll
            for (int i = 0; i < AHEAD; ++i)
                sum += next[i];
        }
        rows[slice][k] = sum;
    }
    __syncthreads();
    if (threadIdx.x < N_SUMS) {
        double sum = 0.0;
#pragma unroll
        for (int i = 0; i < SLICES; ++i)
            sum += rows[i][threadIdx.x];
        totals[threadIdx.x] = sum;
    }
    __syncthreads();
}
