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
    float f[8], k[8], all = 0.0f; // loaded first and judged then, so that no load waits for another
    for (int i = 0; i < 8; ++i) {
        f[i] = problem.T_WCf[i];
        k[i] = problem.T_WCk[i];
    }
    if (problem.K)
        for (int i = 0; i < 9; ++i)
            all += 0.0f * problem.K[i];
    Sim3 T_WCf;
    bool good = to_pose(f, T_WCf);
    good = to_pose(k, state.T_WCk) && good && is_finite(all);
    state.old_cost = 0.0;
    state.cost = quiet_nan();
    state.iterations = 0;
    state.status = good ? MAX_ITERATIONS : NON_FINITE;
    state.done = !good;
    if (!good)
        return;
    // The keyframe's position is the origin here: far from the world's, products of large numbers would have to cancel.
    Sim3 at_origin = state.T_WCk;
    for (int i = 0; i < 3; ++i) {
        T_WCf.t[i] -= state.T_WCk.t[i];
        at_origin.t[i] = 0.0f;
    }
    state.T_CkCf = compose(inverse(at_origin), T_WCf);
}

constexpr int32 GO_ON = -1;

// Solves and updates; how the solve ended, or GO_ON.
SIM3_FN int32 take_step(const double* sums, const Options& o, State& state, Step* step) {
    if (sums[SUM_BAD] > 0)
        return NON_FINITE;
    bool enough = sums[SUM_COUNT] >= MIN_MATCHES;
    if (enough || state.iterations > 0)
        state.cost = 0.5 * sums[SUM_COST];
    if (!enough)
        return TOO_FEW_MATCHES;
    double all[5] = {0, 0, 0, 0, 0}; // zero times a finite number is zero; times NaN or infinity it is NaN
    SIM3_UNROLL
    for (int i = 0; i < SUM_COST; ++i)
        all[i % 5] += 0.0 * sums[i];
    if (!is_finite(all[0] + all[1] + all[2] + all[3] + all[4]))
        return NON_FINITE;
    double delta[7];
    if (!solve_normal_equations(sums, delta))
        return NOT_POSITIVE_DEFINITE;
    float delta_f[7];
    double square = 0;
    for (int i = 0; i < 7; ++i) {
        delta_f[i] = float(delta[i]);
        square += delta[i] * delta[i];
    }
    state.T_CkCf = compose(exp_sim3(delta_f), state.T_CkCf);
    state.iterations += 1;
    if (step) {
        step->cost = state.cost;
        step->delta_norm = sqrt(square);
        step->n_matches = int64(sums[SUM_COUNT]);
        write_pose(state.T_CkCf, step->T_CkCf);
    }
    if (!is_finite(state.T_CkCf))
        return NON_FINITE;
    // Upstream's rule: |change of cost / cost before| or |delta| is small. The first step has no cost before it. Multiplied out,
    // since a division and a square root of doubles would take longer than the rest of this function.
    double before = fabs(state.old_cost);
    bool by_cost = state.iterations > 1 && before > 0.0 && fabs(state.old_cost - state.cost) < double(o.rel_error) * before;
    if (by_cost || square < double(o.delta_norm) * double(o.delta_norm))
        return CONVERGED;
    state.old_cost = state.cost;
    return state.iterations >= o.max_iters ? int32(MAX_ITERATIONS) : GO_ON;
}

// One step from the sums over all points. `step` (may be null) gets the trace's row. `shared_state` is worked on in a copy: it may
// lie in memory that is slow to go to again and again.
SIM3_FN void advance(const double* sums, const Options& o, State& shared_state, Step* step) {
    State state = shared_state;
    state.status = take_step(sums, o, state, step);
    state.done = state.status != GO_ON;
    shared_state = state;
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
