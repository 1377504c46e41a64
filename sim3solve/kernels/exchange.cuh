// Sums over all blocks of a problem without a barrier. Every block publishes its sums, each number together with the round it
// belongs to, and every block collects and adds up what all have published: a number that carries its round needs no flag to wait
// for and no fence before one. Device only.
#pragma once
#include "reduce.cuh"

// A number and the round's tag in one 64-bit word, which is never torn: 40 bits of a double (28 of its fraction) above 24 of tag.
// Two words are looked at in one go.
using Packet = unsigned long long;
struct alignas(16) Pair {
    Packet first, second;
};

constexpr unsigned TAGS = 1u << 24;

// One for all launches that use the same packets, one after the other. Zeroed once, when it is made, as the packets are. Tags go on
// from launch to launch, so what one has left is never taken for new by the next.
struct Exchange {
    unsigned tag;     // the last one that the launches before have used
    unsigned highest; // the last one that a group of this launch has used
    unsigned left;    // blocks that are through with this launch
};

// Called by one thread of each block when it is through; `tag` is the last it used. The last of all blocks prepares the next
// launch: nobody looks at the exchange or the packets any more in this one. A launch uses less than half of the tags
// (sim3solve/cuda_plan.py).
__device__ __forceinline__ void leave(Exchange& exchange, unsigned tag, int groups, Packet* packets, int n_packets) {
    if (groups > 1) { // they may have taken different numbers of rounds
        atomicMax(&exchange.highest, tag);
        __threadfence();
    }
    if (atomicAdd(&exchange.left, 1u) != gridDim.x - 1)
        return;
    if (groups > 1)
        tag = atomicExch(&exchange.highest, 0u);
    if (tag >= TAGS / 2) {
        for (int i = 0; i < n_packets; ++i)
            packets[i] = 0;
        tag = 0;
    }
    exchange.left = 0;
    exchange.tag = tag;
}

__device__ __forceinline__ Packet packet_of(double value, unsigned tag) {
    return (((unsigned long long)__double_as_longlong(value) + (TAGS >> 1)) & ~(unsigned long long)(TAGS - 1)) | tag; // rounded
}

__device__ __forceinline__ double value_of(Packet p) { return __longlong_as_double(p & ~(unsigned long long)(TAGS - 1)); }
__device__ __forceinline__ unsigned tag_of(Packet p) { return unsigned(p) & (TAGS - 1); }

__device__ __forceinline__ Pair look(const Packet* from) {
    Pair p;
    asm volatile("ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];" : "=l"(p.first), "=l"(p.second) : "l"(from) : "memory");
    return p;
}

// A cluster is of this many blocks, the most that every GPU with clusters has; or there is none.
constexpr int CLUSTER = 8;
constexpr int SHARE = N_PADDED / CLUSTER; // sums that each block of a cluster adds up for all of it

// What the blocks of a cluster send each other: their sums, and the barrier that counts the bytes.
struct Inbox {
    double rows[CLUSTER][SHARE];
    unsigned long long barrier;
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
__device__ __forceinline__ bool has_cluster() {
    unsigned size;
    asm("mov.u32 %0, %%cluster_nctaid.x;" : "=r"(size));
    return size > 1;
}

__device__ __forceinline__ int cluster_rank() {
    unsigned rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return int(rank);
}

__device__ __forceinline__ unsigned shared_address(const void* p) { return unsigned(__cvta_generic_to_shared(p)); }

__device__ __forceinline__ unsigned address_in(unsigned address, int rank) {
    unsigned there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
    return there;
}

// Ready before any block of the cluster sends.
__device__ __forceinline__ void open_inbox(Inbox& inbox) {
    if (threadIdx.x == 0) {
        asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(shared_address(&inbox.barrier)) : "memory");
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    asm volatile("barrier.cluster.arrive.relaxed.aligned;\n\tbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// The block's sum k = threadIdx.x to the block that adds up that sum. The number announces itself at the barrier there: no fence.
__device__ __forceinline__ void send(Inbox& inbox, double mine) {
    int k = threadIdx.x, to = k % CLUSTER;
    if (k == 0)
        asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared_address(&inbox.barrier)),
                     "r"(int(sizeof(inbox.rows)))
                     : "memory");
    if (k < N_PADDED)
        asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.f64 [%0], %1, [%2];" ::"r"(
                         address_in(shared_address(&inbox.rows[cluster_rank()][k / CLUSTER]), to)),
                     "d"(mine), "r"(address_in(shared_address(&inbox.barrier), to))
                     : "memory");
}

