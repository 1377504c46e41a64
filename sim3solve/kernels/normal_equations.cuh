// The sums that make one Gauss-Newton step, and their order in memory.
#pragma once
#include "portable.cuh"

// H's upper triangle by rows (28), g (7), sum w r^2, points that count, points that must not be there.
enum : int { SUM_H = 0, SUM_G = 28, SUM_COST = 35, SUM_COUNT = 36, SUM_BAD = 37, N_SUMS = 38 };

SIM3_FN constexpr int index_h(int i, int j) { return i * 7 - i * (i - 1) / 2 + (j - i); }

// Adds one row of the whitened problem: j over the columns [FIRST, LAST), all other entries of the row, and column ZERO, being
// zero. F is float, or on the CPU a vector of them (lanes.h).
template <int FIRST, int LAST, int ZERO = -1, class F> SIM3_FN void add_row(F* sums, const F* j, F r, F w) {
    SIM3_UNROLL
    for (int a = FIRST; a < LAST; ++a) {
        if (a == ZERO)
            continue;
        F wj = w * j[a];
        SIM3_UNROLL
        for (int b = a; b < LAST; ++b)
            if (b != ZERO)
                sums[SUM_H + index_h(a, b)] += wj * j[b];
        sums[SUM_G + a] += wj * r;
    }
    sums[SUM_COST] += w * r * r;
}
