/* The products of product.h in vectors of LANES floats; included once for each kind of instructions, which NAMES
   them. FRAMES items at a time times two or three vectors of filters fill the accumulators: every weight that is loaded meets
   FRAMES items, every number of an item all these vectors. Vectors are those of GCC and clang, which know no others. */

#include <string.h>

#include "product.h"

/* vectors that are packed like one: a panel has two or three of these */
#ifndef PARTS
#define PARTS 1
#endif

enum { VECTORS = 3 * PARTS, SUMS = LANES > 2 ? 12 : 8 };
#define LINE 16   /* floats of a cache line */
#define AHEAD 512 /* floats: weights come from the second cache, as each is used once in a pulse */
#define INLINE static inline __attribute__((always_inline))

#if LANES > 1
typedef float Vector __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float))));
typedef int32_t Mask __attribute__((vector_size(LANES * sizeof(float))));
#else
typedef float Vector;
#endif

INLINE Vector load(const float *from) { return *(const Vector *)from; }
INLINE void store(float *to, Vector x) { *(Vector *)to = x; }
INLINE Vector all(float x) { return x - (Vector){0}; }
#ifndef SMALLER
INLINE Vector choose(Mask mask, Vector x, Vector y) { return (Vector)((mask & (Mask)x) | (~mask & (Mask)y)); }
#define SMALLER(x, y) choose((x) < (y), x, y)
#define LARGER(x, y) choose((x) > (y), x, y)
#endif

/* tanh(x) = x P(x^2) / Q(x^2), a minimax fit on [-LIMIT, LIMIT]; off by less than 1e-6 anywhere. */
#define LIMIT 7.6f
static const float P[] = {0.9999994039535522f, 0.1273510605096817f, 0.0027204114012420177f, 7.35450885258615e-06f,
                          -6.514138561897198e-09f};
static const float Q[] = {1.0f, 0.46068212389945984f, 0.02295030653476715f, 0.0001999193336814642f};

/* In this order of the operands a NaN stays one. */
INLINE Vector bounded(Vector x, float limit) { return LARGER(all(-limit), SMALLER(all(limit), x)); }

/* `scale` times x P(x^2), and Q(x^2), of `x` times `inside`: constants, which the compiler multiplies beforehand. */
INLINE Vector top(Vector x, Vector square, const float scale, const float inside) {
    const float s = inside * inside;
    Vector p = square * (P[4] * s * s * s * s * inside * scale) + P[3] * s * s * s * inside * scale;
    p = p * square + P[2] * s * s * inside * scale;
    p = p * square + P[1] * s * inside * scale;
    return (p * square + P[0] * inside * scale) * x;
}
INLINE Vector bottom(Vector square, const float inside) {
    const float s = inside * inside;
    Vector q = square * (Q[3] * s * s * s) + Q[2] * s * s;
    q = q * square + Q[1] * s;
    return q * square + Q[0];
}
INLINE Vector tanh_of(Vector x) {
    x = bounded(x, LIMIT);
    return top(x, x * x, 1, 1) / bottom(x * x, 1);
}
/* sigmoid(x) = (1 + tanh(x / 2)) / 2 */
INLINE Vector sigmoid_of(Vector x) {
    x = bounded(x, 2 * LIMIT);
    return top(x, x * x, 0.5f, 0.5f) / bottom(x * x, 0.5f) + 0.5f;
}
/* tanh(a) sigmoid(b), one division for both */
INLINE Vector gate_of(Vector a, Vector b) {
    a = bounded(a, LIMIT), b = bounded(b, 2 * LIMIT);
    Vector a2 = a * a, b2 = b * b, under = bottom(b2, 0.5f);
    return top(a, a2, 1, 1) * (under * 0.5f + top(b, b2, 0.5f, 0.5f)) / (bottom(a2, 1) * under);
}
#if LANES == 1
#include "product_single.h"
#endif
INLINE Vector activated(int activation, Vector x) {
    switch (activation) {
    case RELU: return LARGER(all(0), x);
    case SIGMOID: return sigmoid_of(x);
    case TANH: return tanh_of(x);
    default: return x;
    }
}

