// 7x7 Cholesky in double: H delta = -g, or the clear answer that H does not fix the pose.
#pragma once
#include "normal_equations.cuh"

// A pivot below this share of its diagonal is an unobservable direction (sim3solve/problem.py: MIN_PIVOT).
constexpr double MIN_PIVOT = 1e-5;

#if defined(__CUDA_ARCH__)
SIM3_FN double inverse_sqrt_of_pivot(double x) { return rsqrt(x); }
#else
SIM3_FN double inverse_sqrt_of_pivot(double x) { return 1.0 / sqrt(x); }
#endif

// False when H is not positive definite by that rule. H and g as laid out in `sums`. Right-looking, with g as an eighth row, and
// unrolled: every column waits for one square root and two more operations, and nothing else waits.
SIM3_FN bool solve_normal_equations(const double* sums, double delta[7]) {
    double A[8][7], inv[7]; // lower triangle of H, then g; inv: one over the diagonal of L
    SIM3_UNROLL
    for (int j = 0; j < 7; ++j) {
        SIM3_UNROLL
        for (int i = j; i < 7; ++i)
            A[i][j] = sums[SUM_H + index_h(j, i)];
        A[7][j] = -sums[SUM_G + j];
    }
    bool definite = true;
    SIM3_UNROLL
    for (int j = 0; j < 7; ++j) {
        definite = definite && A[j][j] > MIN_PIVOT * sums[SUM_H + index_h(j, j)];
        inv[j] = inverse_sqrt_of_pivot(A[j][j]);
        SIM3_UNROLL
        for (int i = j + 1; i < 8; ++i)
            A[i][j] *= inv[j];
        SIM3_UNROLL
        for (int k = j + 1; k < 7; ++k) {
            SIM3_UNROLL
            for (int i = k; i < 8; ++i)
                A[i][k] -= A[i][j] * A[k][j];
        }
    }
    if (!definite)
        return false;
    SIM3_UNROLL
    for (int i = 6; i >= 0; --i) {
        delta[i] = A[7][i] * inv[i];
        SIM3_UNROLL
        for (int k = 0; k < i; ++k)
            A[7][k] -= A[i][k] * delta[i];
    }
    return true;
}