// Until all the cluster's sums of a round are here. `parity` is that of the rounds since the inbox was opened.
__device__ __forceinline__ void wait_for_all(Inbox& inbox, unsigned parity) {
    unsigned arrived = 0;
    while (!arrived)
        asm volatile(
            "{\n\t.reg .pred p;\n\tmbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;\n\tselp.u32 %0, 1, "
            "0, p;\n\t}"
            : "=r"(arrived)
            : "r"(shared_address(&inbox.barrier)), "r"(parity)
            : "memory");
}
#else
__device__ __forceinline__ bool has_cluster() { return false; }
__device__ __forceinline__ int cluster_rank() { return 0; }
__device__ __forceinline__ void open_inbox(Inbox&) {}
__device__ __forceinline__ void send(Inbox&, double) {}
__device__ __forceinline__ void wait_for_all(Inbox&, unsigned) {}
#endif

__device__ __forceinline__ void publish(Packet* to, double sum, unsigned tag) {
    asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(to), "l"(packet_of(sum, tag)) : "memory");
}

// The block's sum `mine` of a thread below N_PADDED to everybody: on its own, or as a part of its cluster's. Called by all threads.
// What one publisher writes lies together (packets: [publishers][N_PADDED]): lines that many write while all look at them are slow.
__device__ __forceinline__ void publish_sums(double mine, Inbox& inbox, Packet* packets, int block, unsigned tag, unsigned parity) {
    int k = threadIdx.x;
    if (!has_cluster()) {
        if (k < N_PADDED)
            publish(packets + block * N_PADDED + k, mine, tag);
        return;
    }
    send(inbox, mine);
    if (k < SHARE) {
        wait_for_all(inbox, parity);
        double chain[2] = {};
#pragma unroll
        for (int r = 0; r < CLUSTER; ++r)
            chain[r % 2] += inbox.rows[r][k];
        publish(packets + block / CLUSTER * N_PADDED + k * CLUSTER + cluster_rank(), chain[0] + chain[1], tag);
    }
}

// What `publishers` have published in a round, added up side by side by groups of threads, each into a row of `rows`. Returns the
// number of rows. In an order that depends on nothing but `publishers`.
template <int THREADS>
__device__ __forceinline__ int collect(const Packet* packets, int publishers, unsigned tag, double (*rows)[N_PADDED]) {
    constexpr int PAIRS = N_PADDED / 2, MOST_ROWS = THREADS / PAIRS, AHEAD = 6;
    int row = threadIdx.x / PAIRS, k = threadIdx.x % PAIRS * 2;
    if (row < MOST_ROWS && row < publishers) {
        double first = 0.0, second = 0.0;
        for (int p = row; p < publishers; p += MOST_ROWS * AHEAD) {
            const Packet* at = packets + p * N_PADDED + k;
            Pair next[AHEAD];
#pragma unroll
            for (int i = 0; i < AHEAD; ++i)
                if (p + i * MOST_ROWS < publishers)
                    next[i] = look(at + i * MOST_ROWS * N_PADDED);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i)
                if (p + i * MOST_ROWS < publishers) {
                    while (tag_of(next[i].first) != tag || tag_of(next[i].second) != tag)
                        next[i] = look(at + i * MOST_ROWS * N_PADDED);
                    first += value_of(next[i].first);
                    second += value_of(next[i].second);
                }
        }
        rows[row][k] = first;
        rows[row][k + 1] = second;
    }
    return MOST_ROWS < publishers ? MOST_ROWS : publishers;
}
