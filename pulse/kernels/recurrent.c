/* Recurrent cells, which walk along time: their first axis. The input has been multiplied with its weights before;
   `gates` (items, n, parts*hidden) holds that. What is multiplied here is the state, by packed panels. */

#include "product.h"

#include <string.h>

enum { MAX_TEXTS = 3, TEXT_BITS = 3 }; /* activations of a cell, and bits that each takes in their parameter */
static const float BEGUN = -1;         /* what `left` is once the state has got its initial content */

typedef struct {
    const Instructions *instructions;
    Product first, second;  /* of the state with its weights; the second one is that of a GRU's last gate */
    const float *panels[2]; /* of both */
    int activation[MAX_TEXTS];
    int linear;
    float clip;             /* bounds what goes into an activation; 0 leaves it */
    ptrdiff_t items, n, hidden;
} Cell;

/* A view (items, n, numbers) or (n, numbers), the numbers side by side. */
static float *row(const View *view, char *const *rooms, ptrdiff_t item, ptrdiff_t n) {
    ptrdiff_t apart = view->rank == 3 ? view->strides[0] : 0;
    return (float *)start(view, rooms) + item * apart + n * view->strides[view->rank - 2];
}

static void copy_rows(const Cell *cell, const View *to, ptrdiff_t item, const View *from, char *const *rooms) {
    for (ptrdiff_t n = 0; n < cell->n; n++)
        memmove(row(to, rooms, item, n), row(from, rooms, item, n), (size_t)cell->hidden * sizeof(float));
}

/* How many items of this pulse are warm-up; the states they leave are not seen. Behind the last one, `states` get
   their initial content, if any. */
static ptrdiff_t begun(const Step *step, char *const *rooms, const View *left, const View *states, const View *initial,
                       int count) {
    const Cell *cell = step->prepared;
    float *now = (float *)start(left, rooms);
    ptrdiff_t skip = counted(*now);
    skip = skip < 0 ? 0 : skip > cell->items ? cell->items : skip;
    if (!(*now >= 0)) return skip;
    *now -= (float)skip;
    if (*now == 0 && skip < cell->items) {
        *now = BEGUN;
        for (int i = 0; i < count; i++)
            if (initial[i].room >= 0) copy_rows(cell, &states[i], 0, &initial[i], rooms);
    }
    return skip;
}

/* x = f(x), side by side, between -clip and clip before */
static void activate(const Cell *cell, int which, ptrdiff_t count, float *x) {
    for (ptrdiff_t i = 0; cell->clip != 0 && i < count; i++)
        x[i] = x[i] > cell->clip ? cell->clip : x[i] < -cell->clip ? -cell->clip : x[i];
    cell->instructions->activate(cell->activation[which], count, x, x);
}

/* sum += x * y, side by side */
static void add_product(ptrdiff_t count, float *sum, const float *x, const float *y) {
    for (ptrdiff_t i = 0; i < count; i++) sum[i] += x[i] * y[i];
}

/* --- h = f(gates + h @ recurrent) */

enum { RNN_OUT, RNN_H, RNN_LEFT, RNN_GATES, RNN_RECURRENT, RNN_INITIAL, RNN_VIEWS };

static void rnn(const Step *step, char *const *rooms) {
    const Cell *cell = step->prepared;
    const View *v = step->views;
    ptrdiff_t skip = begun(step, rooms, &v[RNN_LEFT], &v[RNN_H], &v[RNN_INITIAL], 1);
    for (ptrdiff_t item = 0; item < skip; item++) copy_rows(cell, &v[RNN_OUT], item, &v[RNN_H], rooms);
    for (ptrdiff_t item = skip; item < cell->items; item++) {
        float *y = row(&v[RNN_OUT], rooms, item, 0);
        cell->instructions->multiply(&cell->first, cell->panels[0], (float *)start(&v[RNN_H], rooms), y,
                                     row(&v[RNN_GATES], rooms, item, 0));
        for (ptrdiff_t n = 0; n < cell->n; n++) {
            y = row(&v[RNN_OUT], rooms, item, n);
            activate(cell, 0, cell->hidden, y);
            memmove(row(&v[RNN_H], rooms, 0, n), y, (size_t)cell->hidden * sizeof(float));
        }
    }
}

/* --- i, o, f, c' = gates + h @ recurrent; c = f * c + i * c', h = o * tanh(c) */

