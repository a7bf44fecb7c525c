/* int8: convolutions, and the ways between int8, int32 and float32. */

#include "integer.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "engine.h"

enum { DEEPEST = 1 << 15, LARGEST_BIAS = 1 << 30, LARGEST_LEFT = 31 };
enum { LOADED = 16 }; /* bytes beyond what is multiplied that some load beforehand */

#define START(number, start, end) start,
const int16_t TANH_NODES[SEGMENTS + 1] = {TANH_SEGMENTS(START) 32746};

static const Integers *integers_of(const Instructions *instructions) {
#if defined(__x86_64__) || defined(__i386__)
    if (instructions == &avx512_instructions && __builtin_cpu_supports("avx512vnni")) return &vnni_integers;
    if (instructions != &portable_instructions) return &avx2_integers;
#endif
    (void)instructions;
#if defined(__ARM_FEATURE_SIMD32)
    return &arm_integers;
#else
    return &portable_integers;
#endif
}

typedef struct {
    IntegerProduct product;
    const char *panels;
    size_t panel_bytes; /* of one group */
    ptrdiff_t n, group;
    ptrdiff_t x_move[2], out_move[2], addend_move[2]; /* elements along n and group */
} Convolution;

/* writes out, made, sums, scratch, columns, factor: numpy needs all but the first; reads taps, matrix, weight, bias,
   multiplier, addend */
enum { OUT, MADE, SUMS, SCRATCH, COLUMNS, FACTOR, TAPS, MATRIX, WEIGHT, BIAS, MULTIPLIERS, ADDEND, CONV_VIEWS };
enum { ACTIVATION, SHIFT, GAIN, TO_ZERO };

static void conv(const Step *step, char *const *rooms) {
    const Convolution *c = step->prepared;
    const View *views = step->views;
    const int8_t *x = (const int8_t *)start(&views[TAPS], rooms);
    const int32_t *addend = views[ADDEND].room < 0 ? NULL : (const int32_t *)start(&views[ADDEND], rooms);
    const ptrdiff_t item = c->product.sums ? 4 : 1;
    char *out = start(&views[OUT], rooms);
    for (ptrdiff_t n = 0; n < c->n; n++)
        for (ptrdiff_t group = 0; group < c->group; group++)
            c->product.integers->multiply(&c->product, c->panels + (size_t)group * c->panel_bytes,
                                          x + n * c->x_move[0] + group * c->x_move[1],
                                          out + item * (n * c->out_move[0] + group * c->out_move[1]),
                                          addend ? addend + n * c->addend_move[0] + group * c->addend_move[1] : NULL);
}

static int is_weight(const View *view, int kind, ptrdiff_t groups, ptrdiff_t filters) {
    return is_array(view, kind, 3) && view->room == WEIGHTS && view->shape[0] == groups && view->shape[2] == filters;
}

static int conv_fits(const View *v, const double *parameters) {
    const View *out = &v[OUT], *taps = &v[TAPS], *weight = &v[WEIGHT], *addend = &v[ADDEND];
    const int activation = (int)parameters[ACTIVATION], sums = out->kind == INT32;
    if ((out->kind != INT8 && !sums) || !is_array(out, out->kind, 4) || !is_array(taps, INT8, -1) || taps->rank < 5 ||
        taps->rank % 2 == 0 || !is_weight(weight, INT8, taps->shape[1], weight->shape[2]))
        return 0;
    int inside = (taps->rank - 3) / 2;
    ptrdiff_t items = 1, rows = 1, filters = weight->shape[2], made = activation == GATE ? filters / 2 : filters;
    for (int axis = 2; axis < 2 + inside; axis++) items *= taps->shape[axis];
    for (int axis = 2 + inside; axis < taps->rank; axis++) rows *= taps->shape[axis];
    return weight->shape[1] == rows && rows <= DEEPEST && elements(weight) <= LONGEST &&
           out->shape[0] == taps->shape[0] && out->shape[1] == taps->shape[1] && out->shape[2] == items &&
           out->shape[3] == made &&
           (made == 1 || out->strides[3] == 1) && (activation != GATE || filters == 2 * made) &&
           is_weight(&v[BIAS], INT32, taps->shape[1], filters) && v[BIAS].shape[1] == 1 &&
           is_weight(&v[MULTIPLIERS], INT32, taps->shape[1], filters) && v[MULTIPLIERS].shape[1] == 1 &&
           (addend->room < 0 || (sums && is_array(addend, INT32, 4) && addend->shape[0] == out->shape[0] &&
                                 addend->shape[1] == out->shape[1] && addend->shape[2] == items &&
                                 addend->shape[3] == made));
}

