// The fused solver: all iterations in one launch; and the same in several launches, for GPUs or drivers whose blocks cannot wait
// for each other.
//
// The points are read from memory once. Each thread keeps its own in shared memory, as many as fit; the rest is streamed in every
// iteration. Every block publishes its sums and collects everybody's (exchange.cuh), adds them up in the same fixed order and takes
// the same step by itself: that costs less than to hand the pose out, and every block gets the same bits.
#include "exchange.cuh"
#include "gauss_newton.cuh"
#include "residual.cuh"

#ifndef BLOCK
#define BLOCK 384
#endif
constexpr int WARPS = BLOCK / 32, COLLECTED = BLOCK / (N_PADDED / 2);
constexpr int AHEAD = 4; // points a thread has under way from memory at once

struct Shared {
    double warps[WARPS][N_PADDED];
    double rows[COLLECTED][N_PADDED];
    double sums[N_PADDED];
    Inbox inbox;
    Affine T;
    Options options; // in registers while points are added: from the launch's parameters each use could miss the constant cache
    State state;
    unsigned tag;
};

// A thread's points: every BLOCK-th of its block's, which lie side by side. Number k of it is `first + k * BLOCK` of the problem,
// and its warp has `count` of them; the last may be beyond `end` for some of its threads. The first `kept` are on chip, in the
// launch's dynamic shared memory: two rows of 16 bytes each, that no other thread touches.
struct Share {
    int64 first, end;
    int count, kept;
};

__device__ __forceinline__ Share share_of(const Problem& problem, int block, int blocks, int kept) {
    unsigned n = unsigned(problem.n), chunk = (n + blocks - 1) / blocks; // the host refuses an n that does not fit
    unsigned begin = chunk * block, end = begin + chunk < n ? begin + chunk : n, warp = begin + threadIdx.x / 32 * 32;
    int count = warp < end ? int((end - warp + BLOCK - 1) / BLOCK) : 0;
    return {int64(begin + threadIdx.x), int64(end), count, count < kept ? count : kept};
}

extern __shared__ float4 kept_points[];

__device__ __forceinline__ void keep(const Point& p, int k) {
    kept_points[2 * k * BLOCK + threadIdx.x] = make_float4(p.X[0], p.X[1], p.X[2], p.z[0]);
    kept_points[(2 * k + 1) * BLOCK + threadIdx.x] = make_float4(p.z[1], p.z[2], p.z[3], p.sqrt_q);
}

__device__ __forceinline__ Point kept(int k) {
    float4 a = kept_points[2 * k * BLOCK + threadIdx.x], b = kept_points[(2 * k + 1) * BLOCK + threadIdx.x];
    return {{a.x, a.y, a.z}, {a.w, b.x, b.y, b.z}, b.w};
}

// Calls use(k, point) for the points from number `from` on, read from memory, and `meanwhile` once while the first loads are under
// way. `bad` counts points that must not be there.
template <class Model, class Use, class Meanwhile>
__device__ __forceinline__ void stream(const Problem& problem, const Share& share, int from, float& bad, Use use,
                                       Meanwhile meanwhile) {
    int k = from;
#pragma unroll 1
    do {
        Raw next[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            int64 index = share.first + (k + i) * BLOCK;
            next[i] = Raw{{0, 0, 0}, {0, 0, 0}, 0, 0}; // one that does not count
            if (index < share.end)
                next[i] = load(problem, index);
        }
        if (k == from)
            meanwhile();
#pragma unroll
        for (int i = 0; i < AHEAD; ++i)
            if (k + i < share.count)
                use(k + i, Model::accept(next[i], bad));
        k += AHEAD;
    } while (k < share.count);
}

template <class Model>
__device__ __forceinline__ void add_all(const Problem& problem, const Options& options, const Affine& T, const Share& share,
                                        float (&sums)[N_SUMS]) {
    // Copied to registers: the sums could, for all the compiler knows, share memory with what a pointer leads to.
    Affine M = T;
    Options o = options;
#ifdef UNROLL
#pragma unroll UNROLL
#else
#pragma unroll 1
#endif
    for (int k = 0; k < share.kept; ++k)
        Model::add(sums, M, kept(k), problem.K, o);
    float ignored = 0.0f; // what is bad was counted when the first pass looked at every point
    stream<Model>(problem, share, share.kept, ignored, [&](int, const Point& p) { Model::add(sums, M, p, problem.K, o); }, [] {});
}

