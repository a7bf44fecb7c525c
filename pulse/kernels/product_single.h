/* Four gates at a time in single floats, so that none waits for its own last result; a part of product_block.h. */

#define EACH _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)

/* x, no further from 0 than `limit`. They are looked at as integers, as that takes no wait for the float unit. */
INLINE void four_bounded(float x[4], const float *from, const float limit) {
    uint32_t bits[4], bound, most = 0;
    memcpy(bits, from, sizeof bits);
    memcpy(&bound, &limit, sizeof bound);
    EACH most = bits[i] << 1 > most ? bits[i] << 1 : most;
    memcpy(x, from, sizeof bits);
    if (__builtin_expect(most > bound << 1, 0)) EACH x[i] = bounded(x[i], limit);
}

/* p = scale P(y) inside, q = Q(y), of y = (x inside)^2. By its powers instead of Horner's way, which would have to copy
   every coefficient for every number, as an instruction that multiplies and adds overwrites what it adds to. */
INLINE void four_fractions(float p[4], float q[4], const float x[4], const float scale, const float inside) {
    const float s = inside * inside, by = inside * scale;
    float y[4], power[4];
    EACH y[i] = x[i] * x[i];
    EACH p[i] = P[0] * by + y[i] * (P[1] * s * by);
    EACH q[i] = Q[0] + y[i] * (Q[1] * s);
    EACH power[i] = y[i] * y[i];
    EACH p[i] += power[i] * (P[2] * s * s * by);
    EACH q[i] += power[i] * (Q[2] * s * s);
    EACH power[i] *= y[i];
    EACH p[i] += power[i] * (P[3] * s * s * s * by);
    EACH q[i] += power[i] * (Q[3] * s * s * s);
    EACH power[i] *= y[i];
    EACH p[i] += power[i] * (P[4] * s * s * s * s * by);
}

/* out[i] = gate_of(first[i], second[i]) */
static __attribute__((noinline)) void four_gates(float *out, const float *first, const float *second) {
    float a[4], b[4], p[4], q[4], under[4];
    four_bounded(b, second, 2 * LIMIT);
    four_fractions(p, under, b, 0.5f, 0.5f);
    EACH b[i] = under[i] * 0.5f + p[i] * b[i];
    four_bounded(a, first, LIMIT);
    four_fractions(p, q, a, 1, 1);
    EACH p[i] *= a[i];
    EACH q[i] *= under[i];
    EACH p[i] *= b[i];
    EACH out[i] = p[i] / q[i];
}

#undef EACH
