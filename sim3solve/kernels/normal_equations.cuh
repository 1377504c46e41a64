// The sums that make one Gauss-Newton step, and their order in memory.
#pragma once
#include "portable.cuh"

// H's upper triangle by rows (28), g (7), sum w r^2, points that count, points that must not be there.
enum : int { SUM_H = 0, SUM_G = 28, SUM_COST = 35, SUM_COUNT = 36, SUM_BAD = 37, N_SUMS = 38 };

SIM3_FN constexpr int index_h(int i, int j) { return i * 7 - i * (i - 1) / 2 + (j - i); }

// Adds one row of the whitened problem: j over the columns [FIRST, LAST), all other entries of the row being zero.
template <int FIRST, int LAST> SIM3_FN void add_row(float* sums, const float* j, float r, float w) {
    for (int a = FIRST; a < LAST; ++a) {
        float wj = w * j[a];
        for (int b = a; b < LAST; ++b)
            sums[SUM_H + index_h(a, b)] += wj * j[b];
        sums[SUM_G + a] += wj * r;
    }
    sums[SUM_COST] += w * r * r;
}