enum { LSTM_OUT, LSTM_H, LSTM_C, LSTM_LEFT, LSTM_SCRATCH, LSTM_GATES, LSTM_RECURRENT, LSTM_FIRST_H, LSTM_FIRST_C,
       LSTM_PEEPHOLES, LSTM_VIEWS };

/* One row; `peep` are three rows of weights by which i and f see the old c, and o the new one, `apart` floats apart. */
static void lstm_row(const Cell *cell, float *y, float *h, float *c, float *gates, const float *peep, ptrdiff_t apart) {
    const ptrdiff_t size = cell->hidden;
    float *i = gates, *o = gates + size, *f = gates + 2 * size, *new = gates + 3 * size;
    if (peep) {
        add_product(size, i, c, peep);
        add_product(size, f, c, peep + 2 * apart);
    }
    activate(cell, 0, peep ? size : 3 * size, i);
    if (peep) activate(cell, 0, size, f);
    activate(cell, 1, size, new);
    for (ptrdiff_t k = 0; k < size; k++) c[k] = c[k] * f[k] + i[k] * new[k];
    if (peep) {
        add_product(size, o, c, peep + apart);
        activate(cell, 0, size, o);
    }
    cell->instructions->activate(cell->activation[2], size, h, c);
    for (ptrdiff_t k = 0; k < size; k++) y[k] = h[k] *= o[k];
}

static void lstm(const Step *step, char *const *rooms) {
    const Cell *cell = step->prepared;
    const View *v = step->views, *peepholes = &v[LSTM_PEEPHOLES];
    const float *peep = peepholes->room < 0 ? NULL : (const float *)start(peepholes, rooms);
    ptrdiff_t skip = begun(step, rooms, &v[LSTM_LEFT], &v[LSTM_H], &v[LSTM_FIRST_H], 2);
    for (ptrdiff_t item = 0; item < skip; item++) copy_rows(cell, &v[LSTM_OUT], item, &v[LSTM_H], rooms);
    for (ptrdiff_t item = skip; item < cell->items; item++) {
        cell->instructions->multiply(&cell->first, cell->panels[0], (float *)start(&v[LSTM_H], rooms),
                                     (float *)start(&v[LSTM_SCRATCH], rooms), row(&v[LSTM_GATES], rooms, item, 0));
        for (ptrdiff_t n = 0; n < cell->n; n++)
            lstm_row(cell, row(&v[LSTM_OUT], rooms, item, n), row(&v[LSTM_H], rooms, 0, n),
                     row(&v[LSTM_C], rooms, 0, n), row(&v[LSTM_SCRATCH], rooms, 0, n), peep,
                     peep ? peepholes->strides[0] : 0);
    }
}

/* --- z, r = gates + h @ both; h = (1 - z) * h' + z * h, where h' = gates + (r * h) @ alone + bias, or
   gates + r * (h @ alone + bias) if `linear` */

enum { GRU_OUT, GRU_H, GRU_LEFT, GRU_SCRATCH, GRU_GATES, GRU_BOTH, GRU_ALONE, GRU_BIAS, GRU_INITIAL, GRU_VIEWS };

static void gru_item(const Step *step, char *const *rooms, ptrdiff_t item) {
    const Cell *cell = step->prepared;
    const View *v = step->views;
    const ptrdiff_t size = cell->hidden;
    float *h = (float *)start(&v[GRU_H], rooms), *scratch = (float *)start(&v[GRU_SCRATCH], rooms);
    const float *given = row(&v[GRU_GATES], rooms, item, 0);
    cell->instructions->multiply(&cell->first, cell->panels[0], h, scratch, given);
    for (ptrdiff_t n = 0; n < cell->n; n++) {
        float *gates = row(&v[GRU_SCRATCH], rooms, 0, n), *old = row(&v[GRU_H], rooms, 0, n);
        activate(cell, 0, 2 * size, gates);
        for (ptrdiff_t k = 0; k < size; k++) gates[3 * size + k] = gates[size + k] * old[k];
    }
    float *from = cell->linear ? h : scratch + 3 * size;
    cell->instructions->multiply(&cell->second, cell->panels[1], from, scratch + 2 * size,
                                 cell->linear ? NULL : given + 2 * size);
    for (ptrdiff_t n = 0; n < cell->n; n++) {
        float *gates = row(&v[GRU_SCRATCH], rooms, 0, n), *old = row(&v[GRU_H], rooms, 0, n);
        float *y = row(&v[GRU_OUT], rooms, item, n), *r = gates + size, *new = gates + 2 * size;
        const float *part = row(&v[GRU_GATES], rooms, item, n) + 2 * size;
        for (ptrdiff_t k = 0; cell->linear && k < size; k++) new[k] = new[k] * r[k] + part[k];
        activate(cell, 1, size, new);
        for (ptrdiff_t k = 0; k < size; k++) y[k] = old[k] = (old[k] - new[k]) * gates[k] + new[k];
    }
}

