// The inverse of a row of Sim(3), [tx ty tz qx qy qz qw s] with a unit quaternion. What the two sides of the specimen compute.
#pragma once

#ifdef __CUDACC__
#define HOST_DEVICE __host__ __device__
#else
#define HOST_DEVICE
#endif

template <typename Scalar> HOST_DEVICE void inverse_row(const Scalar* X, Scalar* Y) {
    const Scalar tx = X[0] / X[7], ty = X[1] / X[7], tz = X[2] / X[7];
    const Scalar x = -X[3], y = -X[4], z = -X[5], w = X[6];
    // t' = -R(q*) t / s, with R v = v + 2 u x (u x v + w v), u = (x y z).
    const Scalar cx = y * tz - z * ty + w * tx, cy = z * tx - x * tz + w * ty, cz = x * ty - y * tx + w * tz;
    Y[0] = -(tx + 2 * (y * cz - z * cy));
    Y[1] = -(ty + 2 * (z * cx - x * cz));
    Y[2] = -(tz + 2 * (x * cy - y * cx));
    Y[3] = x;
    Y[4] = y;
    Y[5] = z;
    Y[6] = w;
    Y[7] = 1 / X[7];
}
