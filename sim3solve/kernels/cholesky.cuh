// 7x7 Cholesky in double: H delta = -g, or the clear answer that H does not fix the pose.
#pragma once
#include "normal_equations.cuh"

// A pivot below this share of its diagonal is an unobservable direction (sim3solve/problem.py: MIN_PIVOT).
constexpr double MIN_PIVOT = 1e-6;

// False when H is not positive definite by that rule. H and g as laid out in `sums`.
SIM3_FN bool solve_normal_equations(const double* sums, double delta[7]) {
    double L[7][7];
    for (int i = 0; i < 7; ++i) {
        for (int j = 0; j <= i; ++j) {
            double rest = sums[SUM_H + index_h(j, i)];
            for (int k = 0; k < j; ++k)
                rest -= L[i][k] * L[j][k];
            if (i == j) {
                if (!(rest > MIN_PIVOT * sums[SUM_H + index_h(i, i)]))
                    return false;
                L[i][i] = sqrt(rest);
            } else {
                L[i][j] = rest / L[j][j];
            }
        }
    }
    double y[7];
    for (int i = 0; i < 7; ++i) {
        double rest = -sums[SUM_G + i];
        for (int k = 0; k < i; ++k)
            rest -= L[i][k] * y[k];
        y[i] = rest / L[i][i];
    }
    for (int i = 6; i >= 0; --i) {
        double rest = y[i];
        for (int k = i + 1; k < 7; ++k)
            rest -= L[k][i] * delta[k];
        delta[i] = rest / L[i][i];
    }
    return true;
}
