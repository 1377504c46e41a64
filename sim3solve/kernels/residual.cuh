// The two residual models as functors: how a point is read, and what it adds to the sums at a pose.
// MASt3R-SLAM, CVPR 2025, section 3.3. r = z - h(T X), J = dr/ddelta, per-component Huber on the whitened residual.
#pragma once
#include "normal_equations.cuh"
#include "problem.cuh"
#include "sim3.cuh"

// A point as it is kept on chip. Masked points have weight 0 and harmless coordinates, so whatever they held cannot matter.
// F is float, or on the CPU a vector of them (lanes.h), which brings its own sqrtf, fabsf, logf, select and huber_weight.
template <class F> struct PointOf {
    F X[3];
    F z[4];   // ray and distance of Xk, or u, v and log depth
    F sqrt_q; // 0 when the point does not count
};
using Point = PointOf<float>;

#if defined(__CUDA_ARCH__)
SIM3_FN float huber_weight(float a, float k) { return a < k ? 1.0f : __fdividef(k, a); } // good to about two roundings
#else
SIM3_FN float huber_weight(float a, float k) { return a < k ? 1.0f : k / a; }
#endif
// Of a number that is not negative.
SIM3_FN float quick_sqrt(float x) { return x > 0.0f ? x * inverse_sqrt(x) : 0.0f; }
SIM3_FN float select(bool which, float a, float b) { return which ? a : b; }

SIM3_FN void read_row(const View& view, int64 i, float x[3]) {
    const float* row = view.data + i * view.row;
    for (int c = 0; c < 3; ++c)
        x[c] = row[c * view.col];
}

// A point as it lies in memory. Loaded apart from being judged, so that a thread's loads are all under way at once.
struct Raw {
    float X[3], Z[3], q;
    uint8 valid;
};

SIM3_FN Raw load(const Problem& problem, int64 i) {
    Raw raw;
    raw.valid = problem.valid.data[i * problem.valid.row];
    if (problem.valid_meas.data)
        raw.valid = raw.valid && problem.valid_meas.data[i * problem.valid_meas.row];
    raw.q = problem.Q.data[i * problem.Q.row];
    read_row(problem.Xf, i, raw.X);
    read_row(problem.target, i, raw.Z);
    return raw;
}

SIM3_FN bool is_usable(const Raw& raw) {
    bool good = is_finite(raw.q) && raw.q >= 0.0f;
    for (int c = 0; c < 3; ++c)
        good = good && is_finite(raw.X[c]) && is_finite(raw.Z[c]);
    return good;
}

struct RayDist {
    static SIM3_FN Point none() { return {{1, 0, 0}, {0, 0, 0, 0}, 0}; }

    // Adds 1 to `bad` when the point is valid and NaN, infinite, at the origin (which has no ray), or of negative weight.
    static SIM3_FN Point accept(const Raw& raw, float& bad) {
        Point p = none();
        if (!raw.valid)
            return p;
        float d2 = raw.Z[0] * raw.Z[0] + raw.Z[1] * raw.Z[1] + raw.Z[2] * raw.Z[2];
        if (!(is_usable(raw) && d2 > 0.0f && (raw.X[0] != 0.0f || raw.X[1] != 0.0f || raw.X[2] != 0.0f))) {
            bad += 1.0f;
            return p;
        }
        float inv_d = inverse_sqrt(d2);
        for (int c = 0; c < 3; ++c) {
            p.X[c] = raw.X[c];
            p.z[c] = raw.Z[c] * inv_d;
        }
        p.z[3] = d2 * inv_d;
        p.sqrt_q = quick_sqrt(raw.q);
        return p;
    }

    static SIM3_FN Point read(const Problem& problem, int64 i, float& bad) { return accept(load(problem, i), bad); }