static int between(double x, double least, double most) { return x >= least && x <= most; }

static int parameters_fit(const double *p, int kind) {
    return (p[ACTIVATION] == LINEAR ||
            (kind == INT8 && (p[ACTIVATION] == GATE || p[ACTIVATION] == SIGMOID || p[ACTIVATION] == TANH))) &&
           between(p[SHIFT], 0, LARGEST_LEFT) && between(p[GAIN], 0, 32767) && between(p[TO_ZERO], -128, 127);
}

/* The filter of a lane of a panel, or -1; a gate has both of its halves in one panel. */
static ptrdiff_t filter_of(const IntegerProduct *p, ptrdiff_t first, int vector, int lane) {
    ptrdiff_t filter = first + lane + (p->activation == GATE ? 0 : vector * p->integers->lanes);
    return filter < p->made ? filter + (p->activation == GATE ? vector * p->made : 0) : -1;
}

static int vectors_of(const IntegerProduct *p, ptrdiff_t first) {
    int lanes = p->integers->lanes;
    return p->activation == GATE || lanes == 1 ? 2 : panel_vectors(p->filters - first, lanes);
}

static int8_t weight_at(const View *view, const int8_t *w, ptrdiff_t row, ptrdiff_t filter) {
    return filter < 0 || row >= view->shape[1] ? 0 : w[row * view->strides[1] + filter * view->strides[2]];
}

/* One panel of `vectors` vectors of filters from `first`; NULL if a bias is too large. */
static char *pack(const IntegerProduct *p, char *panel, const View *v, const void *const from[3], ptrdiff_t first) {
    const int vectors = vectors_of(p, first), lanes = p->integers->lanes, filters = vectors * lanes;
    const ptrdiff_t group = p->integers->group ? p->integers->group : p->depth;
    int32_t *bias = (int32_t *)panel, *multiplier = bias + filters;
    char *weights = (char *)(multiplier + filters);
    for (int i = 0; i < filters; i++) {
        ptrdiff_t filter = filter_of(p, first, i / lanes, i % lanes);
        if (filter < 0) continue;
        bias[i] = ((const int32_t *)from[1])[filter * v[BIAS].strides[2]];
        multiplier[i] = ((const int32_t *)from[2])[filter * v[MULTIPLIERS].strides[2]];
        if (bias[i] > LARGEST_BIAS || bias[i] < -LARGEST_BIAS) return NULL;
        for (ptrdiff_t row = 0; row < p->depth; row++) {
            int8_t number = weight_at(&v[WEIGHT], from[0], row, filter);
            bias[i] -= p->integers->offset * number;
            ptrdiff_t at = (row / group * filters + i) * group + row % group;
            if (p->integers->weight_bytes == 1) weights[at] = (char)number;
            else ((int16_t *)weights)[at] = number;
        }
    }
    return panel + panel_bytes(p->integers, p->depth, vectors);
}

static void describe(IntegerProduct *p, Engine *engine, const Step *step) {
    const View *v = step->views, *out = &v[OUT], *taps = &v[TAPS], *addend = &v[ADDEND];
    int inside = (taps->rank - 3) / 2;
    p->integers = integers_of(engine_instructions(engine));
    p->filters = v[WEIGHT].shape[2];
    p->made = out->shape[3];
    p->channels = taps->shape[taps->rank - 1];
    p->channel_move = taps->strides[taps->rank - 1];
    p->taps = v[WEIGHT].shape[1] / p->channels;
    ptrdiff_t whole = 4; /* no group is larger, and a row of bytes is read in words */
    p->depth = (v[WEIGHT].shape[1] + whole - 1) / whole * whole;
    p->items = taps->shape[1 + inside];
    p->item_move = taps->strides[1 + inside];
    p->rows = out->shape[2] / p->items;
    p->row = view_places(engine, taps, 2, inside - 1);
    p->tap = view_places(engine, taps, 2 + inside, inside);
    p->out_item = out->strides[2];
    p->activation = (int)step->parameters[ACTIVATION];
    p->left = (int)step->parameters[SHIFT];
    p->gain = (int)step->parameters[GAIN];
    p->zero = (int)step->parameters[TO_ZERO];
    p->sums = out->kind == INT32;
    if (addend->room >= 0) p->addend_item = addend->strides[2], p->addend_filter = addend->strides[3];
    p->gathered = engine_memory(engine, (size_t)(p->integers->frames * p->integers->wide) * (size_t)p->depth + LOADED);
}

static size_t all_panels(const IntegerProduct *p) {
    size_t bytes = 0;
    for (ptrdiff_t first = 0; first < p->made;) {
        int vectors = vectors_of(p, first);
        bytes += panel_bytes(p->integers, p->depth, vectors);
        first += (p->activation == GATE ? 1 : vectors) * p->integers->lanes;
    }
    return bytes;
}

