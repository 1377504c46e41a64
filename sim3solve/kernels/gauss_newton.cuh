// What happens between two passes over the points: judge the sums, solve, update, decide to stop. One thread does it.
#pragma once
#include "cholesky.cuh"
#include "problem.cuh"
#include "sim3.cuh"

constexpr int MIN_MATCHES = 3; // sim3solve/problem.py

struct State {
    Sim3 T_CkCf;
    Sim3 T_WCk;
    double old_cost;
    double cost;
    int32 iterations;
    int32 status;
    int32 done;
};

// The start: relative pose from the world poses. A pose that is none, or a K that is not finite, ends the solve at once.
SIM3_FN void begin(const Problem& problem, State& state) {
    Sim3 T_WCf;
    bool good = read_pose(problem.T_WCf, T_WCf);
    good = read_pose(problem.T_WCk, state.T_WCk) && good;
    if (problem.K)
        for (int i = 0; i < 9; ++i)
            good = good && is_finite(problem.K[i]);
    state.old_cost = 0.0;
    state.cost = quiet_nan();
    state.iterations = 0;
    state.status = good ? MAX_ITERATIONS : NON_FINITE;
    state.done = !good;
    if (good)
        state.T_CkCf = compose(inverse(state.T_WCk), T_WCf);
}

SIM3_FN void end(State& state, Status status) {
    state.status = status;
    state.done = 1;
}

// One step from the sums over all points. `step` (may be null) gets the trace's row.
SIM3_FN void advance(const double* sums, const Options& o, State& state, Step* step) {
    if (sums[SUM_BAD] > 0)
        return end(state, NON_FINITE);
    if (!(sums[SUM_COUNT] >= MIN_MATCHES)) {
        if (state.iterations > 0)
            state.cost = 0.5 * sums[SUM_COST];
        return end(state, TOO_FEW_MATCHES);
    }
    state.cost = 0.5 * sums[SUM_COST];
    for (int i = 0; i < SUM_COST; ++i)
        if (!is_finite(sums[i]))
            return end(state, NON_FINITE);
    double delta[7];
    if (!solve_normal_equations(sums, delta))
        return end(state, NOT_POSITIVE_DEFINITE);
    float delta_f[7];
    double square = 0;
    for (int i = 0; i < 7; ++i) {
        delta_f[i] = float(delta[i]);
        square += delta[i] * delta[i];
    }
    double norm = sqrt(square);
    state.T_CkCf = compose(exp_sim3(delta_f), state.T_CkCf);
    if (step) {
        step->cost = state.cost;
        step->delta_norm = norm;
        step->n_matches = int64(sums[SUM_COUNT]);
        write_pose(state.T_CkCf, step->T_CkCf);
    }
    state.iterations += 1;
    if (!is_finite(state.T_CkCf))
        return end(state, NON_FINITE);
    // Upstream's rule: |change of cost / cost before| or |delta| is small. The first step has no cost before it.
    double change = fabs((state.old_cost - state.cost) / state.old_cost);
    bool by_cost = state.iterations > 1 && state.old_cost != 0.0 && change < o.rel_error;
    if (by_cost || norm < o.delta_norm)
        return end(state, CONVERGED);
    state.old_cost = state.cost;
    if (state.iterations >= o.max_iters)
        end(state, MAX_ITERATIONS);
}

SIM3_FN void write_result(const State& state, Result& result) {
    bool has_pose = state.status == CONVERGED || state.status == MAX_ITERATIONS;
    Sim3 T_WCf = compose(state.T_WCk, state.T_CkCf);
    write_pose(T_WCf, result.T_WCf);
    write_pose(state.T_CkCf, result.T_CkCf);
    if (!has_pose)
        for (int i = 0; i < 8; ++i)
            result.T_WCf[i] = result.T_CkCf[i] = quiet_nan();
    result.cost = state.cost;
    result.status = state.status;
    result.iterations = state.iterations;
}
