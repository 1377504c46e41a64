// The fused solver: all iterations in one cooperative launch; and the same in several launches, for GPUs or drivers without it.
//
// Each thread keeps TILE points in registers, read from memory once; what does not fit is streamed in every iteration. A block
// writes its partial sums; after one barrier over the blocks of a problem, every block adds them all up, in the same fixed order,
// and takes the same step by itself: that costs less than a second barrier to hand the pose out, and every block gets the same
// bits.
#include "gauss_newton.cuh"
#include "reduce.cuh"
#include "residual.cuh"

#ifndef BLOCK
#define BLOCK 384
#endif
#ifndef TILE
#define TILE 4
#endif
#ifndef STREAM
#define STREAM 4 // points read ahead of what does not fit in the tile
#endif
constexpr int WARPS = BLOCK / 32;

// One per problem in flight: zeroed once when it is made, and left zeroed by every launch.
struct Barrier {
    unsigned arrived;
    unsigned left;
};

struct Shared {
    double rows[WARPS][N_PADDED]; // by warp, then by slice of the blocks: never more slices than warps
    double sums[N_PADDED];
    Affine T;
    State state;
};

// Point i, or one that does not count when there is none.
__device__ __forceinline__ Raw load_or_none(const Problem& problem, int64 i) {
    Raw raw = {{0, 0, 0}, {0, 0, 0}, 0, 0};
    if (i < problem.n)
        raw = load(problem, i);
    return raw;
}

template <class Model>
__device__ __forceinline__ void add_all(const Problem& problem, const Affine& T, const Point (&tile)[TILE], int64 first,
                                        int64 stride, float (&sums)[N_SUMS]) {
    // Copied to registers: the sums could, for all the compiler knows, share memory with what a pointer leads to.
    Affine M = T;
    Options o = problem.options;
#pragma unroll
    for (int i = 0; i < TILE; ++i)
        if (first - threadIdx.x + i * stride < problem.n) // the same for the whole block: nobody diverges
            Model::add(sums, M, tile[i], problem.K, o);
    float ignored = 0.0f; // what is bad was counted when the first pass looked at every point
    for (int64 i = first + TILE * stride; i < problem.n; i += STREAM * stride) {
        Raw next[STREAM];
#pragma unroll
        for (int k = 0; k < STREAM; ++k)
            next[k] = load_or_none(problem, i + k * stride);
#pragma unroll
        for (int k = 0; k < STREAM; ++k)
            Model::add(sums, M, Model::accept(next[k], ignored), problem.K, o);
    }
}

template <class Model, class Start>
__device__ __forceinline__ float read_all(const Problem& problem, Point (&tile)[TILE], int64 first, int64 stride, Start start) {
    float bad = 0.0f;
    for (int64 i = first + TILE * stride; i < problem.n; i += STREAM * stride) {
        Raw next[STREAM];
#pragma unroll
        for (int k = 0; k < STREAM; ++k)
            next[k] = load_or_none(problem, i + k * stride);
#pragma unroll
        for (int k = 0; k < STREAM; ++k)
            Model::accept(next[k], bad);
    }
    Raw raw[TILE];
#pragma unroll
    for (int i = 0; i < TILE; ++i)
        raw[i] = load_or_none(problem, first + i * stride);
    start(); // while the loads are under way
#pragma unroll
    for (int i = 0; i < TILE; ++i)
        tile[i] = Model::accept(raw[i], bad);
    return bad;
}

// The block's sums into its row of `partials` ([blocks][N_PADDED]).
__device__ __forceinline__ void write_partials(const float (&sums)[N_SUMS], Shared& shared, double* partials, int block) {
    warp_sums(sums, shared.rows[threadIdx.x / 32]);
    __syncthreads();
    if (threadIdx.x < N_PADDED) {
        double sum = 0.0;
#pragma unroll
        for (int w = 0; w < WARPS; ++w)
            sum += shared.rows[w][threadIdx.x];
        __stcg(partials + block * N_PADDED + threadIdx.x, sum);
    }
}

// The result where the host waits for it: the status last, so that who sees it sees all of it.
__device__ __forceinline__ void show_host(const Result& result, Result* host) {
    for (int i = 0; i < 8; ++i) {
        host->T_WCf[i] = result.T_WCf[i];
        host->T_CkCf[i] = result.T_CkCf[i];
    }
    host->cost = result.cost;
    host->iterations = result.iterations;
    __threadfence_system();
    *(volatile int32*)&host->status = result.status;
}