static const char *prepare_conv(Engine *engine, Step *step) {
    const View *v = step->views;
    if (!parameters_fit(step->parameters, v[OUT].kind) || !conv_fits(v, step->parameters))
        return "has arrays that do not fit each other";
    Convolution *c = engine_memory(engine, sizeof *c);
    if (!c) return "needs more memory than there is";
    IntegerProduct *p = &c->product;
    describe(p, engine, step);
    c->n = v[OUT].shape[0];
    c->group = v[OUT].shape[1];
    c->panel_bytes = all_panels(p);
    for (int axis = 0; axis < 2; axis++) {
        c->x_move[axis] = v[TAPS].strides[axis];
        c->out_move[axis] = v[OUT].strides[axis];
        if (v[ADDEND].room >= 0) c->addend_move[axis] = v[ADDEND].strides[axis];
    }
    char *panel = engine_memory(engine, c->panel_bytes * (size_t)c->group + LOADED);
    if (!panel || !p->row || !p->tap || !p->gathered) return "needs more memory than there is";
    c->panels = panel;
    for (ptrdiff_t group = 0; group < c->group; group++) {
        const void *const from[3] = {
            (const int8_t *)engine_weights(engine, &v[WEIGHT]) + group * v[WEIGHT].strides[0],
            (const int32_t *)engine_weights(engine, &v[BIAS]) + group * v[BIAS].strides[0],
            (const int32_t *)engine_weights(engine, &v[MULTIPLIERS]) + group * v[MULTIPLIERS].strides[0]};
        for (ptrdiff_t first = 0; panel && first < p->made;) {
            int vectors = vectors_of(p, first);
            panel = pack(p, panel, v, from, first);
            first += (p->activation == GATE ? 1 : vectors) * p->integers->lanes;
        }
        if (!panel) return "has biases beyond what int32 can add up";
    }
    step->prepared = c;
    step->run = conv;
    return NULL;
}

/* Between the kinds, element by element. */
typedef struct {
    Loops loops; /* first, as `walk` is given all of it */
    Inner *inner;
    const Integers *integers;
    float factor; /* 1 / scale, or scale */
    int zero, before;
    Narrowing rows;
} Between;

static void between_all(const Step *step, char *const *rooms) {
    const Between *between = step->prepared;
    char *const at[] = {start(&step->views[0], rooms), start(&step->views[step->count - 1], rooms)};
    walk(&between->loops, step, at, between->inner);
}

static float fetched(const char *from) {
    float x;
    memcpy(&x, from, sizeof x);
    return x;
}

/* The nearest integer, ties to even, of what is between -2^22 and 2^22. */
static inline float rounded(float x) {
#if FLT_EVAL_METHOD == 0
    return x + 12582912.0f - 12582912.0f; /* a call for each number takes longer */
#else
    return rintf(x);
#endif
}

static void quantize_run(const Step *step, ptrdiff_t count, char *const *at, const ptrdiff_t *move) {
    const Between *b = step->prepared;
    const float low = (float)(-128 - b->zero), high = (float)(127 - b->zero);
    int8_t *out = (int8_t *)at[0];
    const char *from = at[1];
    if (move[0] == 1 && move[1] == (ptrdiff_t)sizeof(float)) {
        const float *xs = (const float *)from;
        for (ptrdiff_t i = 0; i < count; i++) {
            float x = xs[i] * b->factor;
            x = x > low ? x : low;
            x = x < high ? x : high;
            out[i] = (int8_t)((int32_t)rounded(x) + b->zero);
        }
        return;
    }
    for (; count; count--, out += move[0], from += move[1]) {
        float x = fetched(from) * b->factor;
        x = x > low ? x : low;
        x = x < high ? x : high;
        *out = (int8_t)((int32_t)rounded(x) + b->zero);
    }
}

static int32_t whole_at(const char *from, int kind) {
    if (kind == INT8) return *(const int8_t *)from;
    int32_t x;
    memcpy(&x, from, sizeof x);
    return x;
}

static void dequantize_run(const Step *step, ptrdiff_t count, char *const *at, const ptrdiff_t *move) {
    const Between *b = step->prepared;
    const float zero = (float)b->zero;
    char *out = at[0];
    const char *from = at[1];
    for (; count; count--, out += move[0], from += move[1]) {
        float x = ((float)whole_at(from, step->views[1].kind) - zero) * b->factor;
        memcpy(out, &x, sizeof x);
    }
}