static void gru(const Step *step, char *const *rooms) {
    const Cell *cell = step->prepared;
    const View *v = step->views;
    ptrdiff_t skip = begun(step, rooms, &v[GRU_LEFT], &v[GRU_H], &v[GRU_INITIAL], 1);
    for (ptrdiff_t item = 0; item < skip; item++) copy_rows(cell, &v[GRU_OUT], item, &v[GRU_H], rooms);
    for (ptrdiff_t item = skip; item < cell->items; item++) gru_item(step, rooms, item);
}

/* --- what is checked beforehand */

/* Whether a view is (items, n, numbers), or (n, numbers) for no items, with the numbers side by side. */
static int is_rows(const View *view, ptrdiff_t items, ptrdiff_t n, ptrdiff_t numbers) {
    int rank = items ? 3 : 2;
    if (!is_array(view, FLOAT32, rank)) return 0;
    return (!items || view->shape[0] == items) && view->shape[rank - 2] == n && view->shape[rank - 1] == numbers &&
           (numbers == 1 || view->strides[rank - 1] == 1);
}

static int is_matrix(const View *view, ptrdiff_t rows, ptrdiff_t columns) {
    return is_array(view, FLOAT32, 2) && view->room == WEIGHTS && view->shape[0] == rows && view->shape[1] == columns &&
           elements(view) <= LONGEST;
}

/* `count` activations of a cell from one number; 0 if one of them is none. */
static int read_activations(Cell *cell, double given, int count) {
    if (!(given >= 0 && given < 1 << count * TEXT_BITS)) return 0;
    for (int i = 0; i < count; i++) {
        cell->activation[i] = (int)given >> i * TEXT_BITS & ((1 << TEXT_BITS) - 1);
        if (cell->activation[i] < RELU || cell->activation[i] > TANH) return 0;
    }
    return 1;
}

/* What all cells have: out (items, n, hidden), h (n, hidden), left (1), gates (items, n, parts*hidden). */
static Cell *prepare_cell(Engine *engine, const View *v, const View *left, const View *gates, int parts) {
    const View *out = &v[0], *h = &v[1];
    if (!is_array(out, FLOAT32, 3) || !is_array(left, FLOAT32, 1)) return NULL;
    ptrdiff_t items = out->shape[0], n = out->shape[1], hidden = out->shape[2];
    if (!is_rows(out, items, n, hidden) || !is_rows(h, 0, n, hidden) || !is_rows(gates, items, n, parts * hidden))
        return NULL;
    Cell *cell = engine_memory(engine, sizeof *cell);
    if (!cell) return NULL;
    cell->instructions = engine_instructions(engine);
    cell->items = items, cell->n = n, cell->hidden = hidden;
    return cell;
}

/* x (n, hidden) @ weight + bias + addend; x, out and addend lie in rows as far apart as those of these views. */
static const float *prepare_product(Engine *engine, const Cell *cell, Product *product, const View *const *rows,
                                    const View *weight, const View *bias) {
    const View *x = rows[0], *out = rows[1], *addend = rows[2];
    *product = (Product){cell->instructions, .filters = weight->shape[1], .taps = 1, .channels = cell->hidden,
                         .rows = 1, .items = cell->n, .channel_move = 1,
                         .item_move = x->strides[x->rank - 2], .tap = NO_MOVE,
                         .row = NO_MOVE, .out_item = out->strides[out->rank - 2],
                         .addend_item = addend->strides[addend->rank - 2], .addend_filter = 1, .activation = LINEAR};
    return packed(engine, product, weight, bias);
}

