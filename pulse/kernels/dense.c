/* Convolutions and matrix products. */

#include <string.h>

#include "product.h"

typedef struct {
    Product product;
    Multiply *multiply;
    const float *panels;
    size_t panel_floats;  /* of one group */
    ptrdiff_t n, group;
    ptrdiff_t x_move[2], out_move[2], addend_move[2]; /* floats along n and group */
} Dense;

/* Sums of products: loops over what comes out, and over all that is multiplied. */
typedef struct {
    Loops out, loops;
    const Instructions *instructions;
} Sum;

enum { PARTS = 16 }; /* numbers that are summed apart, as vectors are */

static float dot(ptrdiff_t count, const float *x, const float *y) {
    float part[PARTS] = {0}, sum = 0;
    for (; count >= PARTS; count -= PARTS, x += PARTS, y += PARTS)
        for (int i = 0; i < PARTS; i++) part[i] += x[i] * y[i];
    for (int i = 0; i < PARTS; i++) sum += part[i];
    for (; count; count--) sum += *x++ * *y++;
    return sum;
}

/* writes out, product, columns; reads taps, matrix, weight, bias, addend: see `conv` in reference.py */
enum { OUT, PRODUCT, COLUMNS, TAPS, MATRIX, WEIGHT, BIAS, ADDEND, CONV_VIEWS };

static void conv(const Step *step, char *const *rooms) {
    const Dense *dense = step->prepared;
    const View *views = step->views;
    const float *x = (const float *)start(&views[TAPS], rooms);
    float *out = (float *)start(&views[OUT], rooms);
    const float *addend = views[ADDEND].room < 0 ? NULL : (const float *)start(&views[ADDEND], rooms);
    Multiply *multiply = dense->multiply;
    for (ptrdiff_t n = 0; n < dense->n; n++)
        for (ptrdiff_t group = 0; group < dense->group; group++)
            multiply(&dense->product, dense->panels + (size_t)group * dense->panel_floats,
                     x + n * dense->x_move[0] + group * dense->x_move[1],
                     out + n * dense->out_move[0] + group * dense->out_move[1],
                     addend ? addend + n * dense->addend_move[0] + group * dense->addend_move[1] : NULL);
}

static int conv_fits(const View *v, int inside, ptrdiff_t activation) {
    const View *out = &v[OUT], *taps = &v[TAPS], *weight = &v[WEIGHT], *bias = &v[BIAS], *addend = &v[ADDEND];
    ptrdiff_t items = 1, rows = 1, filters = weight->shape[2];
    for (int axis = 2; axis < 2 + inside; axis++) items *= taps->shape[axis];
    for (int axis = 2 + inside; axis < taps->rank; axis++) rows *= taps->shape[axis];
    ptrdiff_t made = activation == GATE ? filters / 2 : filters;
    return out->shape[0] == taps->shape[0] && out->shape[1] == taps->shape[1] && out->shape[2] == items &&
           out->shape[3] == made && (made == 1 || out->strides[3] == 1) && weight->shape[0] == taps->shape[1] &&
           weight->shape[1] == rows && (activation != GATE || filters == 2 * made) &&
           (bias->room < 0 || (is_array(bias, FLOAT32, 3) && bias->room == WEIGHTS &&
                               bias->shape[0] == weight->shape[0] && bias->shape[2] == filters && bias->strides[2] == 1)) &&
           (addend->room < 0 || (is_array(addend, FLOAT32, 4) && addend->shape[0] == out->shape[0] &&
                                 addend->shape[1] == out->shape[1] && addend->shape[2] == items &&
                                 addend->shape[3] == filters));
}

/* Whether each group is one channel and one filter, and all groups lie side by side: then they are vectors. */
static int is_by_channel(const View *v, const Product *p) {
    const View *out = &v[OUT], *taps = &v[TAPS];
    return p->filters == 1 && p->channels == 1 && out->shape[1] > 1 && out->strides[1] == 1 && taps->strides[1] == 1;
}