template <class Model>
__device__ void solve(const Problem& problem, Result* result, Result* host_result, Step* trace, Barrier* barrier, double* partials,
                      int block, int blocks) {
    __shared__ Shared shared;
    int64 first = int64(block) * BLOCK + threadIdx.x, stride = int64(blocks) * BLOCK;
    Point tile[TILE];
    float bad = read_all<Model>(problem, tile, first, stride, [&] {
        if (threadIdx.x == 0) {
            begin(problem, shared.state);
            shared.T = affine(shared.state.T_CkCf);
        }
    });
    __syncthreads();
    for (unsigned round = 1; !shared.state.done; ++round) {
        float sums[N_SUMS] = {};
        sums[SUM_BAD] = bad;
        add_all<Model>(problem, shared.T, tile, first, stride, sums);
        double* mine = partials + (round & 1) * int64(N_PADDED) * blocks; // two in turn: no block can still be reading this one
        write_partials(sums, shared, mine, block);
        grid_barrier(&barrier->arrived, blocks, round);
        sum_over_blocks<BLOCK>(mine, blocks, shared.rows, shared.sums);
        if (threadIdx.x == 0) {
            Step* step = trace != nullptr && block == 0 ? trace + shared.state.iterations : nullptr;
            advance(shared.sums, problem.options, shared.state, step);
            shared.T = affine(shared.state.T_CkCf);
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        if (block == 0) {
            Result end;
            write_result(shared.state, end);
            *result = end;
            if (host_result != nullptr)
                show_host(end, host_result);
        }
        // The last block to leave puts the counters back for the next launch: nobody waits on them any more.
        if (atomicAdd(&barrier->left, 1u) == unsigned(blocks) - 1) {
            barrier->arrived = 0;
            barrier->left = 0;
        }
    }
}

// `batch` null: one problem, by value. Otherwise problems, results and traces are arrays in device memory, and each problem has
// `blocks` blocks, a barrier and partial sums of its own.
#define SIM3_SOLVE(NAME, MODEL)                                                                                                    \
    extern "C" __global__ void __launch_bounds__(BLOCK, 1)                                                                         \
        NAME(const Problem single, const Problem* batch, int32 blocks, Result* results, Result* host_results, Step* traces,        \
             Barrier* barriers, double* partials) {                                                                                \
        int group = int(blockIdx.x) / blocks, block = int(blockIdx.x) % blocks;                                                    \
        const Problem& problem = batch ? batch[group] : single;                                                                    \
        Step* trace = traces ? traces + int64(group) * problem.options.max_iters : nullptr;                                        \
        Result* host_result = host_results ? host_results + group : nullptr;                                                       \
        solve<MODEL>(problem, results + group, host_result, trace, barriers + group,                                               \
                     partials + int64(group) * 2 * N_PADDED * blocks, block, blocks);                                              \
    }

SIM3_SOLVE(solve_ray_dist, RayDist)
SIM3_SOLVE(solve_calib, Calib)

// The same in several launches. The host launches begin, then max_iters times (linearize, step), and never waits: what comes after
// the end of a solve finds `done` set and returns.
extern "C" __global__ void begin_solve(const Problem problem, State* state, Result* result, Result* host_result) {
    begin(problem, *state);
    if (state->done) {
        Result end;
        write_result(*state, end);
        *result = end;
        if (host_result)
            show_host(end, host_result);
    }
}

#define SIM3_LINEARIZE(NAME, MODEL)                                                                                                \
    extern "C" __global__ void __launch_bounds__(BLOCK, 1) NAME(const Problem problem, const State* state, double* partials) {     \
        __shared__ Shared shared;                                                                                                  \
        if (state->done)                                                                                                           \
            return;                                                                                                                \
        int64 first = int64(blockIdx.x) * BLOCK + threadIdx.x, stride = int64(gridDim.x) * BLOCK;                                  \
        Point tile[TILE];                                                                                                          \
        float sums[N_SUMS] = {};                                                                                                   \
        sums[SUM_BAD] = read_all<MODEL>(problem, tile, first, stride, [] {});                                                      \
        Affine T = affine(state->T_CkCf);                                                                                          \
        add_all<MODEL>(problem, T, tile, first, stride, sums);                                                                     \
        write_partials(sums, shared, partials, int(blockIdx.x));                                                                   \
    }

SIM3_LINEARIZE(linearize_ray_dist, RayDist)
SIM3_LINEARIZE(linearize_calib, Calib)

extern "C" __global__ void __launch_bounds__(BLOCK, 1) step_solve(const Problem problem, State* state, const double* partials,
                                                                  int32 blocks, Result* result, Result* host_result, Step* trace) {
    __shared__ double rows[WARPS][N_PADDED], sums[N_PADDED];
    if (state->done)
        return;
    sum_over_blocks<BLOCK>(partials, blocks, rows, sums);
    if (threadIdx.x == 0) {
        advance(sums, problem.options, *state, trace ? trace + state->iterations : nullptr);
        if (state->done) {
            Result end;
            write_result(*state, end);
            *result = end;
            if (host_result)
                show_host(end, host_result);
        }
    }
}