// The result where the host waits for it: the status last, so that who sees it sees all of it.
__device__ __forceinline__ void show_host(const Result& result, Result* host) {
    for (int i = 0; i < 8; ++i) {
        host->T_WCf[i] = result.T_WCf[i];
        host->T_CkCf[i] = result.T_CkCf[i];
    }
    host->cost = result.cost;
    host->iterations = result.iterations;
    asm volatile("st.release.sys.global.s32 [%0], %1;" ::"l"(&host->status), "r"(result.status) : "memory");
}

__device__ __forceinline__ void give(const State& state, Result* result, Result* host_result) {
    Result end;
    write_result(state, end);
    *result = end;
    if (host_result != nullptr)
        show_host(end, host_result);
}

template <class Model>
__device__ __forceinline__ void solve(const Problem& problem, Result* result, Result* host_result, Step* trace, Packet* packets,
                                      int block, int blocks, int most_kept, unsigned first_tag, Shared& shared) {
    Share share = share_of(problem, block, blocks, most_kept);
    float bad = 0.0f;
    stream<Model>(
        problem, share, 0, bad,
        [&](int k, const Point& p) {
            if (k < share.kept)
                keep(p, k);
        },
        [&] {
            if (threadIdx.x == 0) {
                begin(problem, shared.state);
                shared.options = problem.options;
                shared.T = affine(shared.state.T_CkCf);
            }
        });
    __syncthreads();
    int publishers = has_cluster() ? blocks / CLUSTER : blocks;
    while (!shared.state.done) {
        unsigned tag = shared.tag + 1;
        float sums[N_SUMS] = {};
        sums[SUM_BAD] = bad;
        add_all<Model>(problem, shared.options, shared.T, share, sums);
        double mine = block_sums<WARPS>(sums, shared.warps);
        Packet* now = packets + (tag & 1) * N_PADDED * publishers; // two in turn: no block can still be reading this one
        publish_sums(mine, shared.inbox, now, block, tag, (tag - first_tag) & 1);
        int rows = collect<BLOCK>(now, publishers, tag, shared.rows);
        __syncthreads();
        if (threadIdx.x < 32) {
            double one = sum_of_rows<COLLECTED>(shared.rows, threadIdx.x, rows);
            double two = sum_of_rows<COLLECTED>(shared.rows, 32 + threadIdx.x % (N_PADDED - 32), rows);
            shared.sums[threadIdx.x] = one;
            if (threadIdx.x < N_PADDED - 32)
                shared.sums[32 + threadIdx.x] = two;
            __syncwarp();
            Step* step = trace != nullptr && block == 0 ? trace + shared.state.iterations : nullptr;
            advance(shared.sums, shared.options, shared.state, step);
            if (threadIdx.x == 0) {
                shared.T = affine(shared.state.T_CkCf);
                shared.tag = tag;
            }
        }
        __syncthreads();
    }
    if (block == 0 && threadIdx.x == 0)
        give(shared.state, result, host_result);
    __syncthreads(); // the next problem's start must not overwrite a state that someone still looks at
}

struct Launch {
    int32 count;  // problems; each group of `blocks` blocks takes every n-th of them
    int32 blocks; // of a problem: a multiple of the cluster
    int32 kept;   // points that a thread has shared memory for
    int32 trace_rows;
    int32 n_packets;
};

// Every group has two rounds of packets of its own. problem_at(i), results, host_results and traces (either may be null) are those
// of problem i.
template <class Model, class ProblemAt>
__device__ __forceinline__ void solve_all(const Launch& launch, ProblemAt problem_at, Result* results, Result* host_results,
                                          Step* traces, Exchange* exchange, Packet* all_packets) {
    __shared__ Shared shared;
    int blocks = launch.blocks, group = int(blockIdx.x) / blocks, groups = int(gridDim.x) / blocks;
    int block = int(blockIdx.x) - group * blocks;
    if (threadIdx.x == 0)
        shared.tag = *(volatile unsigned*)&exchange->tag;
    if (has_cluster())
        open_inbox(shared.inbox);
    __syncthreads();
    unsigned first_tag = shared.tag + 1;
    for (int i = group; i < launch.count; i += groups)
        solve<Model>(problem_at(i), results + i, host_results ? host_results + i : nullptr,
                     traces ? traces + int64(i) * launch.trace_rows : nullptr, all_packets + group * 2 * N_PADDED * blocks, block,
                     blocks, launch.kept, first_tag, shared);
    if (threadIdx.x == 0)
        leave(*exchange, shared.tag, groups, all_packets, launch.n_packets);
}