/* Makes one product of all groups: (group, taps, 1) is packed as a row of biases and a row for each tap. */
static const char *join_groups(Engine *engine, Dense *dense, const View *v) {
    const View *weight = &v[WEIGHT], *bias = &v[BIAS], *addend = &v[ADDEND];
    Product *p = &dense->product;
    ptrdiff_t group = dense->group, width = padded(group, p->instructions->lanes);
    float *rows = engine_memory(engine, (size_t)((1 + p->taps) * width) * sizeof(float));
    if (!rows) return "needs more memory than there is";
    const float *w = engine_weights(engine, weight), *b = bias->room < 0 ? NULL : engine_weights(engine, bias);
    for (ptrdiff_t channel = 0; channel < group; channel++) {
        rows[channel] = b ? b[channel * bias->strides[0]] : 0;
        for (ptrdiff_t tap = 0; tap < p->taps; tap++)
            rows[(1 + tap) * width + channel] = w[channel * weight->strides[0] + tap * weight->strides[1]];
    }
    if (addend->room >= 0) p->addend_filter = addend->strides[1];
    p->filters = group;
    dense->group = 1;
    dense->panels = rows;
    dense->multiply = p->instructions->by_channel;
    return NULL;
}

static const char *prepare_conv(Engine *engine, Step *step) {
    const View *v = step->views;
    const View *out = &v[OUT], *taps = &v[TAPS], *weight = &v[WEIGHT], *bias = &v[BIAS], *addend = &v[ADDEND];
    double activation = step->parameters[0];
    if (!is_array(out, FLOAT32, 4) || !is_array(taps, FLOAT32, -1) || taps->rank < 5 || taps->rank % 2 == 0 ||
        !is_array(weight, FLOAT32, 3) || weight->room != WEIGHTS || elements(weight) > LONGEST ||
        !(activation >= 0 && activation < ACTIVATIONS))
        return "has other arrays than a convolution must have";
    int inside = (taps->rank - 3) / 2;
    if (!conv_fits(v, inside, (ptrdiff_t)activation)) return "has arrays whose shapes do not fit each other";
    Dense *dense = engine_memory(engine, sizeof *dense);
    if (!dense) return "needs more memory than there is";
    Product *p = &dense->product;
    p->instructions = engine_instructions(engine);
    p->filters = weight->shape[2];
    p->channels = taps->shape[taps->rank - 1];
    p->channel_move = taps->strides[taps->rank - 1];
    p->taps = weight->shape[1] / p->channels;
    p->items = taps->shape[1 + inside];
    p->item_move = taps->strides[1 + inside];
    p->rows = out->shape[2] / p->items;
    p->row = view_places(engine, taps, 2, inside - 1);
    p->tap = view_places(engine, taps, 2 + inside, inside);
    p->out_item = out->strides[2];
    p->activation = (int)activation;
    dense->n = out->shape[0];
    dense->group = out->shape[1];
    dense->panel_floats = panel_floats(p->instructions, weight->shape[1], p->filters, p->activation);
    for (int axis = 0; axis < 2; axis++) {
        dense->x_move[axis] = taps->strides[axis];
        dense->out_move[axis] = out->strides[axis];
        if (addend->room >= 0) dense->addend_move[axis] = addend->strides[axis];
    }
    if (addend->room >= 0) p->addend_item = addend->strides[2], p->addend_filter = addend->strides[3];
    if (!p->row || !p->tap) return "needs more memory than there is";
    step->prepared = dense;
    step->run = conv;
    if (is_by_channel(v, p)) return join_groups(engine, dense, v);
    dense->multiply = p->instructions->multiply;
    float *panels = engine_memory(engine, dense->panel_floats * (size_t)dense->group * sizeof(float));
    if (!panels) return "needs more memory than there is";
    for (ptrdiff_t group = 0; group < dense->group; group++) {
        const float *w = (const float *)engine_weights(engine, weight) + group * weight->strides[0];
        const float *b = bias->room < 0 ? NULL : (const float *)engine_weights(engine, bias) + group * bias->strides[0];
        pack_panels(p, panels + (size_t)group * dense->panel_floats, w, weight->strides + 1, b);
    }
    dense->panels = panels;
    return NULL;
}

/* --- products of arrays that are not constant */

/* out += the product of all others, along the innermost axis. */
static void multiply_run(const Step *step, ptrdiff_t count, char *const *at, const ptrdiff_t *move) {
    const Sum *sum = step->prepared;
    const ptrdiff_t item = sizeof(float);
    float *out = (float *)at[0];
    if (sum->loops.operands == 3 && move[0] == item && move[1] == 0 && move[2] == item) {
        sum->instructions->accumulate(count, out, *(const float *)at[1], (const float *)at[2]);
    } else if (sum->loops.operands == 3 && move[0] == item && move[2] == 0 && move[1] == item) {
        sum->instructions->accumulate(count, out, *(const float *)at[2], (const float *)at[1]);
    } else if (sum->loops.operands == 3 && move[0] == 0 && move[1] == item && move[2] == item) {
        *out += dot(count, (const float *)at[1], (const float *)at[2]);
    } else {
        for (ptrdiff_t i = 0; i < count; i++) {
            float number = *(const float *)(at[1] + i * move[1]);
            for (int operand = 2; operand < sum->loops.operands; operand++)
                number *= *(const float *)(at[operand] + i * move[operand]);
            *(float *)(at[0] + i * move[0]) += number;
        }
    }
}

