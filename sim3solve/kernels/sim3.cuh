// Sim(3): poses [t q s] act as s R(q) X + t; tangents [tau omega sigma]; updates are applied on the left.
// E. Eade, "Lie Groups for 2D and 3D Transformations", section 6; H. Strasdat, thesis 2012, appendix A.
#pragma once
#include "portable.cuh"

struct Sim3 {
    float t[3];
    float q[4]; // x y z w, unit
    float s;
};

// s R and t as the rows of a 3x4 matrix: what each point is multiplied by.
struct Affine {
    float m[3][4];
};

// On a GPU a division and a square root that are right to the last bit bring a slow path each, and the pose's step would be mostly
// those. These are right to a rounding or two.
#if defined(__CUDA_ARCH__)
SIM3_FN float quick_reciprocal(float x) { return __fdividef(1.0f, x); }
SIM3_FN float inverse_sqrt(float x) {
    float y = rsqrtf(x);
    return y * (1.5f - 0.5f * x * y * y);
}
#else
SIM3_FN float quick_reciprocal(float x) { return 1.0f / x; }
template <class F> SIM3_FN F inverse_sqrt(F x) { return 1.0f / sqrtf(x); }
#endif

SIM3_FN void cross(const float a[3], const float b[3], float c[3]) {
    c[0] = a[1] * b[2] - a[2] * b[1];
    c[1] = a[2] * b[0] - a[0] * b[2];
    c[2] = a[0] * b[1] - a[1] * b[0];
}

SIM3_FN void rotate(const float q[4], const float X[3], float Y[3]) {
    float u[3], v[3];
    cross(q, X, u);
    for (int i = 0; i < 3; ++i)
        u[i] *= 2.0f;
    cross(q, u, v);
    for (int i = 0; i < 3; ++i)
        Y[i] = X[i] + q[3] * u[i] + v[i];
}

SIM3_FN void act(const Sim3& T, const float X[3], float Y[3]) {
    rotate(T.q, X, Y);
    for (int i = 0; i < 3; ++i)
        Y[i] = T.s * Y[i] + T.t[i];
}

SIM3_FN void normalise(float q[4]) {
    // Scaled by the largest entry first, so that no square overflows or vanishes.
    float largest = 0.0f;
    for (int i = 0; i < 4; ++i)
        largest = fmaxf(largest, fabsf(q[i]));
    float sum = 0.0f, scale = 1.0f / largest;
    if (!(scale < 1e30f)) { // the largest is so small that one over it may be infinite
        scale = 1e30f;
        for (int i = 0; i < 4; ++i)
            q[i] *= 1e10f;
    }
    for (int i = 0; i < 4; ++i) {
        q[i] *= scale;
        sum += q[i] * q[i];
    }
    scale = inverse_sqrt(sum);
    for (int i = 0; i < 4; ++i)
        q[i] *= scale;
}