// One problem, by value: its fields are in the constant bank, not a load away. Or a batch in device memory.
#define SIM3_SOLVE(NAME, MODEL)                                                                                                    \
    extern "C" __global__ void __launch_bounds__(BLOCK, 1)                                                                         \
        solve_##NAME(const __grid_constant__ Problem problem, const __grid_constant__ Launch launch, Result* results,              \
                     Result* host_results, Step* traces, Exchange* exchange, Packet* packets) {                                    \
        solve_all<MODEL>(                                                                                                          \
            launch, [&](int) -> const Problem& { return problem; }, results, host_results, traces, exchange, packets);             \
    }                                                                                                                              \
    extern "C" __global__ void __launch_bounds__(BLOCK, 1)                                                                         \
        batch_##NAME(const Problem* problems, const __grid_constant__ Launch launch, Result* results, Result* host_results,        \
                     Step* traces, Exchange* exchange, Packet* packets) {                                                          \
        solve_all<MODEL>(                                                                                                          \
            launch, [&](int i) -> const Problem& { return problems[i]; }, results, host_results, traces, exchange, packets);       \
    }

SIM3_SOLVE(ray_dist, RayDist)
SIM3_SOLVE(calib, Calib)

// The same in several launches. The host launches begin, then max_iters times (linearize, step), and never waits: what comes after
// the end of a solve finds `done` set and returns.
extern "C" __global__ void begin_solve(const Problem problem, State* state, Result* result, Result* host_result) {
    begin(problem, *state);
    if (state->done)
        give(*state, result, host_result);
}

// The sums of each block into its row of `partials` ([blocks][N_PADDED]).
#define SIM3_LINEARIZE(NAME, MODEL)                                                                                                \
    extern "C" __global__ void __launch_bounds__(BLOCK, 1) NAME(const Problem problem, const State* state, double* partials) {     \
        __shared__ double rows[WARPS][N_PADDED];                                                                                   \
        if (state->done)                                                                                                           \
            return;                                                                                                                \
        Share share = share_of(problem, int(blockIdx.x), int(gridDim.x), 0);                                                       \
        Affine T = affine(state->T_CkCf);                                                                                          \
        float sums[N_SUMS] = {}, bad = 0.0f;                                                                                       \
        stream<MODEL>(                                                                                                             \
            problem, share, 0, bad, [&](int, const Point& p) { MODEL::add(sums, T, p, problem.K, problem.options); }, [] {});      \
        sums[SUM_BAD] = bad;                                                                                                       \
        double mine = block_sums<WARPS>(sums, rows);                                                                               \
        if (threadIdx.x < N_PADDED)                                                                                                \
            partials[int64(blockIdx.x) * N_PADDED + threadIdx.x] = mine;                                                           \
    }

SIM3_LINEARIZE(linearize_ray_dist, RayDist)
SIM3_LINEARIZE(linearize_calib, Calib)

// One block of 64 threads.
extern "C" __global__ void step_solve(const Problem problem, State* state, const double* partials, int32 blocks, Result* result,
                                      Result* host_result, Step* trace) {
    __shared__ double sums[N_PADDED];
    if (state->done)
        return;
    if (threadIdx.x < N_PADDED) {
        double sum = 0.0;
        for (int b = 0; b < blocks; ++b)
            sum += partials[b * N_PADDED + threadIdx.x];
        sums[threadIdx.x] = sum;
    }
    __syncthreads();
    if (threadIdx.x < 32) {
        advance(sums, problem.options, *state, trace ? trace + state->iterations : nullptr);
        if (threadIdx.x == 0 && state->done)
            give(*state, result, host_result);
    }
}