/* The first floats of a vector that reaches beyond the end, or whose floats lie apart. */
INLINE void store_part(float *to, Vector x, ptrdiff_t count) {
    float part[LANES];
    store(part, x);
    for (ptrdiff_t i = 0; i < count && i < LANES; i++) to[i] = part[i];
}
INLINE Vector load_part(const float *from, ptrdiff_t move, ptrdiff_t count) {
    float part[LANES] = {0};
    for (ptrdiff_t i = 0; i < count && i < LANES; i++) part[i] = from[i * move];
    return load(part);
}

/* Where a block lies: its first item in x and out and the addend, and its filters, behind a gate half of them. */
typedef struct {
    const float *x, *addend;
    float *out;
    ptrdiff_t filter;
} Place;

/* sum[vector][frame] = the biases and products of one panel with `frames` items */
INLINE void multiplied(Vector sum[VECTORS][FRAMES], const Product *p, const float *w, const float *x, const int vectors,
                       const int frames) {
    const ptrdiff_t move = p->item_move, channel_move = p->channel_move, channels = p->channels;
#ifdef BLOCK
    if (vectors == 4 && frames == 4 && channel_move == 1 && channels % 2 == 0) {
        BLOCK(sum, p, w, x);
        return;
    }
#endif
#pragma GCC unroll 8
    for (int f = 0; f < frames; f++)
        for (int v = 0; v < vectors; v++) sum[v][f] = load(w + v * LANES);
    w += vectors * LANES;
    for (ptrdiff_t tap = 0; tap < p->taps; tap++) {
        const float *at = x + p->tap[tap];
        ptrdiff_t c = 0;
#ifdef BY_ELEMENT
        for (; vectors <= 2 && channel_move == 1 && c + LANES <= channels; c += LANES, at += LANES) {
            Vector numbers[FRAMES];
#pragma GCC unroll 8
            for (int f = 0; f < frames; f++) numbers[f] = load(at + f * move);
#pragma GCC unroll 4
            for (int lane = 0; lane < LANES; lane++, w += vectors * LANES) {
                Vector weight[VECTORS];
                for (int v = 0; v < vectors; v++) weight[v] = load(w + v * LANES);
                if (lane % 2 == 0) __builtin_prefetch(w + AHEAD);
#pragma GCC unroll 8
                for (int f = 0; f < frames; f++)
                    for (int v = 0; v < vectors; v++) sum[v][f] += weight[v] * numbers[f][lane];
            }
        }
#endif
        for (; c < channels; c++, at += channel_move, w += vectors * LANES) {
            Vector weight[VECTORS];
            for (int v = 0; v < vectors; v++) {
                weight[v] = load(w + v * LANES);
                if (v * LANES % LINE == 0) __builtin_prefetch(w + v * LANES + AHEAD);
            }
#pragma GCC unroll 8
            for (int f = 0; f < frames; f++)
                for (int v = 0; v < vectors; v++) sum[v][f] += weight[v] * at[f * move];
        }
    }
}

/* Adds the addend; `half` are the filters from the first vector to the second. */
INLINE void add(Vector sum[VECTORS][FRAMES], const Product *p, Place at, const int vectors, const int frames) {
    const ptrdiff_t half = p->activation == GATE ? p->filters / 2 : PARTS * LANES, move = p->addend_filter;
    for (int v = 0; v < vectors; v++) {
        ptrdiff_t filter = at.filter + v / PARTS * half + v % PARTS * LANES;
        ptrdiff_t left = p->activation == GATE && v < PARTS ? half - filter : p->filters - filter;
        if (left <= 0) continue;
        const float *more = at.addend + filter * move;
        if (move == 1 && left >= LANES) {
#pragma GCC unroll 8
            for (int f = 0; f < frames; f++) sum[v][f] += load(more + f * p->addend_item);
        } else {
            for (int f = 0; f < frames; f++) sum[v][f] += load_part(more + f * p->addend_item, move, left);
        }
    }
}