static void multiply_whole_run(const Step *step, ptrdiff_t count, char *const *at, const ptrdiff_t *move) {
    const Sum *sum = step->prepared;
    for (ptrdiff_t i = 0; i < count; i++) {
        uint64_t number = *(const uint64_t *)(at[1] + i * move[1]);
        for (int operand = 2; operand < sum->loops.operands; operand++)
            number *= *(const uint64_t *)(at[operand] + i * move[operand]);
        *(uint64_t *)(at[0] + i * move[0]) += number;
    }
}

static void clear_run(const Step *step, ptrdiff_t count, char *const *at, const ptrdiff_t *move) {
    char *to = at[0];
    for (; count; count--, to += move[0]) memset(to, 0, item_size(step->views[0].kind));
}

static void sum_all(const Step *step, char *const *rooms) {
    const Sum *sum = step->prepared;
    char *at[MAX_OPERANDS];
    for (int i = 0; i < sum->loops.operands; i++) at[i] = start(&step->views[i], rooms);
    walk(&sum->out, step, at, clear_run);
    walk(&sum->loops, step, at, step->views[0].kind == FLOAT32 ? multiply_run : multiply_whole_run);
}

/* The first of `views`, all of one shape, is the sum of the products of the others, along axes where it stands
   still. */
static const char *prepare_sum(Engine *engine, Step *step, const View *views, int count) {
    const View *all[MAX_OPERANDS], *out = &views[0];
    Sum *sum = engine_memory(engine, sizeof *sum);
    if (!sum) return "needs more memory than there is";
    if (count < 2 || count > MAX_OPERANDS || out->room < 0 || out->kind > INT64)
        return "has other arrays than it must have";
    for (int i = 0; i < count; i++) {
        if (!is_array(&views[i], out->kind, -1)) return "has arrays that do not fit each other";
        all[i] = &views[i];
    }
    if (!loops_over(&sum->loops, all, count)) return "has arrays that do not fit each other";
    View made = *out;
    for (int axis = 0; axis < made.rank; axis++)
        if (made.strides[axis] == 0) made.shape[axis] = 1;
    out = &made;
    loops_over(&sum->out, &out, 1);
    sum->instructions = engine_instructions(engine);
    step->prepared = sum;
    step->run = sum_all;
    return NULL;
}

/* writes out, reads any number of arrays: all over the same axes, as native.py lays them */
static const char *prepare_einsum(Engine *engine, Step *step) {
    return prepare_sum(engine, step, step->views, step->count);
}

/* --- matrices */

/* The view as one over axes (*lead, rows, columns, inner), where `rank` - 2 lead; it has two axes of the last three,
   of which `still` is the third. What it has one of is repeated, to the lengths that `out` has. */
static int spread(View *made, const View *view, const View *out, int still, ptrdiff_t inner) {
    int lead = out->rank - 2, missing = out->rank - view->rank, axis = 0;
    *made = *view;
    made->rank = out->rank + 1;
    for (; axis < lead; axis++) {
        int has = axis >= missing && view->shape[axis - missing] != 1;
        if (has && view->shape[axis - missing] != out->shape[axis]) return 0;
        made->shape[axis] = out->shape[axis];
        made->strides[axis] = has ? view->strides[axis - missing] : 0;
    }
    for (int taken = view->rank - 2, place = 0; place < 3; place++, axis++) {
        ptrdiff_t length = place < 2 ? out->shape[lead + place] : inner;
        made->shape[axis] = length;
        made->strides[axis] = 0;
        if (place == still) continue;
        if (view->shape[taken] != length) return 0;
        made->strides[axis] = view->strides[taken++];
    }
    return 1;
}

/* y is (rows, columns), x (rows): that of y goes in front of its columns */
static View turned(const View *y) {
    View made = *y;
    int last = y->rank - 1;
    made.shape[last] = y->shape[last - 1], made.shape[last - 1] = y->shape[last];
    made.strides[last] = y->strides[last - 1], made.strides[last - 1] = y->strides[last];
    return made;
}

