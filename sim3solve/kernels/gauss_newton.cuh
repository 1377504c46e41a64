// What happens between two passes over the points: judge the sums, solve, update, decide to stop. A warp does it, or one thread of
// a CPU.
#pragma once
#include "elimination.cuh"
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

SIM3_FN bool are_finite(const double* sums) {
    bool all = true;
    SIM3_ROLLED
    for (int i = team_rank(); i < SUM_COST; i += TEAM)
        all = all && is_finite(sums[i]);
    return whole_team(all);
}

// The trace's row of a step.
SIM3_FN void write_step(const State& state, float square, int64 n_matches, Step& step) {
    step.cost = state.cost;
    step.delta_norm = sqrtf(square);
    step.n_matches = n_matches;
    write_pose(state.T_CkCf, step.T_CkCf);
}

// Moves the pose by delta; how the solve ended, or GO_ON. By one thread, and all others wait for it.
SIM3_FN int32 move(const double* sums, const float delta[7], const Options& o, State& state, Step* step) {
    float square = 0.0f;
    SIM3_UNROLL
    for (int i = 0; i < 7; ++i)
        square += delta[i] * delta[i];
    Sim3 T = compose(exp_sim3(delta), state.T_CkCf);
    int32 iterations = state.iterations + 1;
    state.T_CkCf = T;
    state.iterations = iterations;
    if (step)
        write_step(state, square, int64(sums[SUM_COUNT]), *step);
    if (!is_finite(T))
        return NON_FINITE;
    // Upstream's rule: |change of cost / cost before| or |delta| is small. The first step has no cost before it. Multiplied out,
    // since a division and a square root would take longer than the rest of this function.
    double cost = state.cost, before = state.old_cost;
    bool by_cost = iterations > 1 && before != 0.0 && fabs(before - cost) < double(o.rel_error) * fabs(before);
    if (by_cost || square < o.delta_norm * o.delta_norm)
        return CONVERGED;
    state.old_cost = cost;
    return iterations >= o.max_iters ? int32(MAX_ITERATIONS) : GO_ON;
}

// Judges the sums and, if they will do, moves the pose; how the solve ended, or GO_ON. Only the first of the TEAM writes the state.
SIM3_FN int32 take_step(const double* sums, const Options& o, State& state, Step* step) {
    bool finite = are_finite(sums), bad = sums[SUM_BAD] > 0, enough = sums[SUM_COUNT] >= MIN_MATCHES;
    if (bad)
        return NON_FINITE;
    if (team_rank() == 0 && (enough || state.iterations > 0))
        state.cost = 0.5 * sums[SUM_COST];
    if (!enough)
        return TOO_FEW_MATCHES;
    if (!finite)
        return NON_FINITE;
    float delta[7];
    if (!solve_normal_equations(sums, delta))
        return NOT_POSITIVE_DEFINITE;
    return team_rank() == 0 ? move(sums, delta, o, state, step) : GO_ON;
}

// One step from the sums over all points, by the whole TEAM together. `step` (may be null) gets the trace's row.
SIM3_FN void advance(const double* sums, const Options& o, State& state, Step* step) {
    int32 status = take_step(sums, o, state, step);
    if (team_rank() == 0) {
        state.status = status;
        state.done = status != GO_ON;
    }
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
