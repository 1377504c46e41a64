// A vector of numbers, one lane per point, with the operators that residual.cuh needs of a number. CPU only.
// gcc and clang have vectors as types, so nothing hangs on their finding a loop to vectorise; other compilers get plain arrays.
// Functions keep the names of their float forms, which residual.cuh calls.
#pragma once
#include "portable.cuh"

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64;
#elif defined(__AVX__) || (defined(_MSC_VER) && !defined(__clang__))
constexpr int VECTOR_BYTES = 32;
#else
constexpr int VECTOR_BYTES = 16;
#endif

#if defined(__GNUC__) || defined(__clang__)
typedef float FloatVector __attribute__((vector_size(VECTOR_BYTES)));
typedef int32 Int32Vector __attribute__((vector_size(VECTOR_BYTES)));
typedef double DoubleVector __attribute__((vector_size(VECTOR_BYTES)));
typedef int64_t Int64Vector __attribute__((vector_size(VECTOR_BYTES)));
#else
template <class T> struct alignas(VECTOR_BYTES) ArrayVector {
    static constexpr int N = VECTOR_BYTES / int(sizeof(T));
    T x[N];
    T& operator[](int i) { return x[i]; }
    const T& operator[](int i) const { return x[i]; }
};
using FloatVector = ArrayVector<float>;
using Int32Vector = ArrayVector<int32>;
using DoubleVector = ArrayVector<double>;
using Int64Vector = ArrayVector<int64>;

template <class R, class T, class F> inline R each(const ArrayVector<T>& a, const ArrayVector<T>& b, F f) {
    R r;
    for (int i = 0; i < ArrayVector<T>::N; ++i)
        r[i] = f(a[i], b[i]);
    return r;
}
#define SIM3_ARRAY_OP(OP)                                                                                                          \
    template <class T> inline ArrayVector<T> operator OP(const ArrayVector<T>& a, const ArrayVector<T>& b) {                       \
        return each<ArrayVector<T>>(a, b, [](T x, T y) { return T(x OP y); });                                                     \
    }
#define SIM3_ARRAY_COMPARISON(OP)                                                                                                  \
    inline Int32Vector operator OP(const FloatVector& a, const FloatVector& b) {                                                   \
        return each<Int32Vector>(a, b, [](float x, float y) { return int32(x OP y ? -1 : 0); });                                   \
    }                                                                                                                              \
    inline Int64Vector operator OP(const DoubleVector& a, const DoubleVector& b) {                                                 \
        return each<Int64Vector>(a, b, [](double x, double y) { return int64(x OP y ? -1 : 0); });                                 \
    }
SIM3_ARRAY_OP(+)
SIM3_ARRAY_OP(-)
SIM3_ARRAY_OP(*)
SIM3_ARRAY_OP(/)
SIM3_ARRAY_OP(&)
SIM3_ARRAY_COMPARISON(<)
SIM3_ARRAY_COMPARISON(>)
#endif

template <class I> struct LaneMask {
    I v;                                                                                     // -1 or 0
    friend LaneMask operator&&(const LaneMask& a, const LaneMask& b) { return {a.v & b.v}; } // both sides are evaluated
};

// T the number, V a vector of it, I the vector of integers of the same size.
template <class T, class V, class I> struct LanesOf {
    static constexpr int N = VECTOR_BYTES / int(sizeof(T));
    using Mask = LaneMask<I>;
    V v;

    LanesOf() = default;
    LanesOf(V v) : v(v) {}
    LanesOf(T x) {
#if defined(__GNUC__) || defined(__clang__)
        v = x - V{};
#else
        for (int i = 0; i < N; ++i)
            v[i] = x;
#endif
    }

    static LanesOf load(const float* from) {
        LanesOf r;
        for (int i = 0; i < N; ++i)
            r.v[i] = T(from[i]);
        return r;
    }

    friend LanesOf operator+(const LanesOf& a, const LanesOf& b) { return a.v + b.v; }
    friend LanesOf operator-(const LanesOf& a, const LanesOf& b) { return a.v - b.v; }
    friend LanesOf operator*(const LanesOf& a, const LanesOf& b) { return a.v * b.v; }
    friend LanesOf operator/(const LanesOf& a, const LanesOf& b) { return a.v / b.v; }
    friend LanesOf operator-(const LanesOf& a) { return LanesOf(T(0)) - a; }
    friend LanesOf& operator+=(LanesOf& a, const LanesOf& b) { return a = a + b; }
    friend LanesOf& operator-=(LanesOf& a, const LanesOf& b) { return a = a - b; }
    friend Mask operator<(const LanesOf& a, const LanesOf& b) { return {a.v < b.v}; }
    friend Mask operator>(const LanesOf& a, const LanesOf& b) { return {a.v > b.v}; }

    friend LanesOf select(const Mask& which, const LanesOf& a, const LanesOf& b) {
#if defined(__GNUC__) || defined(__clang__)
        return which.v ? a.v : b.v;
#else
        LanesOf r;
        for (int i = 0; i < N; ++i)
            r.v[i] = which.v[i] ? a.v[i] : b.v[i];
        return r;
#endif
    }

    friend LanesOf fabsf(const LanesOf& a) { return select(a < LanesOf(T(0)), -a, a); }
    friend LanesOf huber_weight(const LanesOf& a, float k) { return select(a < LanesOf(T(k)), T(1), LanesOf(T(k)) / a); }
};

using Lanes = LanesOf<float, FloatVector, Int32Vector>;
using DoubleLanes = LanesOf<double, DoubleVector, Int64Vector>;

inline Lanes sqrtf(const Lanes& a) {
    Lanes r;
    for (int i = 0; i < Lanes::N; ++i)
        r.v[i] = ::sqrtf(a.v[i]);
    return r;
}

inline DoubleLanes sqrtf(const DoubleLanes& a) {
    DoubleLanes r;
    for (int i = 0; i < DoubleLanes::N; ++i)
        r.v[i] = sqrt(double(a.v[i]));
    return r;
}

inline DoubleLanes logf(const DoubleLanes& a) {
    DoubleLanes r;
    for (int i = 0; i < DoubleLanes::N; ++i)
        r.v[i] = log(double(a.v[i]));
    return r;
}

// ln x for normal x > 0 to about a rounding of float32: x = 2^e m with m in [sqrt(1/2), sqrt(2)), ln m = 2 artanh((m - 1) / (m +
// 1)).
inline Lanes logf(const Lanes& x) {
    constexpr int32 SQRT_HALF = 0x3F3504F3;
    union Bits {
        float value;
        int32 bits;
    };
    Lanes m, e;
    for (int i = 0; i < Lanes::N; ++i) {
        Bits b;
        b.value = x.v[i];
        int32 above = b.bits - SQRT_HALF;
        b.bits = (above & 0x007FFFFF) + SQRT_HALF;
        m.v[i] = b.value;
        e.v[i] = float(above >> 23);
    }
    Lanes f = (m - 1.0f) / (m + 1.0f), f2 = f * f;
    Lanes tail = f * f2 * (1.0f / 3 + f2 * (1.0f / 5 + f2 * (1.0f / 7 + f2 * (1.0f / 9 + f2 * (1.0f / 11)))));
    return e * 0.693147182f + (e * -1.90465421e-9f + 2.0f * (f + tail)); // ln 2 in two parts
}