INLINE void finish(Vector sum[VECTORS][FRAMES], const Product *p, Place at, const int vectors, const int frames) {
    const int gated = vectors == 2 * PARTS && p->activation == GATE;
    ptrdiff_t left = (gated ? p->filters / 2 : p->filters) - at.filter;
    float *out = at.out + at.filter;
    if (gated) {
#if LANES == 1
        for (int v = 0; v < PARTS; v++)
            if (frames == 4) four_gates(sum[v], sum[v], sum[PARTS + v]);
            else for (int f = 0; f < frames; f++) sum[v][f] = gate_of(sum[v][f], sum[PARTS + v][f]);
#else
#pragma GCC unroll 8
        for (int f = 0; f < frames; f++)
            for (int v = 0; v < PARTS; v++) sum[v][f] = gate_of(sum[v][f], sum[PARTS + v][f]);
#endif
    } else if (p->activation != LINEAR) {
        for (int f = 0; f < frames; f++)
            for (int v = 0; v < vectors; v++) sum[v][f] = activated(p->activation, sum[v][f]);
    }
    for (int v = 0; v < (gated ? PARTS : vectors); v++, out += LANES, left -= LANES) {
        if (left >= LANES) {
#pragma GCC unroll 8
            for (int f = 0; f < frames; f++) store(out + f * p->out_item, sum[v][f]);
        } else {
            for (int f = 0; f < frames; f++) store_part(out + f * p->out_item, sum[v][f], left);
        }
    }
}

INLINE Place block(const Product *p, const float *w, Place at, const int vectors, const int frames) {
    Vector sum[VECTORS][FRAMES];
    multiplied(sum, p, w, at.x, vectors, frames);
    if (at.addend) add(sum, p, at, vectors, frames), at.addend += frames * p->addend_item;
    finish(sum, p, at, vectors, frames);
    at.x += frames * p->item_move;
    at.out += frames * p->out_item;
    return at;
}

/* All items of one panel: those of a row are equally far apart. */
INLINE void panel(const Product *p, const float *w, const float *x, Place at, const int vectors) {
    for (ptrdiff_t row = 0; row < p->rows; row++) {
        ptrdiff_t left = p->items;
        at.x = x + p->row[row];
        for (; left >= FRAMES; left -= FRAMES) at = block(p, w, at, vectors, FRAMES);
#if FRAMES > 4
        for (; left >= 4; left -= 4) at = block(p, w, at, vectors, 4);
#endif
        for (; left >= 2; left -= 2) at = block(p, w, at, vectors, 2);
        for (; left >= 1; left -= 1) at = block(p, w, at, vectors, 1);
    }
}

/* Panels of two vectors; of three where the last would be left alone, which does not keep the processor busy. */
static void multiply(const Product *p, const float *w, const float *x, float *out, const float *addend) {
    const ptrdiff_t floats = (1 + p->taps * p->channels) * LANES * PARTS;
    Place at = {NULL, addend, out, 0};
    if (p->activation == GATE) {
        for (; at.filter < p->filters / 2; at.filter += LANES * PARTS, w += 2 * floats)
            panel(p, w, x, at, 2 * PARTS);
        return;
    }
    while (at.filter < p->filters) {
        int vectors = panel_vectors(p->filters - at.filter, LANES * PARTS);
        switch (vectors) {
        case 1: panel(p, w, x, at, 1 * PARTS); break;
        case 2: panel(p, w, x, at, 2 * PARTS); break;
        default: panel(p, w, x, at, 3 * PARTS);
        }
        at.filter += vectors * LANES * PARTS;
        w += vectors * floats;
    }
}