const ptrdiff_t NO_MOVE[1] = {0};

const float *packed(Engine *engine, const Product *product, const View *weight, const View *bias) {
    size_t floats = panel_floats(product->instructions, weight->shape[0], weight->shape[1], product->activation);
    float *panels = engine_memory(engine, floats * sizeof(float));
    const float *added = bias ? engine_weights(engine, bias) : NULL;
    if (panels) pack_panels(product, panels, engine_weights(engine, weight), weight->strides, added);
    return panels;
}

/* Whether all rows of `out` are equally far apart, by `apart`, and its numbers lie side by side. */
static int even(const View *out, ptrdiff_t *apart) {
    ptrdiff_t rows = 1;
    *apart = 0;
    for (int axis = out->rank - 2; axis >= 0; axis--) {
        if (out->shape[axis] == 1) continue;
        if (rows == 1) *apart = out->strides[axis];
        else if (out->strides[axis] != *apart * rows) return 0;
        rows *= out->shape[axis];
    }
    return out->shape[out->rank - 1] == 1 || out->strides[out->rank - 1] == 1;
}

typedef struct {
    Product product;
    const float *panels;
} Constant;

static void multiply_constant(const Step *step, char *const *rooms) {
    const Constant *constant = step->prepared;
    const float *x = (const float *)start(&step->views[1], rooms);
    float *out = (float *)start(&step->views[0], rooms);
    constant->product.instructions->multiply(&constant->product, constant->panels, x, out, NULL);
}

/* Whether a product is one of rows with a constant matrix, which can be packed. */
static int is_constant(const View *out, const View *x, const View *y) {
    if (out->kind != FLOAT32 || y->room != WEIGHTS || y->rank != 2 || elements(y) > LONGEST) return 0;
    for (int axis = 0; axis < x->rank - 1; axis++)
        if (x->shape[axis] != out->shape[axis]) return 0;
    ptrdiff_t apart;
    return even(out, &apart);
}

static const char *prepare_constant(Engine *engine, Step *step) {
    const View *x = &step->views[1], *y = &step->views[2];
    const int inside = x->rank - 2;
    Constant *constant = engine_memory(engine, sizeof *constant);
    const ptrdiff_t *row = view_places(engine, x, 0, inside);
    if (!constant || !row) return "needs more memory than there is";
    Product *p = &constant->product;
    p->instructions = engine_instructions(engine);
    p->filters = y->shape[1];
    p->taps = 1;
    p->channels = y->shape[0];
    p->channel_move = x->strides[inside + 1];
    p->items = x->shape[inside];
    p->item_move = x->strides[inside];
    p->rows = elements(x) / p->items / p->channels;
    p->row = row;
    p->tap = NO_MOVE;
    even(&step->views[0], &p->out_item);
    constant->panels = packed(engine, p, y, NULL);
    if (!constant->panels) return "needs more memory than there is";
    step->prepared = constant;
    step->run = multiply_constant;
    return NULL;
}

/* writes out (*lead, rows, columns); reads x (*lead, rows, inner), y (*lead, inner, columns) */
static const char *prepare_matmul(Engine *engine, Step *step) {
    const View *out = &step->views[0], *x = &step->views[1], *y = &step->views[2];
    if (out->room < 0 || !is_array(x, out->kind, -1) || !is_array(y, out->kind, -1) || x->rank < 2 || y->rank < 2 ||
        out->rank != (x->rank > y->rank ? x->rank : y->rank) || out->rank >= MAX_RANK)
        return "has arrays that do not fit each other";
    View views[3], columns = turned(y);
    ptrdiff_t inner = x->shape[x->rank - 1];
    if (!spread(&views[0], out, out, 2, inner) || !spread(&views[1], x, out, 1, inner) ||
        !spread(&views[2], &columns, out, 0, inner))
        return "has arrays whose shapes do not fit each other";
    return is_constant(out, x, y) ? prepare_constant(engine, step) : prepare_sum(engine, step, views, 3);
}

const Kernel dense_kernels[] = {{"Conv", "activation", prepare_conv, 3, CONV_VIEWS, NULL},
                                {"Einsum", "", prepare_einsum, 1, 0, NULL},
                                {"MatMul", "", prepare_matmul, 1, 3, NULL},
                                {.name = NULL}};
