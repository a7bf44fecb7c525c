/* Products of int8 in int32, and how they become int8 again: see integer.py, with which every bit agrees.

   out = scaled(bias[filter] + sum over taps and channels of x * weight), as int32 plus an addend, or as int8, through a
   curve where there is one. The items of a block are gathered first, as wide as these instructions multiply them: bytes
   for those that sum four products at once, 16 bits for those that sum two. */

#ifndef PULSE_INTEGER_H
#define PULSE_INTEGER_H

#include "product.h"

enum { SEGMENTS = 32, SEGMENT_BITS = 10 }; /* of the table of tanh, and of the argument within one */

typedef struct {
    const struct Integers *integers;
    ptrdiff_t filters, made; /* of the matrix, and those that come out */
    ptrdiff_t taps, channels, depth; /* depth: taps times channels, and zeros up to a whole group */
    ptrdiff_t rows, items;           /* items lie in rows; within one, they are equally far apart */
    ptrdiff_t channel_move, item_move; /* bytes from a channel to the next in x, and from an item of a row */
    const ptrdiff_t *tap, *row;      /* bytes from the start of x to each tap and each row */
    ptrdiff_t out_item;              /* elements from an item to the next in out, whose filters lie side by side */
    ptrdiff_t addend_item, addend_filter;
    int activation, left, gain, zero;
    int sums;       /* whether out is int32 */
    void *gathered; /* the items of a block */
} IntegerProduct;

typedef void IntegerMultiply(const IntegerProduct *p, const char *panels, const int8_t *x, char *out,
                             const int32_t *addend);

/* Rows of numbers side by side, and the elements from a row to the next in out and x. */
typedef struct {
    ptrdiff_t rows, count, out_move, x_move;
    int32_t multiplier;
    int left, zero;
} Narrowing;

/* out[row][i] = the int8 nearest to x[row][i] * 2^left * multiplier / 2^32 + zero */
typedef void Narrow(const Narrowing *narrowing, int8_t *out, const int32_t *x);

typedef struct Integers {
    int lanes, frames; /* filters of a vector, items of a block */
    int group, wide;   /* products that are summed at once (0: all of a row), bytes of a gathered number */
    int offset;        /* what is added to x where it is gathered */
    int weight_bytes;  /* of one weight */
    IntegerMultiply *multiply;
    Narrow *narrow;
} Integers;

extern const Integers portable_integers;
#if defined(__x86_64__) || defined(__i386__)
extern const Integers avx2_integers, vnni_integers;
#elif defined(__ARM_FEATURE_SIMD32)
extern const Integers arm_integers;
#endif

/* tanh in parts of 2^15 at the ends of its segments, from 0 to 4 */
extern const int16_t TANH_NODES[SEGMENTS + 1];

/* The number of each segment, and tanh at its start and at its end. */
#define TANH_SEGMENTS(S) \
    S(0, 0, 4075) S(1, 4075, 8025) S(2, 8025, 11743) S(3, 11743, 15143) \
    S(4, 15143, 18173) S(5, 18173, 20813) S(6, 20813, 23066) S(7, 23066, 24956) \
    S(8, 24956, 26519) S(9, 26519, 27797) S(10, 27797, 28830) S(11, 28830, 29660) \
    S(12, 29660, 30322) S(13, 30322, 30847) S(14, 30847, 31262) S(15, 31262, 31589) \
    S(16, 31589, 31846) S(17, 31846, 32048) S(18, 32048, 32206) S(19, 32206, 32329) \
    S(20, 32329, 32426) S(21, 32426, 32501) S(22, 32501, 32560) S(23, 32560, 32606) \
    S(24, 32606, 32642) S(25, 32642, 32670) S(26, 32670, 32691) S(27, 32691, 32708) \
    S(28, 32708, 32721) S(29, 32721, 32732) S(30, 32732, 32740) S(31, 32740, 32746)
static inline int32_t scaled(int32_t x, int32_t multiplier, int left) {
    int32_t shifted = (int32_t)((uint32_t)x << left);
#if defined(__ARM_FEATURE_SIMD32)
    int32_t product;
    __asm__("smmulr %0, %1, %2" : "=r"(product) : "r"(shifted), "r"(multiplier)); /* just this */
    return product;
#else
    return (int32_t)(((int64_t)shifted * multiplier + ((int64_t)1 << 31)) >> 32);
#endif
}

static inline int32_t int8_of(int32_t x) { return x < -128 ? -128 : x > 127 ? 127 : x; }

/* A panel: biases and multipliers of its filters, then weights, a group of each filter at a time. */
static inline size_t panel_bytes(const Integers *integers, ptrdiff_t depth, int vectors) {
    return (size_t)vectors * (size_t)integers->lanes * (8 + (size_t)depth * (size_t)integers->weight_bytes);
}

#endif