/* Every filter has a channel of its own: vectors of channels, for as many items at once as the sums allow. */
INLINE void each_channel(const Product *p, const float *w, Place at, const int frames) {
    const ptrdiff_t move = p->item_move, width = padded(p->filters, LANES * PARTS);
    for (; at.filter < p->filters; at.filter += LANES) {
        const ptrdiff_t left = p->filters - at.filter;
        const float *weights = w + at.filter;
        Vector sum[FRAMES];
#pragma GCC unroll 8
        for (int f = 0; f < frames; f++) sum[f] = load(weights);
        for (ptrdiff_t tap = 0; tap < p->taps; tap++) {
            const float *x = at.x + p->tap[tap] + at.filter;
            const Vector weight = load(weights += width);
#pragma GCC unroll 8
            for (int f = 0; f < frames; f++)
                sum[f] += weight * (left >= LANES ? load(x + f * move) : load_part(x + f * move, 1, left));
        }
        for (int f = 0; f < frames; f++) {
            float *out = at.out + f * p->out_item + at.filter;
            if (at.addend)
                sum[f] += load_part(at.addend + f * p->addend_item + at.filter * p->addend_filter, p->addend_filter, left);
            sum[f] = activated(p->activation, sum[f]);
            if (left >= LANES) store(out, sum[f]);
            else store_part(out, sum[f], left);
        }
    }
}

static void by_channel(const Product *p, const float *w, const float *x, float *out, const float *addend) {
    Place at = {NULL, addend, out, 0};
    for (ptrdiff_t row = 0; row < p->rows; row++) {
        at.x = x + p->row[row];
        for (ptrdiff_t left = p->items; left;) {
            const int frames = left >= 4 ? 4 : 1;
            if (frames == 4) each_channel(p, w, at, 4);
            else each_channel(p, w, at, 1);
            at.x += frames * p->item_move;
            at.out += frames * p->out_item;
            if (addend) at.addend += frames * p->addend_item;
            left -= frames;
        }
    }
}

static void activate(int activation, ptrdiff_t count, float *out, const float *x) {
    for (; count >= LANES; count -= LANES, out += LANES, x += LANES) store(out, activated(activation, load(x)));
    if (count) store_part(out, activated(activation, load_part(x, 1, count)), count);
}

static void gate(ptrdiff_t count, float *out, const float *a, const float *b) {
#if LANES == 1
    for (; count >= 4; count -= 4, out += 4, a += 4, b += 4) four_gates(out, a, b);
#endif
    for (; count >= LANES; count -= LANES, out += LANES, a += LANES, b += LANES) store(out, gate_of(load(a), load(b)));
    if (count) store_part(out, gate_of(load_part(a, 1, count), load_part(b, 1, count)), count);
}

static void accumulate(ptrdiff_t count, float *out, float x, const float *y) {
    for (; count >= LANES; count -= LANES, out += LANES, y += LANES) store(out, load(out) + load(y) * x);
    for (; count; count--) *out++ += x * *y++;
}

static double burn(ptrdiff_t rounds) {
    Vector sum[SUMS], factor = all(0.5f);
#pragma GCC unroll 16
    for (int i = 0; i < SUMS; i++) sum[i] = all((float)i);
    for (ptrdiff_t round = 0; round < rounds; round++) {
#pragma GCC unroll 16
        for (int i = 0; i < SUMS; i++) sum[i] = sum[i] * factor + factor;
    }
    Vector total = sum[0];
#pragma GCC unroll 16
    for (int i = 1; i < SUMS; i++) total += sum[i];
    float kept[LANES];
    store(kept, total);
    __asm__ volatile("" : : "r"(kept) : "memory"); /* nothing may be left out */
    return (double)rounds * SUMS * LANES;
}

const Instructions NAMES(instructions) = {NAME, LANES * PARTS, multiply, by_channel, activate, gate, accumulate, burn};
