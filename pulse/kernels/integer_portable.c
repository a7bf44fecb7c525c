/* int8 in plain C: two items and two filters at a time, of a block whose items meet each filter while it is at hand. */

#include <string.h>

#include "integer.h"

enum { GROUP = 0, ITEMS = 8 };

/* sums[i] += row i / 2 times filter i % 2 */
static void dots(int32_t sums[4], const int16_t *x, const int16_t *y, const int16_t *w, ptrdiff_t depth) {
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    const int16_t *v = w + depth;
    for (ptrdiff_t k = 0; k < depth; k++) {
        a += x[k] * w[k], b += x[k] * v[k];
        c += y[k] * w[k], d += y[k] * v[k];
    }
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
}

static void gather(const IntegerProduct *p, int16_t *row, const int8_t *x) {
    for (ptrdiff_t tap = 0; tap < p->taps; tap++) {
        const int8_t *from = x + p->tap[tap];
        if (p->channel_move == 1)
            for (ptrdiff_t c = 0; c < p->channels; c++) *row++ = from[c];
        else
            for (ptrdiff_t c = 0; c < p->channels; c++) *row++ = from[c * p->channel_move];
    }
}

/* of numbers of 16 bits */
static int32_t product(int32_t x, int32_t y) { return ((int16_t)x * (int16_t)y + (1 << 14)) >> 15; }

static int32_t tanh_of(int32_t x) {
    uint32_t size = x < 0 ? 0 - (uint32_t)x : (uint32_t)x;
    if (size > INT16_MAX) size = INT16_MAX;
    int32_t low = TANH_NODES[size >> SEGMENT_BITS], rise = TANH_NODES[(size >> SEGMENT_BITS) + 1] - low;
    int32_t height = low + product(rise, (int32_t)(size & ((1 << SEGMENT_BITS) - 1)) * SEGMENTS);
    return x < 0 ? -height : height;
}

static int32_t sigmoid_of(int32_t x) { return (tanh_of(x) >> 1) + (1 << 14); }

static int8_t narrowed(const IntegerProduct *p, int32_t height) {
    return (int8_t)int8_of(product(height, p->gain) + p->zero);
}

static int8_t gated(const IntegerProduct *p, int32_t a, int32_t b) {
    return narrowed(p, product(tanh_of(a), sigmoid_of(b)));
}

static int8_t curved(const IntegerProduct *p, int32_t x) {
    return narrowed(p, p->activation == SIGMOID ? sigmoid_of(x) : tanh_of(x));
}

static void put(const IntegerProduct *p, char *out, ptrdiff_t at, const int32_t *addend, int32_t sum) {
    if (p->sums) {
        int32_t *to = (int32_t *)out + at;
        *to = addend ? (int32_t)((uint32_t)sum + (uint32_t)*addend) : sum;
    } else {
        ((int8_t *)out)[at] = p->activation ? curved(p, sum) : (int8_t)int8_of(sum + p->zero);
    }
}

/* Two filters of one item. */
static void finish(const IntegerProduct *p, char *out, const int32_t *addend, ptrdiff_t filter, const int32_t sums[2]) {
    for (int i = 0; i < 2 && filter + i < p->filters; i++)
        put(p, out, filter + i, addend ? addend + (filter + i) * p->addend_filter : NULL, sums[i]);
}

/* Two items of one panel, or the last one, twice. */
static void pair(const IntegerProduct *p, const char *panel, const int16_t *x, const int16_t *y, int32_t sums[4]) {
    const int32_t *bias = (const int32_t *)panel, *multiplier = bias + 2;
    for (int i = 0; i < 4; i++) sums[i] = bias[i % 2];
    dots(sums, x, y, (const int16_t *)(panel + 16), p->depth);
    for (int i = 0; i < 4; i++) sums[i] = scaled(sums[i], multiplier[i % 2], p->left);
}

static void block(const IntegerProduct *p, const char *panel, char *out, const int32_t *addend, ptrdiff_t items) {
    const ptrdiff_t step = p->activation == GATE ? 1 : 2, item = p->out_item * (p->sums ? 4 : 1);
    const size_t bytes = panel_bytes(p->integers, p->depth, 2);
    for (ptrdiff_t filter = 0; filter < p->made; filter += step, panel += bytes) {
        const int16_t *x = p->gathered;
        for (ptrdiff_t i = 0; i < items; i += 2, x += 2 * p->depth) {
            const int second = i + 1 < items;
            int32_t sums[4];
            pair(p, panel, x, second ? x + p->depth : x, sums);
            char *to = out + i * item, *other = second ? to + item : to;
            if (p->activation == GATE) {
                int8_t first = gated(p, sums[0], sums[1]), next = gated(p, sums[2], sums[3]);
                ((int8_t *)to)[filter] = first, ((int8_t *)other)[filter] = next;
                continue;
            }
            finish(p, to, addend ? addend + i * p->addend_item : NULL, filter, sums);
            if (second) finish(p, other, addend ? addend + (i + 1) * p->addend_item : NULL, filter, sums + 2);
        }
    }
}

static void multiply(const IntegerProduct *p, const char *panels, const int8_t *x, char *out, const int32_t *addend) {
    int16_t *rows = p->gathered;
    for (ptrdiff_t row = 0; row < p->rows; row++) {
        const int8_t *from = x + p->row[row];
        for (ptrdiff_t left = p->items; left > 0; left -= ITEMS) {
            const ptrdiff_t items = left < ITEMS ? left : ITEMS;
            for (ptrdiff_t i = 0; i < items; i++, from += p->item_move) gather(p, rows + i * p->depth, from);
            block(p, panels, out, addend, items);
            out += items * p->out_item * (p->sums ? 4 : 1);
            addend = addend ? addend + items * p->addend_item : NULL;
        }
    }
}

static void narrow(const Narrowing *n, int8_t *out, const int32_t *x) {
    for (ptrdiff_t row = 0; row < n->rows; row++, out += n->out_move, x += n->x_move)
        for (ptrdiff_t i = 0; i < n->count; i++)
            out[i] = (int8_t)int8_of(scaled(x[i], n->multiplier, n->left) + n->zero);
}

const Integers portable_integers = {1, ITEMS, GROUP, 2, 0, 2, multiply, narrow};