    // With n = Y / |Y| the rows are [-(I - n n^T) / |Y|, [n]x, 0] for the ray and [-n, 0, -|Y|] for the distance.
    template <class F> static SIM3_FN void add(F* sums, const Affine& T, const PointOf<F>& p, const float*, const Options& o) {
        F Y[3], n[3];
        for (int c = 0; c < 3; ++c)
            Y[c] = T.m[c][0] * p.X[0] + T.m[c][1] * p.X[1] + T.m[c][2] * p.X[2] + T.m[c][3];
        F d2 = select(p.sqrt_q > 0.0f, Y[0] * Y[0] + Y[1] * Y[1] + Y[2] * Y[2], F(1.0f)); // zero times NaN would be NaN
        F inv_d = inverse_sqrt(d2), d = d2 * inv_d;
        for (int c = 0; c < 3; ++c)
            n[c] = Y[c] * inv_d;
        const F zero = 0.0f;
        const F cross_n[3][3] = {{zero, -n[2], n[1]}, {n[2], zero, -n[0]}, {-n[1], n[0], zero}};
        SIM3_UNROLL
        for (int i = 0; i < 3; ++i) {
            F r = p.z[i] - n[i], s = p.sqrt_q * o.inv_sigma[i];
            F w = huber_weight(fabsf(s * r), o.huber) * s * s;
            F j[6];
            for (int c = 0; c < 3; ++c) {
                j[c] = (n[i] * n[c] - (i == c ? 1.0f : 0.0f)) * inv_d;
                j[3 + c] = cross_n[i][c];
            }
            if (i == 0)
                add_row<0, 6, 3>(sums, j, r, w);
            else if (i == 1)
                add_row<0, 6, 4>(sums, j, r, w);
            else
                add_row<0, 6, 5>(sums, j, r, w);
        }
        F r = p.z[3] - d, s = p.sqrt_q * o.inv_sigma[3];
        F w = huber_weight(fabsf(s * r), o.huber) * s * s;
        SIM3_UNROLL
        for (int a = 0; a < 3; ++a) {
            SIM3_UNROLL
            for (int b = a; b < 3; ++b)
                sums[SUM_H + index_h(a, b)] += w * n[a] * n[b];
            sums[SUM_H + index_h(a, 6)] += w * n[a] * d;
            sums[SUM_G + a] -= w * n[a] * r;
        }
        sums[SUM_H + index_h(6, 6)] += w * d * d;
        sums[SUM_G + 6] -= w * d * r;
        sums[SUM_COST] += w * r * r;
        sums[SUM_COUNT] += select(p.sqrt_q > 0.0f, F(1.0f), zero);
    }
};

struct Calib {
    static SIM3_FN Point none() { return {{0, 0, 0}, {0, 0, 0, 0}, 0}; }

    // Adds 1 to `bad` when the point is valid and NaN, infinite or of negative weight.
    static SIM3_FN Point accept(const Raw& raw, float& bad) {
        Point p = none();
        if (!raw.valid)
            return p;
        if (!is_usable(raw)) {
            bad += 1.0f;
            return p;
        }
        for (int c = 0; c < 3; ++c) {
            p.X[c] = raw.X[c];
            p.z[c] = raw.Z[c];
        }
        p.sqrt_q = quick_sqrt(raw.q);
        return p;
    }

    static SIM3_FN Point read(const Problem& problem, int64 i, float& bad) { return accept(load(problem, i), bad); }

    // u = fx x/z + cx, v = fy y/z + cy, log z; scale moves log z alone. A point behind depth_eps or outside the bordered image
    // is left out at this pose.
    template <class F> static SIM3_FN void add(F* sums, const Affine& T, const PointOf<F>& p, const float* K, const Options& o) {
        F Y[3];
        for (int c = 0; c < 3; ++c)
            Y[c] = T.m[c][0] * p.X[0] + T.m[c][1] * p.X[1] + T.m[c][2] * p.X[2] + T.m[c][3];
        const F zero = 0.0f, one = 1.0f;
        auto seen = Y[2] > o.depth_eps && p.sqrt_q > 0.0f;
        F inv_z = 1.0f / select(seen, Y[2], one);
        F x = Y[0] * inv_z, y = Y[1] * inv_z;
        F u = K[0] * x + K[2], v = K[4] * y + K[5];
        float b = o.pixel_border;
        seen = seen && u > b && u < o.width - 1.0f - b && v > b && v < o.height - 1.0f - b;
        F q = select(seen, p.sqrt_q, zero);
        x = select(seen, x, zero);
        y = select(seen, y, zero);
        F r[3] = {select(seen, p.z[0] - u, zero), select(seen, p.z[1] - v, zero), select(seen, p.z[2] + logf(inv_z), zero)};
        const F j[3][7] = {{-K[0] * inv_z, zero, K[0] * x * inv_z, K[0] * x * y, -K[0] * (1.0f + x * x), K[0] * y, zero},
                           {zero, -K[4] * inv_z, K[4] * y * inv_z, K[4] * (1.0f + y * y), -K[4] * x * y, -K[4] * x, zero},
                           {zero, zero, -inv_z, -y, x, zero, -one}};
        SIM3_UNROLL
        for (int i = 0; i < 3; ++i) {
            F s = q * o.inv_sigma[i];
            F w = huber_weight(fabsf(s * r[i]), o.huber) * s * s;
            if (i < 2)
                add_row<0, 6>(sums, j[i], r[i], w);
            else
                add_row<2, 7>(sums, j[i], r[i], w);
        }
        sums[SUM_COUNT] += select(seen, one, zero);
    }
};