static const char *ready(Step *step, Cell *cell, int texts, void (*run)(const Step *, char *const *)) {
    if (!read_activations(cell, step->parameters[0], texts)) return "has other activations than it must have";
    cell->clip = (float)step->parameters[1];
    step->prepared = cell;
    step->run = run;
    return NULL;
}

static const char MISFIT[] = "has arrays that do not fit each other", MEMORY[] = "needs more memory than there is";

static int is_initial(const View *view, const Cell *cell) {
    return view->room < 0 || is_rows(view, 0, cell->n, cell->hidden);
}

static const char *prepare_rnn(Engine *engine, Step *step) {
    const View *v = step->views, *const rows[] = {&v[RNN_H], &v[RNN_OUT], &v[RNN_GATES]};
    Cell *cell = prepare_cell(engine, v, &v[RNN_LEFT], &v[RNN_GATES], 1);
    if (!cell || !is_matrix(&v[RNN_RECURRENT], cell->hidden, cell->hidden) || !is_initial(&v[RNN_INITIAL], cell))
        return MISFIT;
    cell->panels[0] = prepare_product(engine, cell, &cell->first, rows, &v[RNN_RECURRENT], NULL);
    if (!cell->panels[0]) return MEMORY;
    return ready(step, cell, 1, rnn);
}

static const char *prepare_lstm(Engine *engine, Step *step) {
    const View *v = step->views, *peepholes = &v[LSTM_PEEPHOLES];
    const View *const rows[] = {&v[LSTM_H], &v[LSTM_SCRATCH], &v[LSTM_GATES]};
    Cell *cell = prepare_cell(engine, v, &v[LSTM_LEFT], &v[LSTM_GATES], 4);
    if (!cell || !is_rows(&v[LSTM_C], 0, cell->n, cell->hidden) ||
        !is_rows(&v[LSTM_SCRATCH], 0, cell->n, 4 * cell->hidden) ||
        !is_matrix(&v[LSTM_RECURRENT], cell->hidden, 4 * cell->hidden) || !is_initial(&v[LSTM_FIRST_H], cell) ||
        !is_initial(&v[LSTM_FIRST_C], cell) || !(peepholes->room < 0 || is_rows(peepholes, 0, 3, cell->hidden)))
        return MISFIT;
    cell->panels[0] = prepare_product(engine, cell, &cell->first, rows, &v[LSTM_RECURRENT], NULL);
    if (!cell->panels[0]) return MEMORY;
    return ready(step, cell, 3, lstm);
}

static const char *prepare_gru(Engine *engine, Step *step) {
    const View *v = step->views, *bias = &v[GRU_BIAS], *scratch = &v[GRU_SCRATCH];
    Cell *cell = prepare_cell(engine, v, &v[GRU_LEFT], &v[GRU_GATES], 3);
    if (!cell || !is_rows(scratch, 0, cell->n, 4 * cell->hidden) ||
        !is_matrix(&v[GRU_BOTH], cell->hidden, 2 * cell->hidden) ||
        !is_matrix(&v[GRU_ALONE], cell->hidden, cell->hidden) || !is_initial(&v[GRU_INITIAL], cell) ||
        !is_array(bias, FLOAT32, 1) || bias->room != WEIGHTS || bias->shape[0] != cell->hidden ||
        (cell->hidden > 1 && bias->strides[0] != 1))
        return MISFIT;
    cell->linear = step->parameters[2] != 0;
    const View *const first[] = {&v[GRU_H], scratch, &v[GRU_GATES]};
    const View *const second[] = {cell->linear ? &v[GRU_H] : scratch, scratch, &v[GRU_GATES]};
    cell->panels[0] = prepare_product(engine, cell, &cell->first, first, &v[GRU_BOTH], NULL);
    cell->panels[1] = prepare_product(engine, cell, &cell->second, second, &v[GRU_ALONE], bias);
    if (!cell->panels[0] || !cell->panels[1]) return MEMORY;
    return ready(step, cell, 2, gru);
}

const Kernel recurrent_kernels[] = {{"GRU", "activations,clip,linear", prepare_gru, 4, GRU_VIEWS, NULL},
                                    {"LSTM", "activations,clip", prepare_lstm, 5, LSTM_VIEWS, NULL},
                                    {"RNN", "activations,clip", prepare_rnn, 3, RNN_VIEWS, NULL},
                                    {.name = NULL}};
