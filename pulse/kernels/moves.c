/* What moves numbers and computes nothing: copies, rings, pads. */

#include <string.h>

#include "elementwise.h"

/* What is shorter is copied here: a call takes longer than that. */
enum { SHORT = 256, CHUNK = 16 };

/* `bytes` from `from` to `to`, which may lie in front of it in the same memory. */
static inline void copy_bytes(char *to, const char *from, ptrdiff_t bytes) {
    if (bytes > SHORT) {
        memmove(to, from, (size_t)bytes);
        return;
    }
    for (; bytes >= CHUNK; bytes -= CHUNK, to += CHUNK, from += CHUNK) memmove(to, from, CHUNK);
    for (; bytes >= 4; bytes -= 4, to += 4, from += 4) memmove(to, from, 4);
    for (; bytes > 0; bytes--) *to++ = *from++;
}

static void copy_run(const Step *step, ptrdiff_t count, char *const *at, const ptrdiff_t *move) {
    ptrdiff_t item = (ptrdiff_t)item_size(step->views[0].kind);
    char *to = at[0];
    const char *from = at[1];
    if (move[0] == item && move[1] == item) {
        copy_bytes(to, from, count * item);
    } else if (item == 1) {
        for (; count; count--, to += move[0], from += move[1]) *to = *from;
    } else if (item == 4) {
        for (; count; count--, to += move[0], from += move[1]) memcpy(to, from, 4);
    } else {
        for (; count; count--, to += move[0], from += move[1]) memcpy(to, from, 8);
    }
}

/* Rows of a matrix, as the channels of a few items are, are copied here. */
void copy_over(const Loops *loops, const Step *step, char *to, char *from) {
    ptrdiff_t item = (ptrdiff_t)item_size(step->views[0].kind);
    int last = loops->rank - 1;
    if (last > 1 || loops->move[0][last] != item || loops->move[1][last] != item) {
        char *const at[] = {to, from};
        walk(loops, step, at, copy_run);
        return;
    }
    ptrdiff_t rows = last ? loops->size[0] : 1, bytes = loops->size[last] * item;
    for (; rows; rows--, to += loops->move[0][0], from += loops->move[1][0]) copy_bytes(to, from, bytes);
}

static void copy(const Step *step, char *const *rooms) {
    copy_over(step->prepared, step, start(&step->views[0], rooms), start(&step->views[1], rooms));
}

static const char *prepare_copy(Engine *engine, Step *step) {
    const View *const views[] = {&step->views[0], &step->views[1]};
    Loops *loops = engine_memory(engine, sizeof *loops);
    if (!loops) return "needs more memory than there is";
    if (views[0]->room < 0 || views[0]->kind != views[1]->kind || !loops_over(loops, views, 2))
        return "copies between arrays that do not fit each other";
    step->prepared = loops;
    step->run = copy;
    return NULL;
}

typedef struct {
    Loops shift, append;
    View past, end; /* of the ring: what stays, and where the pulse goes */
    ptrdiff_t pulse; /* bytes from an item to the one a pulse later */
} Delay;

static void delay_all(const Step *step, char *const *rooms) {
    const Delay *delay = step->prepared;
    char *ring = start(&step->views[0], rooms);
    if (delay->shift.operands) copy_over(&delay->shift, step, ring, ring + delay->pulse);
    copy_over(&delay->append, step, ring + delay->end.offset, start(&step->views[1], rooms));
}

/* writes ring (..., past + pulse); reads x (..., pulse). Items move towards the front, so that each is read before it
   is written over, in whichever order the axes are walked, as long as time runs forwards. */
