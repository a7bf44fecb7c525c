/* Products of many items with one matrix, which convolutions, matrix products and recurrent cells are made of.

   out[item][filter] = activation(bias[filter] + sum over taps and channels of x[item + tap][channel] *
   weight[tap][channel][filter] + addend[item][filter]). Taps are read where they lie, in the ring of a delay: nothing
   is gathered. The matrix is packed in panels of as many filters as the accumulators of this processor hold. */

#ifndef PULSE_PRODUCT_H
#define PULSE_PRODUCT_H

#include "engine.h"

enum { LINEAR, GATE, RELU, SIGMOID, TANH, ACTIVATIONS };

typedef struct {
    const struct Instructions *instructions;
    ptrdiff_t filters; /* of the matrix; behind a gate half as many come out */
    ptrdiff_t taps, channels;
    ptrdiff_t rows, items;           /* items lie in rows; within one, they are equally far apart */
    ptrdiff_t channel_move, item_move; /* floats from a channel to the next in x, and from an item of a row */
    const ptrdiff_t *tap, *row;      /* floats from the start of x to each tap and each row */
    ptrdiff_t out_item;              /* floats from an item to the next in out, whose filters lie side by side */
    ptrdiff_t addend_item, addend_filter;
    int activation;
} Product;

/* One product with the matrix in `panels`; `addend` may be NULL. */
typedef void Multiply(const Product *product, const float *panels, const float *x, float *out, const float *addend);

/* out[i] = f(x[i]), side by side; f is one of the activations but the gate. */
typedef void Activate(int activation, ptrdiff_t count, float *out, const float *x);

/* out[i] = tanh(a[i]) * sigmoid(b[i]), side by side */
typedef void Gate(ptrdiff_t count, float *out, const float *a, const float *b);

/* out[i] += x * y[i], side by side */
typedef void Accumulate(ptrdiff_t count, float *out, float x, const float *y);

/* `rounds` rounds of as many multiplications and additions in registers as a processor can have under way; returns the
   multiplications. What a core reaches here, nothing else can: the limit that benchmarks are held against. */
typedef double Burn(ptrdiff_t rounds);

/* What one kind of vector instructions offers. */
typedef struct Instructions {
    const char *name;
    int lanes; /* floats of a vector */
    Multiply *multiply;
    Multiply *by_channel; /* out[item][filter] sums over taps of the channel of that number; rows of `padded` filters */
    Activate *activate;
    Gate *gate;
    Accumulate *accumulate;
    Burn *burn;
} Instructions;

extern const Instructions portable_instructions;
/* clang has no way to compile one file for another processor than the others. */
#if defined(__arm__) && defined(__linux__) && defined(__VFP_FP__) && !defined(__SOFTFP__) && !defined(__clang__)
#define HAS_NEON
extern const Instructions neon_instructions;
#endif
#if defined(__x86_64__) || defined(__i386__)
extern const Instructions avx2_instructions, avx512_instructions;
#endif

/* The best that this processor has, or what `engine_new` was asked for. */
const Instructions *engine_instructions(const Engine *engine);

/* Those of a name, or the best for NULL; NULL if this processor has none of that name. */
const Instructions *instructions_called(const char *name);

/* The vectors of the next panel, when so many filters are left. */
static inline int panel_vectors(ptrdiff_t left, int lanes) {
    if (left <= lanes) return 1;
    return left > 2 * lanes && left <= 3 * lanes ? 3 : 2;
}

/* So many filters, and as many more as fill the last vector. */
static inline ptrdiff_t padded(ptrdiff_t filters, int lanes) { return (filters + lanes - 1) / lanes * lanes; }

/* Per panel a row of biases, then a row for each tap and channel: floats of all panels for a matrix of so many rows, which are taps times channels. */
size_t panel_floats(const Instructions *instructions, ptrdiff_t rows, ptrdiff_t filters, int activation);

/* Packs weight (rows, filters), whose strides count floats, and bias (filters) or NULL. */
void pack_panels(const Product *product, float *panels, const float *weight, const ptrdiff_t *strides, const float *bias);

/* Where one tap is, or one row: at the start. */
extern const ptrdiff_t NO_MOVE[1];

/* The panels of a constant matrix (rows, filters), of at most LONGEST numbers, and a bias (filters), side by side, or
   NULL; NULL when there is no memory for them. */
const float *packed(Engine *engine, const Product *product, const View *weight, const View *bias);

#endif