// For a product of unit quaternions: its length is one up to rounding, and one Newton step of 1/sqrt takes that off.
SIM3_FN void renormalise(float q[4]) {
    float scale = 1.5f - 0.5f * (q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
    for (int i = 0; i < 4; ++i)
        q[i] *= scale;
}

SIM3_FN Sim3 compose(const Sim3& A, const Sim3& B) {
    Sim3 C;
    act(A, B.t, C.t);
    float v[3];
    cross(A.q, B.q, v);
    for (int i = 0; i < 3; ++i)
        C.q[i] = A.q[3] * B.q[i] + B.q[3] * A.q[i] + v[i];
    C.q[3] = A.q[3] * B.q[3] - A.q[0] * B.q[0] - A.q[1] * B.q[1] - A.q[2] * B.q[2];
    renormalise(C.q);
    C.s = A.s * B.s;
    return C;
}

SIM3_FN Sim3 inverse(const Sim3& T) {
    Sim3 I;
    for (int i = 0; i < 3; ++i)
        I.q[i] = -T.q[i];
    I.q[3] = T.q[3];
    I.s = 1.0f / T.s;
    rotate(I.q, T.t, I.t);
    for (int i = 0; i < 3; ++i)
        I.t[i] *= -I.s;
    return I;
}

// With phi(z) = (e^z - 1) / z, z = sigma + i |omega|, the three quantities of W = C I + A [omega]x + B [omega]x^2, none of which
// divides by |omega| or sigma.
struct W {
    float C, A, B;
};

// By the power series of phi: 14 terms leave less than a float32 rounding for |z| <= 1.5.
SIM3_FN W w_series(float theta2, float sigma) {
    float re = 1.0f, im = 0.0f, d = 0.0f, power = 1.0f, factor = 1.0f;
    W w = {1.0f, 0.0f, 0.0f};
    SIM3_ROLLED // code that is rarely run should be short
        for (int k = 1; k <= 14; ++k) {
        float re_next = sigma * re - theta2 * im;
        float d_next = sigma * d + im;
        im = sigma * im + re;
        re = re_next;
        d = d_next;
        power *= sigma;
        factor *= quick_reciprocal(float(k + 1));
        w.C += factor * power;
        w.A += factor * im;
        w.B += factor * d;
    }
    return w;
}

// The same for |z| <= 0.1, as all updates but the first are: six terms, written out.
SIM3_FN W w_small(float q, float s) {
    float s2 = s * s, s3 = s2 * s, s4 = s2 * s2;
    W w;
    w.C = 1 + s * 0.5f * (1 + s * (1 / 3.0f) * (1 + s * 0.25f * (1 + s * 0.2f * (1 + s * (1 / 6.0f)))));
    w.A = 0.5f + s * (1 / 3.0f) + (3 * s2 - q) * (1 / 24.0f) + (s3 - s * q) * (1 / 30.0f) +
          (5 * s4 - 10 * s2 * q + q * q) * (1 / 720.0f);
    w.B = (1 / 6.0f) + s * 0.125f + (6 * s2 - q) * (1 / 120.0f) + (2 * s3 - s * q) * (1 / 144.0f) +
          (15 * (s4 - s2 * q) + q * q) * (1 / 5040.0f);
    return w;
}

// exp of a tangent with |omega|, |sigma| at most about 1.
SIM3_FN Sim3 exp_near(const float tau[3], const float omega[3], float sigma) {
    float theta2 = omega[0] * omega[0] + omega[1] * omega[1] + omega[2] * omega[2];
    W w = theta2 + sigma * sigma < 0.01f ? w_small(theta2, sigma) : w_series(theta2, sigma);
    Sim3 T;
    float once[3], twice[3];
    cross(omega, tau, once);
    cross(omega, once, twice);
    for (int i = 0; i < 3; ++i)
        T.t[i] = w.C * tau[i] + w.A * once[i] + w.B * twice[i];
    // sin(h) / (2 h) and cos(h) of the half angle h <= 0.65 by their series in h^2: no division, and no slow path for large angles.
    float h2 = 0.25f * theta2;
    float sinc = 0.5f * (1 - h2 * (1 / 6.0f) * (1 - h2 * (1 / 20.0f) * (1 - h2 * (1 / 42.0f) * (1 - h2 * (1 / 72.0f)))));
    for (int i = 0; i < 3; ++i)
        T.q[i] = sinc * omega[i];
    T.q[3] = 1 - h2 * 0.5f * (1 - h2 * (1 / 12.0f) * (1 - h2 * (1 / 30.0f) * (1 - h2 * (1 / 56.0f) * (1 - h2 * (1 / 90.0f)))));
    T.s = 1 + sigma * w.C;
    return T;
}

// exp(2 x) = exp(x) exp(x), so halve until the series is good and square back. Each squaring rounds once.
SIM3_FN Sim3 exp_far(const float delta[7], float size) {
    float tau[3], omega[3], scale = 1.0f;
    int doublings = 0;
    SIM3_ROLLED
    for (; size > 0.75f && doublings < 40; size *= 0.5f) {
        ++doublings;
        scale *= 0.5f;
    }
    for (int i = 0; i < 3; ++i) {
        tau[i] = delta[i] * scale;
        omega[i] = delta[3 + i] * scale;
    }
    Sim3 T = exp_near(tau, omega, delta[6] * scale);
    SIM3_ROLLED
    for (int i = 0; i < doublings; ++i)
        T = compose(T, T);
    return T;
}

// exp at any magnitude.
SIM3_FN Sim3 exp_sim3(const float delta[7]) {
    float size = fmaxf(fmaxf(fabsf(delta[3]), fabsf(delta[4])), fmaxf(fabsf(delta[5]), fabsf(delta[6])));
    return size > 0.75f ? exp_far(delta, size) : exp_near(delta, delta + 3, delta[6]);
}

SIM3_FN Affine affine(const Sim3& T) {
    float x = T.q[0], y = T.q[1], z = T.q[2], w = T.q[3];
    Affine a = {{{T.s * (1 - 2 * (y * y + z * z)), T.s * 2 * (x * y - z * w), T.s * 2 * (x * z + y * w), T.t[0]},
                 {T.s * 2 * (x * y + z * w), T.s * (1 - 2 * (x * x + z * z)), T.s * 2 * (y * z - x * w), T.t[1]},
                 {T.s * 2 * (x * z - y * w), T.s * 2 * (y * z + x * w), T.s * (1 - 2 * (x * x + y * y)), T.t[2]}}};
    return a;
}

// A pose from 8 floats. False when they are none: NaN or infinity, a zero quaternion, a scale that is not positive.
SIM3_FN bool to_pose(const float v[8], Sim3& T) {
    float all = 0.0f, largest = 0.0f;
    for (int i = 0; i < 8; ++i)
        all += 0.0f * v[i];
    for (int i = 0; i < 3; ++i)
        T.t[i] = v[i];
    for (int i = 0; i < 4; ++i) {
        T.q[i] = v[3 + i];
        largest = fmaxf(largest, fabsf(v[3 + i]));
    }
    T.s = v[7];
    if (!(is_finite(all) && largest > 0.0f && T.s > 0.0f))
        return false;
    normalise(T.q);
    return true;
}

SIM3_FN void write_pose(const Sim3& T, float* to) {
    for (int i = 0; i < 3; ++i)
        to[i] = T.t[i];
    for (int i = 0; i < 4; ++i)
        to[3 + i] = T.q[i];
    to[7] = T.s;
}

// Zero times a finite number is zero; times NaN or infinity it is NaN.
SIM3_FN bool is_finite(const Sim3& T) {
    float all = 0.0f * T.s;
    for (int i = 0; i < 3; ++i)
        all += 0.0f * T.t[i];
    for (int i = 0; i < 4; ++i)
        all += 0.0f * T.q[i];
    return is_finite(all);
}
