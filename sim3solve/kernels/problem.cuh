// The problem as the kernels get it, its options and its result. Plain data, the same layout for every compiler:
// sim3solve/abi.py mirrors these structs field by field and checks their sizes.
#pragma once
#include "portable.cuh"

// A (N, k) tensor of float: address and strides in elements. A 4-byte aligned address is all that is asked for.
struct View {
    const float* data;
    int64 row, col;
};

struct Mask {
    const uint8* data;
    int64 row;
};

struct Options {
    float inv_sigma[4]; // ray_dist: ray, ray, ray, distance; calib: u, v, log depth
    float huber;
    float rel_error;
    float delta_norm;
    float pixel_border;
    float depth_eps;
    float width, height;
    int32 max_iters;
};

struct Problem {
    int64 n;
    View Xf, target, Q; // target: Xk (N,3), or meas_k (N,3)
    Mask valid, valid_meas;
    const float* T_WCf; // 8 floats each
    const float* T_WCk;
    const float* K; // 9 floats, row major
    Options options;
};

enum Status : int32 { CONVERGED = 0, MAX_ITERATIONS = 1, NOT_POSITIVE_DEFINITE = 2, NON_FINITE = 3, TOO_FEW_MATCHES = 4 };

struct Result {
    float T_WCf[8];
    float T_CkCf[8];
    double cost;
    int32 status;
    int32 iterations;
};

// One row of the trace.
struct Step {
    double cost;
    double delta_norm;
    int64 n_matches;
    float T_CkCf[8];
};
