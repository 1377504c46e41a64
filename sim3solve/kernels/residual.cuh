// The two residual models as functors: how a point is read, and what it adds to the sums at a pose.
// MASt3R-SLAM, CVPR 2025, section 3.3. r = z - h(T X), J = dr/ddelta, per-component Huber on the whitened residual.
#pragma once
#include "normal_equations.cuh"
#include "problem.cuh"
#include "sim3.cuh"

// A point as it is kept on chip. Masked points have weight 0 and harmless coordinates, so whatever they held cannot matter.
struct Point {
    float X[3];
    float z[4];   // ray and distance of Xk, or u, v and log depth
    float sqrt_q; // 0 when the point does not count
};

SIM3_FN float huber_weight(float a, float k) { return a < k ? 1.0f : k / a; }

SIM3_FN void read_row(const View& view, int64 i, float x[3]) {
    const float* row = view.data + i * view.row;
    for (int c = 0; c < 3; ++c)
        x[c] = row[c * view.col];
}

struct RayDist {
    // Reads point i. Adds 1 to `bad` when it is valid and NaN, infinite, at the origin (which has no ray), or of negative weight.
    static SIM3_FN Point read(const Problem& problem, int64 i, float& bad) {
        Point p = {{1, 0, 0}, {0, 0, 0, 0}, 0};
        if (problem.valid.data[i * problem.valid.row] == 0)
            return p;
        float X[3], Z[3], q = problem.Q.data[i * problem.Q.row];
        read_row(problem.Xf, i, X);
        read_row(problem.target, i, Z);
        float d = sqrtf(Z[0] * Z[0] + Z[1] * Z[1] + Z[2] * Z[2]);
        bool good = is_finite(X[0]) && is_finite(X[1]) && is_finite(X[2]) && is_finite(Z[0]) && is_finite(Z[1]) &&
                    is_finite(Z[2]) && is_finite(q);
        good = good && q >= 0.0f && d > 0.0f && (X[0] != 0.0f || X[1] != 0.0f || X[2] != 0.0f);
        if (!good) {
            bad += 1.0f;
            return p;
        }
        for (int c = 0; c < 3; ++c) {
            p.X[c] = X[c];
            p.z[c] = Z[c] / d;
        }
        p.z[3] = d;
        p.sqrt_q = sqrtf(q);
        return p;
    }

    // With n = Y / |Y| the rows are [-(I - n n^T) / |Y|, [n]x, 0] for the ray and [-n, 0, -|Y|] for the distance.
    static SIM3_FN void add(float* sums, const Affine& T, const Point& p, const float*, const Options& o) {
        float Y[3], n[3];
        for (int c = 0; c < 3; ++c)
            Y[c] = T.m[c][0] * p.X[0] + T.m[c][1] * p.X[1] + T.m[c][2] * p.X[2] + T.m[c][3];
        float d = sqrtf(Y[0] * Y[0] + Y[1] * Y[1] + Y[2] * Y[2]);
        float inv_d = 1.0f / d;
        for (int c = 0; c < 3; ++c)
            n[c] = Y[c] * inv_d;
        const float cross_n[3][3] = {{0, -n[2], n[1]}, {n[2], 0, -n[0]}, {-n[1], n[0], 0}};
        for (int i = 0; i < 3; ++i) {
            float r = p.z[i] - n[i], s = p.sqrt_q * o.inv_sigma[i];
            float w = huber_weight(fabsf(s * r), o.huber) * s * s;
            float j[6];
            for (int c = 0; c < 3; ++c) {
                j[c] = (n[i] * n[c] - (i == c ? 1.0f : 0.0f)) * inv_d;
                j[3 + c] = cross_n[i][c];
            }
            add_row<0, 6>(sums, j, r, w);
        }
        float r = p.z[3] - d, s = p.sqrt_q * o.inv_sigma[3];
        float w = huber_weight(fabsf(s * r), o.huber) * s * s;
        for (int a = 0; a < 3; ++a) {
            for (int b = a; b < 3; ++b)
                sums[SUM_H + index_h(a, b)] += w * n[a] * n[b];
            sums[SUM_H + index_h(a, 6)] += w * n[a] * d;
            sums[SUM_G + a] -= w * n[a] * r;
        }
        sums[SUM_H + index_h(6, 6)] += w * d * d;
        sums[SUM_G + 6] -= w * d * r;
        sums[SUM_COST] += w * r * r;
        sums[SUM_COUNT] += p.sqrt_q > 0.0f ? 1.0f : 0.0f;
    }
};

struct Calib {
    static SIM3_FN Point read(const Problem& problem, int64 i, float& bad) {
        Point p = {{0, 0, 0}, {0, 0, 0, 0}, 0};
        if (problem.valid.data[i * problem.valid.row] == 0 || problem.valid_meas.data[i * problem.valid_meas.row] == 0)
            return p;
        float X[3], Z[3], q = problem.Q.data[i * problem.Q.row];
        read_row(problem.Xf, i, X);
        read_row(problem.target, i, Z);
        bool good = is_finite(X[0]) && is_finite(X[1]) && is_finite(X[2]) && is_finite(Z[0]) && is_finite(Z[1]) &&
                    is_finite(Z[2]) && is_finite(q);
        if (!(good && q >= 0.0f)) {
            bad += 1.0f;
            return p;
        }
        for (int c = 0; c < 3; ++c) {
            p.X[c] = X[c];
            p.z[c] = Z[c];
        }
        p.sqrt_q = sqrtf(q);
        return p;
    }

    // u = fx x/z + cx, v = fy y/z + cy, log z; scale moves log z alone. A point behind depth_eps or outside the bordered image
    // is left out at this pose.
    static SIM3_FN void add(float* sums, const Affine& T, const Point& p, const float* K, const Options& o) {
        float Y[3];
        for (int c = 0; c < 3; ++c)
            Y[c] = T.m[c][0] * p.X[0] + T.m[c][1] * p.X[1] + T.m[c][2] * p.X[2] + T.m[c][3];
        bool seen = Y[2] > o.depth_eps && p.sqrt_q > 0.0f;
        float inv_z = 1.0f / (seen ? Y[2] : 1.0f);
        float x = Y[0] * inv_z, y = Y[1] * inv_z;
        float u = K[0] * x + K[2], v = K[4] * y + K[5], b = o.pixel_border;
        seen = seen && u > b && u < o.width - 1.0f - b && v > b && v < o.height - 1.0f - b;
        float q = seen ? p.sqrt_q : 0.0f;
        x = seen ? x : 0.0f;
        y = seen ? y : 0.0f;
        float r[3] = {seen ? p.z[0] - u : 0.0f, seen ? p.z[1] - v : 0.0f, seen ? p.z[2] + logf(inv_z) : 0.0f};
        const float j[3][7] = {{-K[0] * inv_z, 0, K[0] * x * inv_z, K[0] * x * y, -K[0] * (1 + x * x), K[0] * y, 0},
                               {0, -K[4] * inv_z, K[4] * y * inv_z, K[4] * (1 + y * y), -K[4] * x * y, -K[4] * x, 0},
                               {0, 0, -inv_z, -y, x, 0, -1}};
        for (int i = 0; i < 3; ++i) {
            float s = q * o.inv_sigma[i];
            float w = huber_weight(fabsf(s * r[i]), o.huber) * s * s;
            if (i < 2)
                add_row<0, 6>(sums, j[i], r[i], w);
            else
                add_row<2, 7>(sums, j[i], r[i], w);
        }
        sums[SUM_COUNT] += seen ? 1.0f : 0.0f;
    }
};
