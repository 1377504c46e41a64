// H delta = -g, 7x7, by Gauss-Jordan elimination: or the clear answer that H does not fix the pose.
//
// Its pivots are the squares of a Cholesky factor's diagonal, and a positive definite matrix needs no other order of them. Unlike
// Cholesky it has nothing to put back afterwards, and all entries of a step can be done at once: on the GPU a warp does it, in a
// loop so short that it stays in the instruction cache. One thread running straight-line code spent most of its time fetching it.
#pragma once
#include "normal_equations.cuh"
#include "sim3.cuh"

// A pivot below this share of its diagonal is an unobservable direction (sim3solve/problem.py: MIN_PIVOT).
constexpr double MIN_PIVOT = 1e-5;
constexpr int ROWS = 7, COLUMNS = 8; // of [H | -g]

SIM3_FN double entry(const double* sums, int r, int c) {
    return c == ROWS ? -sums[SUM_G + r] : sums[SUM_H + (r < c ? index_h(r, c) : index_h(c, r))];
}

#if defined(__CUDA_ARCH__)
constexpr int TEAM = 32; // threads that take a step together
SIM3_FN int team_rank() { return threadIdx.x & 31; }
SIM3_FN bool whole_team(bool good) { return __all_sync(0xFFFFFFFFu, good); }
SIM3_FN float from_lane(float x, int lane) { return __shfl_sync(0xFFFFFFFFu, x, lane); }

// About 1 / sqrt(x), and that only to 20 bits.
SIM3_FN double rough_inverse_sqrt(double x) {
    double y;
    asm("rsqrt.approx.ftz.f64 %0, %1;" : "=d"(y) : "d"(x));
    return y;
}

// False when H is not positive definite by that rule. H and g as laid out in `sums`. Called by the whole TEAM together; delta is
// valid for all of it after. Lane 8 i + c has column c of rows i and i + 4.
//
// In float, after rows and columns have been scaled so that the diagonal is one: what is rounded is a step, which the next one
// corrects, never the gradient; and MIN_PIVOT is a hundred roundings away. A chain of doubles would take three times as long.
SIM3_FN bool solve_normal_equations(const double* sums, float delta[7]) {
    int lane = team_rank(), c = lane & 7, first = lane & 24, r = lane / 8, below = r < 3 ? r + 4 : r;
    double column_scale = c < ROWS ? rough_inverse_sqrt(entry(sums, c, c)) : 1.0;
    double row_scale = rough_inverse_sqrt(entry(sums, r, r)), below_scale = rough_inverse_sqrt(entry(sums, below, below));
    float low = float(entry(sums, r, c) * (row_scale * column_scale));
    float high = float(entry(sums, below, c) * (below_scale * column_scale));
    bool definite = true;
#pragma unroll 1
    for (int j = 0; j < ROWS; ++j) {
        float mine = j < 4 ? low : high;
        int row = (j & 3) * COLUMNS;
        float pivot = from_lane(mine, row + j), scaled = from_lane(mine, row + c);
        float low_factor = from_lane(low, first + j), high_factor = from_lane(high, first + j);
        definite = definite && pivot > float(MIN_PIVOT); // of a diagonal that was one
        scaled *= quick_reciprocal(pivot);
        low = first == row && j < 4 ? scaled : low - low_factor * scaled;
        high = first == row && j >= 4 ? scaled : high - high_factor * scaled;
    }
    float low_delta = low * float(row_scale), high_delta = high * float(below_scale);
    SIM3_UNROLL
    for (int i = 0; i < ROWS; ++i)
        delta[i] = from_lane(i < 4 ? low_delta : high_delta, (i & 3) * COLUMNS + ROWS);
    return definite;
}
#else
constexpr int TEAM = 1;
SIM3_FN int team_rank() { return 0; }
SIM3_FN bool whole_team(bool good) { return good; }

SIM3_FN bool solve_normal_equations(const double* sums, float delta[7]) {
    double A[ROWS][COLUMNS];
    for (int r = 0; r < ROWS; ++r)
        for (int c = 0; c < COLUMNS; ++c)
            A[r][c] = entry(sums, r, c);
    for (int j = 0; j < ROWS; ++j) {
        double pivot = A[j][j];
        if (!(pivot > MIN_PIVOT * sums[SUM_H + index_h(j, j)]))
            return false;
        for (int c = j + 1; c < COLUMNS; ++c)
            A[j][c] /= pivot;
        for (int r = 0; r < ROWS; ++r)
            for (int c = j + 1; c < COLUMNS; ++c)
                if (r != j)
                    A[r][c] -= A[r][j] * A[j][c];
    }
    for (int i = 0; i < ROWS; ++i)
        delta[i] = float(A[i][ROWS]);
    return true;
}
#endif
