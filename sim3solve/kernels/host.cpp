// The CPU driver: points are read once into blocks of lanes, every pass adds fixed chunks of them, and the chunks' sums are added
// in their order. So a result is the same bits for any number of threads. Plain C ABI; sim3solve/native.py calls it.
#include "gauss_newton.cuh"
#include "lanes.h"
#include "residual.cuh"

#include <atomic>
#include <memory>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#if defined(_WIN32)
#define SIM3_EXPORT extern "C" __declspec(dllexport)
#else
#define SIM3_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace {

constexpr int LANES = Lanes::N;
constexpr int CHUNK = 2048;      // points that are one piece of work and one row of sums
constexpr int FLUSH_BLOCKS = 16; // blocks whose sums stay in float

// Below this weakest pivot the sums are taken again in double: the rounding of float products, blown up by the elimination, could
// pass for an observable direction. Real frames stay above it.
constexpr double DOUBTFUL_PIVOT = 1e-3;

// One block of LANES points, as they are kept between passes.
struct alignas(VECTOR_BYTES) Block {
    float X[3][LANES];
    float z[4][LANES];
    float sqrt_q[LANES];
};

struct Chunk {
    int64 blocks;
    double sums[N_SUMS];
};

void put(Block& block, int lane, const Point& p) {
    for (int c = 0; c < 3; ++c)
        block.X[c][lane] = p.X[c];
    for (int c = 0; c < 4; ++c)
        block.z[c][lane] = p.z[c];
    block.sqrt_q[lane] = p.sqrt_q;
}

// The points of a block from `lane` on, as many as F has lanes.
template <class F> PointOf<F> load(const Block& block, int lane) {
    return {{F::load(block.X[0] + lane), F::load(block.X[1] + lane), F::load(block.X[2] + lane)},
            {F::load(block.z[0] + lane), F::load(block.z[1] + lane), F::load(block.z[2] + lane), F::load(block.z[3] + lane)},
            F::load(block.sqrt_q + lane)};
}

// Reads the rows [first, last). Points that do not count are left out, and the last block is filled up with masked ones.
template <class Model> void read_chunk(const Problem& problem, int64 first, int64 last, Block* blocks, Chunk& chunk) {
    int64 count = 0;
    float bad = 0.0f;
    for (int64 i = first; i < last; ++i) {
        Point p = Model::read(problem, i, bad);
        if (p.sqrt_q > 0.0f) {
            put(blocks[count / LANES], int(count % LANES), p);
            ++count;
        }
    }
    chunk.sums[SUM_COUNT] = double(count);
    chunk.sums[SUM_BAD] = bad;
    chunk.blocks = (count + LANES - 1) / LANES;
    const Point masked = {{1, 1, 1}, {0, 0, 0, 0}, 0};
    for (int64 i = count; i < chunk.blocks * LANES; ++i)
        put(blocks[i / LANES], int(i % LANES), masked);
}

// F is Lanes, or DoubleLanes where it must be exact.
template <class Model, class F> void add_chunk(const Problem& problem, const Affine& T, const Block* blocks, Chunk& chunk) {
    double sums[N_SUMS][F::N] = {};
    for (int64 start = 0; start < chunk.blocks; start += FLUSH_BLOCKS) {
        F part[N_SUMS];
        for (F& sum : part)
            sum = 0.0f;
        int64 end = start + FLUSH_BLOCKS < chunk.blocks ? start + FLUSH_BLOCKS : chunk.blocks;
        for (int64 b = start; b < end; ++b)
            for (int lane = 0; lane < LANES; lane += F::N)
                Model::add(part, T, load<F>(blocks[b], lane), problem.K, problem.options);
        for (int k = 0; k < N_SUMS; ++k)
            for (int i = 0; i < F::N; ++i)
                sums[k][i] += double(part[k].v[i]);
    }
    for (int k = 0; k < N_SUMS; ++k) {
        chunk.sums[k] = 0.0;
        for (int i = 0; i < F::N; ++i)
            chunk.sums[k] += sums[k][i];
    }
}

// The smallest share of its diagonal that elimination leaves of a pivot of H; 0 when one is not positive or not a number.
double weakest_pivot(const double* sums) {
    double A[7][7], weakest = 1.0;
    for (int i = 0; i < 7; ++i)
        for (int j = i; j < 7; ++j)
            A[i][j] = sums[SUM_H + index_h(i, j)];
    for (int k = 0; k < 7; ++k) {
        double share = A[k][k] / sums[SUM_H + index_h(k, k)];
        if (!(share > 0.0))
            return 0.0;
        weakest = share < weakest ? share : weakest;
        for (int i = k + 1; i < 7; ++i)
            for (int j = i; j < 7; ++j)
                A[i][j] -= A[k][i] / A[k][k] * A[k][j];
    }
    return weakest;
}

// Chunks of work for the calling thread and helpers. The ticket holds the phase in its upper half and the next chunk in its lower:
// a helper that comes late finds no chunk left, or joins the next phase; nobody waits for one that has claimed nothing.
class Crew {
  public:
    template <class Work> Crew(int64 n_chunks, int32 threads, const Work& work) : n_chunks(n_chunks) {
        const int64 wanted = (threads < n_chunks ? threads : n_chunks) - 1;
        helpers.reserve(wanted > 0 ? size_t(wanted) : 0);
        try {
            for (int64 i = 0; i < wanted; ++i)
                helpers.emplace_back([this, &work] { help(work); });
        } catch (const std::system_error&) { // the system gives no more threads: fewer do the same work
        } catch (const std::bad_alloc&) {
        }
    }

    ~Crew() {
        leave.store(true, std::memory_order_release);
        for (std::thread& helper : helpers)
            helper.join();
    }

