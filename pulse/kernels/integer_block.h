/* The products of integer.h in vectors of LANES sums, included once for each kind of instructions. Each says before:
   Sums, the vector of int32; Wide, a gathered number; Words, GROUP of them in all lanes; `words`, `dot`, `high`,
   `curved`, `put_sums`, `put_int8`, `widened`. */

enum { VECTORS = 3 };

/* The items of a block, each a row of `depth` numbers; what is behind them stays 0. */
INLINE void gather(const IntegerProduct *p, const int8_t *x, const int frames) {
    for (int f = 0; f < frames; f++, x += p->item_move) {
        Wide *row = (Wide *)p->gathered + f * p->depth;
        for (ptrdiff_t tap = 0; tap < p->taps; tap++, row += p->channels) {
            const int8_t *from = x + p->tap[tap];
            ptrdiff_t c = 0;
            if (p->channel_move == 1)
                for (; c + 16 <= p->channels; c += 16) widened(row + c, from + c);
            for (; c < p->channels; c++) row[c] = (Wide)(from[c * p->channel_move] + OFFSET);
        }
    }
}

/* sum[vector][frame] = the biases and products of one panel, scaled */
INLINE void summed(Sums sum[VECTORS][FRAMES], const IntegerProduct *p, const char *panel, const int vectors,
                   const int frames) {
    const Wide *x = p->gathered;
    const int32_t *bias = (const int32_t *)panel, *multiplier = bias + vectors * LANES;
    const char *w = (const char *)(multiplier + vectors * LANES);
    const ptrdiff_t depth = p->depth;
#pragma GCC unroll 8
    for (int f = 0; f < frames; f++)
        for (int v = 0; v < vectors; v++) sum[v][f] = load_sums(bias + v * LANES);
    for (ptrdiff_t k = 0; k < depth; k += GROUP, w += vectors * (int)sizeof(Sums)) {
        Sums weight[VECTORS];
        for (int v = 0; v < vectors; v++) weight[v] = load_sums((const int32_t *)(w + v * (int)sizeof(Sums)));
#pragma GCC unroll 8
        for (int f = 0; f < frames; f++) {
            Sums word = words(x + f * depth + k);
            for (int v = 0; v < vectors; v++) sum[v][f] = dot(sum[v][f], word, weight[v]);
        }
    }
    for (int v = 0; v < vectors; v++) {
        Sums factor = load_sums(multiplier + v * LANES);
#pragma GCC unroll 8
        for (int f = 0; f < frames; f++) sum[v][f] = high(sum[v][f], factor, p->left);
    }
}

typedef struct {
    ptrdiff_t filter;
    char *out;
    const int32_t *addend;
} Place;

INLINE void finish_sums(Sums sum[VECTORS][FRAMES], const IntegerProduct *p, Place at, const int vectors,
                        const int frames) {
    for (int v = 0; v < vectors; v++) {
        ptrdiff_t filter = at.filter + v * LANES, left = p->made - filter;
#pragma GCC unroll 8
        for (int f = 0; f < frames; f++) {
            Sums made = sum[v][f];
            if (at.addend) {
                const int32_t *more = at.addend + f * p->addend_item + filter * p->addend_filter;
                if (p->addend_filter == 1 && left >= LANES) {
                    made = plus(made, load_sums(more));
                } else {
                    int32_t part[LANES] = {0};
                    for (ptrdiff_t i = 0; i < left && i < LANES; i++) part[i] = more[i * p->addend_filter];
                    made = plus(made, load_sums(part));
                }
            }
            put_sums((int32_t *)at.out + f * p->out_item + filter, made, left);
        }
    }
}

/* Two items at a time, as their halves of 16 bits fill a vector. */
INLINE void finish_int8(Sums sum[VECTORS][FRAMES], const IntegerProduct *p, Place at, const int vectors,
                        const int frames) {
    const int other = vectors > 1; /* behind a gate, the vector of its second half */
    for (int v = 0; v < (p->activation == GATE ? 1 : vectors); v++) {
        ptrdiff_t filter = at.filter + v * LANES;
#pragma GCC unroll 8
        for (int f = 0; f < frames; f += 2) {
            const int g = f + 1 < frames ? f + 1 : f;
            Sums both = paired(sum[v][f], sum[v][g]);
            if (p->activation) both = curved(p, both, paired(sum[other][f], sum[other][g]));
            char *to = at.out + f * p->out_item + filter;
            put_int8(to, at.out + g * p->out_item + filter, plus_zero(both, p->zero), p->made - filter);
        }
    }
}

INLINE Place panel(const IntegerProduct *p, const char *weights, Place at, const int vectors, const int frames) {
    Sums sum[VECTORS][FRAMES];
    summed(sum, p, weights, vectors, frames);
    if (p->sums) finish_sums(sum, p, at, vectors, frames);
    else finish_int8(sum, p, at, vectors, frames);
    at.filter += (p->activation == GATE ? 1 : vectors) * LANES;
    return at;
}

INLINE void block(const IntegerProduct *p, const char *panels, const int8_t *x, Place at, const int frames) {
    gather(p, x, frames);
    while (at.filter < p->made) {
        int vectors = p->activation == GATE ? 2 : panel_vectors(p->made - at.filter, LANES);
        switch (vectors) {
        case 1: at = panel(p, panels, at, 1, frames); break;
        case 2: at = panel(p, panels, at, 2, frames); break;
        default: at = panel(p, panels, at, 3, frames);
        }
        panels += panel_bytes(p->integers, p->depth, vectors);
    }
}

static void multiply(const IntegerProduct *p, const char *panels, const int8_t *x, char *out, const int32_t *addend) {
    Place at = {0, out, addend};
    for (ptrdiff_t row = 0; row < p->rows; row++) {
        const int8_t *from = x + p->row[row];
        for (ptrdiff_t left = p->items; left;) {
            int frames = left >= FRAMES ? FRAMES : left >= 4 && FRAMES > 4 ? 4 : left >= 2 ? 2 : 1;
            switch (frames) {
            case FRAMES: block(p, panels, from, at, FRAMES); break;
#if FRAMES > 4
            case 4: block(p, panels, from, at, 4); break;
#endif
            case 2: block(p, panels, from, at, 2); break;
            default: block(p, panels, from, at, 1);
            }
            left -= frames;
            from += frames * p->item_move;
            at.out += frames * p->out_item * (p->sums ? 4 : 1);
            if (at.addend) at.addend += frames * p->addend_item;
        }
    }
}

static void narrow(const Narrowing *n, int8_t *out, const int32_t *x) {
    const Sums factor = all_sums(n->multiplier);
    for (ptrdiff_t row = 0; row < n->rows; row++, out += n->out_move, x += n->x_move) {
        for (ptrdiff_t at = 0; at < n->count; at += LANES) {
            const ptrdiff_t left = n->count - at;
            int32_t part[LANES] = {0};
            if (left < LANES) memcpy(part, x + at, (size_t)left * sizeof *x);
            Sums made = high(load_sums(left < LANES ? part : x + at), factor, n->left);
            char *to = (char *)out + at;
            put_int8(to, to, plus_zero(paired(made, made), n->zero), left);
        }
    }
}