static const char *prepare_delay(Engine *engine, Step *step) {
    const View *ring = &step->views[0], *x = &step->views[1];
    if (ring->room < 0 || x->room < 0 || ring->kind != x->kind || ring->rank != x->rank ||
        ring->rank < 1)
        return "has other arrays than a delay must have";
    int time = ring->rank - 1;
    ptrdiff_t past = ring->shape[time] - x->shape[time], item = (ptrdiff_t)item_size(ring->kind);
    if (past < 0 || ring->strides[time] < 0) return "delays more items than its ring holds";
    Delay *delay = engine_memory(engine, sizeof *delay);
    if (!delay) return "needs more memory than there is";
    delay->pulse = x->shape[time] * ring->strides[time] * item;
    delay->end = *ring;
    delay->end.shape[time] = x->shape[time];
    delay->end.offset = past * ring->strides[time] * item;
    const View *const append[] = {&delay->end, x};
    if (!loops_over(&delay->append, append, 2)) return "has arrays whose shapes do not fit each other";
    if (past) {
        delay->past = *ring;
        delay->past.shape[time] = past;
        const View *const shift[] = {&delay->past, &delay->past};
        loops_over(&delay->shift, shift, 2);
    }
    step->prepared = delay;
    step->run = delay_all;
    return NULL;
}

/* One number over an array, however it lies. */
typedef struct {
    Loops loops;
    union {
        float real;
        int64_t whole;
        double exact;
        int8_t byte;
        int32_t sum;
    } value;
} Filling;

static void fill_run(const Step *step, ptrdiff_t count, char *const *at, const ptrdiff_t *move) {
    const Filling *filling = step->prepared; /* first in all that is prepared here */
    char *to = at[0];
    if (item_size(step->views[0].kind) == 1)
        for (; count; count--, to += move[0]) *to = (char)filling->value.byte;
    else if (item_size(step->views[0].kind) == sizeof(float))
        for (; count; count--, to += move[0]) memcpy(to, &filling->value, sizeof(float));
    else
        for (; count; count--, to += move[0]) memcpy(to, &filling->value, sizeof(int64_t));
}

static void fill_with(Filling *filling, const View *view, double value) {
    loops_over(&filling->loops, &view, 1);
    if (view->kind == FLOAT32) filling->value.real = (float)value;
    else if (view->kind == INT64) filling->value.whole = whole(value);
    else if (view->kind == INT8) filling->value.byte = (int8_t)whole(value);
    else if (view->kind == INT32) filling->value.sum = (int32_t)whole(value);
    else filling->value.exact = value;
}

typedef struct {
    Filling filling;
    Loops inside;
} Padding;

static void pad(const Step *step, char *const *rooms) {
    const Padding *padding = step->prepared;
    char *const out[] = {start(&step->views[0], rooms)};
    char *const inside[] = {start(&step->views[1], rooms), start(&step->views[2], rooms)};
    walk(&padding->filling.loops, step, out, fill_run);
    walk(&padding->inside, step, inside, copy_run);
}

/* writes out, inside; reads x */
static const char *prepare_pad(Engine *engine, Step *step) {
    const View *out = &step->views[0], *inside = &step->views[1], *x = &step->views[2];
    if (out->room < 0 || !is_array(inside, out->kind, -1) || !is_array(x, out->kind, -1) || !same_shape(inside, x))
        return "has arrays that do not fit each other";
    Padding *padding = engine_memory(engine, sizeof *padding);
    if (!padding) return "needs more memory than there is";
    const View *const copied[] = {inside, x};
    loops_over(&padding->inside, copied, 2);
    fill_with(&padding->filling, out, step->parameters[0]);
    step->prepared = padding;
    step->run = pad;
    return NULL;
}

typedef struct {
    Filling filling;    /* of one item */
    Loops copied, item; /* over all items, and over one */
    ptrdiff_t out, x;   /* bytes from an item to the next */
} Items;