/* Sums become int8 row by row, as the channels of the items lie. */
static void narrow_all(const Step *step, char *const *rooms) {
    const Between *b = step->prepared;
    b->integers->narrow(&b->rows, (int8_t *)start(&step->views[0], rooms),
                        (const int32_t *)start(&step->views[2], rooms));
}

static int in_rows(Between *b, const Step *step) {
    const Loops *loops = &b->loops;
    const int last = loops->rank - 1;
    if (step->views[2].kind != INT32 || step->views[0].kind != INT8 || b->before || last > 1) return 0;
    b->rows.count = loops->size[last];
    b->rows.rows = last ? loops->size[0] : 1;
    b->rows.out_move = last ? loops->move[0][0] : 0;
    b->rows.x_move = last ? loops->move[1][0] / 4 : 0;
    return b->rows.count == 1 || (loops->move[0][last] == 1 && loops->move[1][last] == 4);
}

static void requantize_run(const Step *step, ptrdiff_t count, char *const *at, const ptrdiff_t *move) {
    const Between *b = step->prepared;
    const int from_kind = step->views[2].kind, to_kind = step->views[0].kind;
    char *out = at[0];
    const char *from = at[1];
    for (; count; count--, out += move[0], from += move[1]) {
        int32_t x = (int32_t)((uint32_t)whole_at(from, from_kind) - (uint32_t)b->before);
        x = scaled(x, b->rows.multiplier, b->rows.left);
        if (to_kind == INT8) *(int8_t *)out = (int8_t)int8_of(x + b->zero);
        else memcpy(out, &x, sizeof x);
    }
}

static const char *prepare_between(Engine *engine, Step *step, Inner *inner, const View *x) {
    const View *const views[] = {&step->views[0], x};
    Between *b = engine_memory(engine, sizeof *b);
    if (!b) return "needs more memory than there is";
    if (!loops_over(&b->loops, views, 2)) return "has arrays whose shapes do not fit each other";
    b->integers = integers_of(engine_instructions(engine));
    step->prepared = b;
    b->inner = inner;
    step->run = between_all;
    return NULL;
}

/* writes out, scratch; reads x */
static const char *prepare_quantize(Engine *engine, Step *step) {
    const double *p = step->parameters;
    if (!is_array(&step->views[0], INT8, -1) || !is_array(&step->views[2], FLOAT32, -1) || !between(p[1], -128, 127))
        return "has other arrays than it must have";
    const char *why = prepare_between(engine, step, quantize_run, &step->views[2]);
    if (why) return why;
    Between *b = step->prepared;
    b->factor = (float)p[0];
    b->zero = (int)p[1];
    return NULL;
}

/* writes out; reads x */
static const char *prepare_dequantize(Engine *engine, Step *step) {
    const double *p = step->parameters;
    const View *x = &step->views[1];
    if (!is_array(&step->views[0], FLOAT32, -1) || x->room < 0 || (x->kind != INT8 && x->kind != INT32) ||
        !between(p[1], -128, 127))
        return "has other arrays than it must have";
    const char *why = prepare_between(engine, step, dequantize_run, x);
    if (why) return why;
    Between *b = step->prepared;
    b->factor = (float)p[0];
    b->zero = (int)p[1];
    return NULL;
}

/* writes out, scratch; reads x */
static const char *prepare_requantize(Engine *engine, Step *step) {
    const double *p = step->parameters; /* before, zero, multiplier, left */
    const View *out = &step->views[0], *x = &step->views[2];
    if (out->room < 0 || (out->kind != INT8 && out->kind != INT32) || x->room < 0 ||
        (x->kind != INT8 && x->kind != INT32) || !between(p[0], -128, 127) || !between(p[1], -128, 127) ||
        !between(p[2], 0, 2147483647.0) || !between(p[3], 0, LARGEST_LEFT))
        return "has other arrays than it must have";
    const char *why = prepare_between(engine, step, requantize_run, x);
    if (why) return why;
    Between *b = step->prepared;
    b->before = (int)p[0];
    b->zero = b->rows.zero = (int)p[1];
    b->rows.multiplier = (int32_t)p[2];
    b->rows.left = (int)p[3];
    if (in_rows(b, step)) step->run = narrow_all;
    return NULL;
}

const Kernel integer_kernels[] = {{"Dequantize", "scale,zero", prepare_dequantize, 1, 2, NULL},
                                  {"QuantizedConv", "activation,left,gain,zero", prepare_conv, 6, CONV_VIEWS, NULL},
                                  {"Quantize", "inverse,zero", prepare_quantize, 2, 3, NULL},
                                  {"Requantize", "before,zero,multiplier,left", prepare_requantize, 2, 3, NULL},
                                  {.name = NULL}};