    // Does all chunks once. What was written before the call is seen by the work, and what the work wrote after it.
    template <class Work> void all(const Work& work) {
        done.store(0, std::memory_order_relaxed);
        phase += 1;
        ticket.store(phase << 32, std::memory_order_release);
        while (claim_and_do(work)) {
        }
        for (int spins = 0; done.load(std::memory_order_acquire) < n_chunks; ++spins)
            pause(spins);
    }

  private:
    template <class Work> bool claim_and_do(const Work& work) {
        uint64_t seen = ticket.load(std::memory_order_acquire);
        if (int64(seen & 0xFFFFFFFFu) >= n_chunks)
            return false;
        if (!ticket.compare_exchange_strong(seen, seen + 1, std::memory_order_acq_rel))
            return true; // somebody else took it: look again
        work(int64(seen & 0xFFFFFFFFu));
        done.fetch_add(1, std::memory_order_release);
        return true;
    }

    template <class Work> void help(const Work& work) {
        for (int spins = 0; !leave.load(std::memory_order_acquire); ++spins) {
            if (claim_and_do(work))
                spins = 0;
            else
                pause(spins);
        }
    }

    static void pause(int spins) {
        if (spins > 2000)
            std::this_thread::yield();
    }

    const int64 n_chunks;
    uint64_t phase = 0;
    std::atomic<uint64_t> ticket{0xFFFFFFFFu}; // phase 0 has no chunks
    std::atomic<int64> done{0};
    std::atomic<bool> leave{false};
    std::vector<std::thread> helpers;
};

enum class Pass { READ, FLOAT, DOUBLE };

template <class Model> void solve(const Problem& problem, State& state, Step* trace, int32 threads) {
    const int64 n_chunks = (problem.n + CHUNK - 1) / CHUNK;
    constexpr int64 BLOCKS = CHUNK / LANES;
    std::vector<Chunk> chunks(static_cast<size_t>(n_chunks));
    std::unique_ptr<Block[]> blocks(new Block[static_cast<size_t>(n_chunks * BLOCKS)]); // memory of masked points is never touched
    Affine T = {};
    Pass pass = Pass::READ;
    auto work = [&](int64 c) {
        Chunk& chunk = chunks[static_cast<size_t>(c)];
        Block* mine = blocks.get() + c * BLOCKS;
        if (pass == Pass::READ)
            read_chunk<Model>(problem, c * CHUNK, (c + 1) * CHUNK < problem.n ? (c + 1) * CHUNK : problem.n, mine, chunk);
        else if (pass == Pass::FLOAT)
            add_chunk<Model, Lanes>(problem, T, mine, chunk);
        else
            add_chunk<Model, DoubleLanes>(problem, T, mine, chunk);
    };
    Crew crew(n_chunks, threads, work);
    double sums[N_SUMS];
    auto all = [&](Pass next) {
        pass = next;
        crew.all(work);
        for (double& sum : sums)
            sum = 0.0;
        for (const Chunk& chunk : chunks)
            for (int k = 0; k < N_SUMS; ++k)
                sums[k] += chunk.sums[k];
    };
    all(Pass::READ);
    if (sums[SUM_BAD] > 0.0 || sums[SUM_COUNT] < MIN_MATCHES) {
        state.status = sums[SUM_BAD] > 0.0 ? NON_FINITE : TOO_FEW_MATCHES;
        return;
    }
    while (!state.done) {
        T = affine(state.T_CkCf);
        all(Pass::FLOAT);
        if (weakest_pivot(sums) < DOUBTFUL_PIVOT)
            all(Pass::DOUBLE);
        state.cost = 0.5 * sums[SUM_COST]; // also when too few of the points are seen at this pose
        advance(sums, problem.options, state, trace ? trace + state.iterations : nullptr);
    }
}

} // namespace

// Solves one problem: kind 0 is ray_dist, 1 calib. `trace` is null or has max_iters rows. 0: `result` is written, whatever the
// solve's status; 1: no memory; 2: unknown kind. The result has the same bits for any number of threads.
SIM3_EXPORT int32 sim3solve_host_solve(int32 kind, const Problem* problem, Result* result, Step* trace, int32 threads) {
    if (kind != 0 && kind != 1)
        return 2;
    try {
        State state = {};
        begin(*problem, state);
        if (!state.done) {
            if (kind == 0)
                solve<RayDist>(*problem, state, trace, threads);
            else
                solve<Calib>(*problem, state, trace, threads);
        }
        write_result(state, *result);
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

SIM3_EXPORT void sim3solve_host_sizes(int32 sizes[4]) {
    sizes[0] = sizeof(Problem);
    sizes[1] = sizeof(Options);
    sizes[2] = sizeof(Result);
    sizes[3] = sizeof(Step);
}

// Single operations, 8 floats a pose. 1: an argument is no pose.
SIM3_EXPORT void sim3solve_host_exp(const float* delta, float* pose) { write_pose(exp_sim3(delta), pose); }

SIM3_EXPORT int32 sim3solve_host_compose(const float* A, const float* B, float* AB) {
    Sim3 a, b;
    if (!to_pose(A, a) || !to_pose(B, b))
        return 1;
    write_pose(compose(a, b), AB);
    return 0;
}

SIM3_EXPORT int32 sim3solve_host_inverse(const float* A, float* inverted) {
    Sim3 a;
    if (!to_pose(A, a))
        return 1;
    write_pose(inverse(a), inverted);
    return 0;
}

SIM3_EXPORT int32 sim3solve_host_act(const float* A, const float* X, float* Y) {
    Sim3 a;
    if (!to_pose(A, a))
        return 1;
    act(a, X, Y);
    return 0;
}
