/* Four gates at a time in single floats, so that none waits for its own last result; a part of product_block.h. */

#define EACH _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)
#define HORNER(to, from, by, constant) EACH to[i] = (from) * by[i] + (constant)

/* x, no further from 0 than `limit`. They are looked at as integers, as that takes no wait for the float unit. */
INLINE void four_bounded(float x[4], const float *from, const float limit) {
    uint32_t bits[4], bound, most = 0;
    memcpy(bits, from, sizeof bits);
    memcpy(&bound, &limit, sizeof bound);
    EACH most = bits[i] << 1 > most ? bits[i] << 1 : most;
    memcpy(x, from, sizeof bits);
    if (__builtin_expect(most > bound << 1, 0)) EACH x[i] = bounded(x[i], limit);
}

/* out[i] = gate_of(first[i], second[i]) */
static __attribute__((noinline)) void four_gates(float *out, const float *first, const float *second) {
    float a[4], b[4], a2[4], b2[4], p[4], q[4], under[4];
    const float s = 0.25f; /* the square of 1 / 2, as in sigmoid_of */
    four_bounded(a, first, LIMIT);
    four_bounded(b, second, 2 * LIMIT);
    EACH b2[i] = b[i] * b[i];
    HORNER(q, Q[3] * s * s * s, b2, Q[2] * s * s);
    HORNER(q, q[i], b2, Q[1] * s);
    HORNER(under, q[i], b2, Q[0]);
    HORNER(p, P[4] * s * s * s * s / 4, b2, P[3] * s * s * s / 4);
    HORNER(p, p[i], b2, P[2] * s * s / 4);
    HORNER(p, p[i], b2, P[1] * s / 4);
    HORNER(p, p[i], b2, P[0] / 4);
    HORNER(b, p[i], b, under[i] / 2);
    EACH a2[i] = a[i] * a[i];
    HORNER(q, Q[3], a2, Q[2]);
    HORNER(q, q[i], a2, Q[1]);
    HORNER(q, q[i], a2, Q[0]);
    HORNER(p, P[4], a2, P[3]);
    HORNER(p, p[i], a2, P[2]);
    HORNER(p, p[i], a2, P[1]);
    HORNER(p, p[i], a2, P[0]);
    EACH out[i] = p[i] * a[i] * b[i] / (q[i] * under[i]);
}

#undef EACH
#undef HORNER