static ptrdiff_t lesser(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

static void fill(const Step *step, char *const *rooms) {
    const Items *items = step->prepared;
    const View *out = &step->views[0];
    char *to = start(out, rooms), *const copied[] = {to, start(&step->views[2], rooms)};
    float *left = (float *)start(&step->views[1], rooms);
    walk(&items->copied, step, copied, copy_run);
    ptrdiff_t some = lesser(counted(*left), out->shape[out->rank - 1]);
    if (some <= 0) return;
    for (ptrdiff_t item = 0; item < some; item++) {
        char *const at[] = {to + item * items->out};
        walk(&items->filling.loops, step, at, fill_run);
    }
    *left -= (float)some;
}

/* `out` and the first items of `x`, time last: loops over all of them, and over one. */
static Items *prepare_items(Engine *engine, const View *out, const View *x) {
    Items *items = engine_memory(engine, sizeof *items);
    if (!items) return NULL;
    int time = out->rank - 1;
    View first = *x, one = *out, other = *x;
    first.shape[time] = out->shape[time];
    one.shape[time] = other.shape[time] = 1;
    const View *const copied[] = {out, &first}, *const single[] = {&one, &other};
    loops_over(&items->copied, copied, 2);
    loops_over(&items->item, single, 2);
    items->out = out->strides[time] * (ptrdiff_t)item_size(out->kind);
    items->x = x->strides[time] * (ptrdiff_t)item_size(x->kind);
    return items;
}

/* writes out (..., items), left (1); reads x (..., items) */
static const char *prepare_fill(Engine *engine, Step *step) {
    const View *out = &step->views[0], *left = &step->views[1], *x = &step->views[2];
    if (out->room < 0 || !is_array(x, out->kind, -1) || !same_shape(out, x) || out->rank < 1 ||
        !is_array(left, FLOAT32, 1))
        return "has arrays that do not fit each other";
    Items *items = prepare_items(engine, out, x);
    if (!items) return "needs more memory than there is";
    View one = *out;
    one.shape[out->rank - 1] = 1;
    fill_with(&items->filling, &one, step->parameters[0]);
    step->prepared = items;
    step->run = fill;
    return NULL;
}

static void edge(const Step *step, char *const *rooms) {
    const Items *items = step->prepared;
    const View *out = &step->views[0];
    char *to = start(out, rooms), *from = start(&step->views[2], rooms), *const copied[] = {to, from};
    float *first = (float *)start(&step->views[1], rooms);
    ptrdiff_t place = counted(*first), after = place - (ptrdiff_t)step->parameters[0];
    walk(&items->copied, step, copied, copy_run);
    for (ptrdiff_t item = 0; item < place && place < out->shape[out->rank - 1]; item++) {
        char *const at[] = {to + item * items->out, from + place * items->x};
        walk(&items->item, step, at, copy_run);
    }
    *first = (float)(after > 0 ? after : 0);
}

/* writes out (..., overlap + items), first (1); reads past, of the same shape */
static const char *prepare_edge(Engine *engine, Step *step) {
    const View *out = &step->views[0], *first = &step->views[1], *past = &step->views[2];
    double many = step->parameters[0];
    if (out->rank < 1 || !is_array(past, out->kind, -1) || !same_shape(out, past) || !is_array(first, FLOAT32, 1) ||
        !(many >= 0 && many <= COUNTED))
        return "has arrays that do not fit each other";
    step->prepared = prepare_items(engine, out, past);
    step->run = edge;
    return step->prepared ? NULL : "needs more memory than there is";
}

static void front(const Step *step, char *const *rooms) {
    const Items *items = step->prepared;
    const View *out = &step->views[0], *past = &step->views[2];
    ptrdiff_t count = out->shape[out->rank - 1], overlap = past->shape[out->rank - 1] - count;
    ptrdiff_t apart = (ptrdiff_t)step->parameters[0];
    char *to = start(out, rooms), *from = start(past, rooms), *const copied[] = {to, from};
    float *where = (float *)start(&step->views[1], rooms);
    ptrdiff_t place = counted(*where);
    walk(&items->copied, step, copied, copy_run);
    for (ptrdiff_t item = place < 0 ? -place : 0; item < lesser(count, overlap / apart - place); item++) {
        ptrdiff_t mirrored = item + overlap - apart * (place + item); /* from `item` + 1 to before `overlap` + count */
        char *const at[] = {to + item * items->out, from + mirrored * items->x};
        walk(&items->item, step, at, copy_run);
    }
    *where = (float)lesser(place + count, overlap);
}

/* writes out (..., items), place (1); reads past (..., overlap + items) */
static const char *prepare_front(Engine *engine, Step *step) {
    const View *out = &step->views[0], *place = &step->views[1], *past = &step->views[2];
    double apart = step->parameters[0];
    if (out->room < 0 || out->rank < 1 || !is_array(past, out->kind, out->rank) || !is_array(place, FLOAT32, 1))
        return "has arrays that do not fit each other";
    for (int axis = 0; axis < out->rank - 1; axis++)
        if (out->shape[axis] != past->shape[axis]) return "has arrays that do not fit each other";
    if (past->shape[out->rank - 1] < out->shape[out->rank - 1] || !(apart >= 1 && apart <= COUNTED))
        return "mirrors other items than there are";
    step->prepared = prepare_items(engine, out, past);
    step->run = front;
    return step->prepared ? NULL : "needs more memory than there is";
}

/* writes out (*indices, *row), scratch; reads indices, table (rows, *row) */
typedef struct {
    Loops loops; /* over the places of out, the indices, and the table, which stays */
    Loops row;   /* over a row of out and of the table */
} Take;

static void take_run(const Step *step, ptrdiff_t count, char *const *at, const ptrdiff_t *move) {
    const Take *take = step->prepared;
    const View *table = &step->views[3];
    int64_t rows = table->shape[0];
    ptrdiff_t apart = table->strides[0] * (ptrdiff_t)item_size(table->kind);
    char *out = at[0], *from = at[1];
    for (; count; count--, out += move[0], from += move[1]) {
        int64_t index = *(const int64_t *)from;
        index = index < -rows ? 0 : index < 0 ? index + rows : index < rows ? index : rows - 1;
        char *const copied[] = {out, at[2] + (ptrdiff_t)index * apart};
        walk(&take->row, step, copied, copy_run);
    }
}

static void take_all(const Step *step, char *const *rooms) {
    const Take *take = step->prepared;
    char *const at[] = {start(&step->views[0], rooms), start(&step->views[2], rooms), start(&step->views[3], rooms)};
    walk(&take->loops, step, at, take_run);
}

static const char *prepare_take(Engine *engine, Step *step) {
    const View *out = &step->views[0], *indices = &step->views[2], *table = &step->views[3];
    if (out->room < 0 || !is_array(indices, INT64, -1) || !is_array(table, out->kind, -1) || table->rank < 1 ||
        out->rank != indices->rank + table->rank - 1)
        return "has arrays that do not fit each other";
    View places = *out, row = *out, of_table = *table, same = *indices;
    places.rank = indices->rank;
    row.rank = of_table.rank = table->rank - 1;
    for (int axis = 0; axis < row.rank; axis++) {
        row.shape[axis] = out->shape[indices->rank + axis];
        row.strides[axis] = out->strides[indices->rank + axis];
        of_table.shape[axis] = table->shape[1 + axis];
        of_table.strides[axis] = table->strides[1 + axis];
    }
    Take *take = engine_memory(engine, sizeof *take);
    if (!take) return "needs more memory than there is";
    for (int axis = 0; axis < same.rank; axis++) same.strides[axis] = 0;
    const View *const outer[] = {&places, indices, &same}, *const inner[] = {&row, &of_table};
    if (!loops_over(&take->loops, outer, 3) || !loops_over(&take->row, inner, 2))
        return "has arrays whose shapes do not fit each other";
    step->prepared = take;
    step->run = take_all;
    return NULL;
}

const Kernel move_kernels[] = {{"Copy", "", prepare_copy, 1, 2, NULL},
                               {"Delay", "", prepare_delay, 1, 2, NULL},
                               {"Edge", "items", prepare_edge, 2, 3, NULL},
                               {"Fill", "value", prepare_fill, 2, 3, NULL},
                               {"Front", "step", prepare_front, 2, 3, NULL},
                               {"Pad", "value", prepare_pad, 2, 3, NULL},
                               {"Take", "", prepare_take, 2, 4, NULL},
                               {.name = NULL}};
