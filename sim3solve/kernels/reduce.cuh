// Sums over a block in a fixed order, so that a result is the same bits in every run. Device only.
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

// The first `count` of at most MOST rows added up in column k, in four chains, so that each waits for a quarter of the additions.
template <int MOST> __device__ __forceinline__ double sum_of_rows(const double (*rows)[N_PADDED], int k, int count) {
    double chain[4] = {};
#pragma unroll
    for (int i = 0; i < MOST; ++i)
        if (i < count)
            chain[i % 4] += rows[i][k];
    return (chain[0] + chain[1]) + (chain[2] + chain[3]);
}

// The block's sums: thread k < N_PADDED gets sum k. `rows`: one for each warp.
template <int WARPS> __device__ __forceinline__ double block_sums(const float (&sums)[N_SUMS], double (*rows)[N_PADDED]) {
    warp_sums(sums, rows[threadIdx.x / 32]);
    __syncthreads();
    return threadIdx.x < N_PADDED ? sum_of_rows<WARPS>(rows, threadIdx.x, WARPS) : 0.0;
}
