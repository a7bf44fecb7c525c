/* What is known of all items so far, along the last axis: sum, maximum, mean and variance. Every row of a pulse is
   walked from its first item to its last, with what its state holds of those before. */

#include "elementwise.h"

/* What of a step differs from pulse to pulse: the items that are warm-up, and those before this pulse. */
typedef struct {
    ptrdiff_t skip;
    double before;
} Now;

/* Operands of a row: its first item that comes out and goes in, states that are there, and `Now`, which does not move.
   A state that is absent is left out. */
typedef struct {
    Loops loops;
    Inner *inner;
    int states;
    ptrdiff_t items, out, x; /* bytes from an item to the next */
} Running;

static const Now *now_of(const Running *running, char *const *at) { return (const Now *)at[2 + running->states]; }

/* Copies the items of the warm-up, and goes behind them. */
#define WARM_UP(TYPE)                                                               \
    const Running *running = step->prepared;                                        \
    const Now *now = now_of(running, at);                                           \
    char *out = at[0] + i * move[0], *x = at[1] + i * move[1];                       \
    for (ptrdiff_t item = 0; item < now->skip; item++, out += running->out, x += running->x) \
        *(TYPE *)out = *(const TYPE *)x;

#define CUM_SUM(NAME, TYPE, MATH)                                                                             \
    static void NAME(const Step *step, ptrdiff_t count, char *const *at, const ptrdiff_t *move) {             \
        const Running *running = step->prepared;                                                              \
        const int exclusive = step->parameters[0] != 0;                                                       \
        for (ptrdiff_t i = 0; i < count; i++) {                                                               \
            char *out = at[0] + i * move[0], *x = at[1] + i * move[1];                                        \
            TYPE *total = running->states ? (TYPE *)(at[2] + i * move[2]) : NULL;                             \
            MATH before = total ? (MATH)*total : 0, sum = 0;                                                  \
            for (ptrdiff_t item = 0; item < running->items; item++, out += running->out, x += running->x) {   \
                MATH number = (MATH)*(const TYPE *)x;                                                         \
                *(TYPE *)out = (TYPE)((exclusive ? sum : sum + number) + before);                             \
                sum += number;                                                                                \
            }                                                                                                 \
            if (total) *total = (TYPE)(sum + before);                                                         \
        }                                                                                                     \
    }

CUM_SUM(real_sums, float, float)
CUM_SUM(whole_sums, int64_t, uint64_t)

#define RUNNING_MAX(NAME, TYPE, LARGER)                                                             \
    static void NAME(const Step *step, ptrdiff_t count, char *const *at, const ptrdiff_t *move) {   \
        for (ptrdiff_t i = 0; i < count; i++) {                                                     \
            WARM_UP(TYPE)                                                                           \
            TYPE *top = (TYPE *)(at[2] + i * move[2]);                                              \
            for (ptrdiff_t item = now->skip; item < running->items; item++) {                       \
                TYPE number = *(const TYPE *)x;                                                     \
                if (LARGER) *top = number;                                                          \
                *(TYPE *)out = *top;                                                                \
                out += running->out, x += running->x;                                               \
            }                                                                                       \
        }                                                                                           \
    }

RUNNING_MAX(real_tops, float, number > *top || number != number)
RUNNING_MAX(whole_tops, int64_t, number > *top)

static void means(const Step *step, ptrdiff_t count, char *const *at, const ptrdiff_t *move) {
    for (ptrdiff_t i = 0; i < count; i++) {
        WARM_UP(float)
        double *mean = (double *)(at[2] + i * move[2]), n = now->before;
        for (ptrdiff_t item = now->skip; item < running->items; item++, out += running->out, x += running->x) {
            *mean += (*(const float *)x - *mean) / ++n;
            *(float *)out = (float)*mean;
        }
    }
}

/* Welford 1962: the mean, and the sum of squares beside it */
static void variances(const Step *step, ptrdiff_t count, char *const *at, const ptrdiff_t *move) {
    const double correction = step->parameters[0];
    for (ptrdiff_t i = 0; i < count; i++) {
        WARM_UP(float)
        double *mean = (double *)(at[2] + i * move[2]), *squares = (double *)(at[3] + i * move[3]), n = now->before;
        for (ptrdiff_t item = now->skip; item < running->items; item++, out += running->out, x += running->x) {
            double apart = *(const float *)x - *mean, parts = ++n - correction;
            *mean += apart / n;
            *squares += apart * (*(const float *)x - *mean);
            *(float *)out = (float)(*squares / (parts > 1 ? parts : 1));
        }
    }
}

/* Loops over the rows of `out` and `x` (..., items) and of `states` (...). */
static Running *rows(Engine *engine, const View *out, const View *x, const View *states, int count) {
    View first[MAX_OPERANDS] = {*out, *x};
    const View *views[MAX_OPERANDS];
    Running *running = engine_memory(engine, sizeof *running);
    if (!running) return NULL;
    first[0].rank--, first[1].rank--;
    for (int i = 0; i < count; i++) first[2 + i] = states[i];
    first[2 + count] = first[0];
    for (int axis = 0; axis < first[0].rank; axis++) first[2 + count].strides[axis] = 0;
    for (int i = 0; i < 3 + count; i++) views[i] = &first[i];
    if (!loops_over(&running->loops, views, 3 + count)) running->loops.operands = 0;
    running->states = count;
    running->items = x->shape[x->rank - 1];
    running->out = out->strides[x->rank - 1] * (ptrdiff_t)item_size(out->kind);
    running->x = x->strides[x->rank - 1] * (ptrdiff_t)item_size(x->kind);
    return running;
}

static const char *ready(Step *step, Running *running, Inner *inner, void (*run)(const Step *, char *const *)) {
    if (!running) return "needs more memory than there is";
    if (!running->loops.operands) return "has arrays that do not fit each other";
    running->inner = inner;
    step->prepared = running;
    step->run = run;
    return NULL;
}

static void cum_sum(const Step *step, char *const *rooms) {
    const Running *running = step->prepared;
    const View *v = step->views;
    char *at[MAX_OPERANDS] = {start(&v[0], rooms), start(&v[2], rooms)}, none = 0;
    if (running->states) at[2] = start(&v[1], rooms);
    at[2 + running->states] = &none;
    walk(&running->loops, step, at, running->inner);
}

/* The view (..., 1) of a state as (...); rank -1 where it is none. */
static View flat(const View *state) {
    View made = *state;
    made.rank = state->rank > 0 && state->shape[state->rank - 1] == 1 ? state->rank - 1 : -1;
    return made;
}

/* writes out (..., items), total (..., 1) or None; reads x (..., items) */
static const char *prepare_cum_sum(Engine *engine, Step *step) {
    const View *out = &step->views[0], *total = &step->views[1], *x = &step->views[2];
    if (out->room < 0 || out->kind > INT64 || !is_array(x, out->kind, out->rank) || !same_shape(out, x) ||
        out->rank < 1 || (total->room >= 0 && !is_array(total, out->kind, out->rank)))
        return "has arrays that do not fit each other";
    View state = {.room = -1};
    if (total->room >= 0) state = flat(total);
    Inner *inner = out->kind == FLOAT32 ? real_sums : whole_sums;
    return ready(step, rows(engine, out, x, &state, total->room >= 0), inner, cum_sum);
}

/* The items of this pulse that are warm-up. */
static ptrdiff_t warm_up(const Step *step, char *const *rooms, ptrdiff_t items) {
    float *left = (float *)start(&step->views[1], rooms);
    ptrdiff_t skip = counted(*left);
    if (skip > items) skip = items;
    if (skip <= 0) return 0;
    *left -= (float)skip;
    return skip;
}

static void running_max(const Step *step, char *const *rooms) {
    const Running *running = step->prepared;
    const View *v = step->views;
    Now now = {warm_up(step, rooms, running->items), 0};
    char *const at[] = {start(&v[0], rooms), start(&v[3], rooms), start(&v[2], rooms), (char *)&now};
    walk(&running->loops, step, at, running->inner);
}

/* writes out (..., items), left (1), top (..., 1); reads x (..., items) */
static const char *prepare_running_max(Engine *engine, Step *step) {
    const View *out = &step->views[0], *left = &step->views[1], *top = &step->views[2], *x = &step->views[3];
    if (out->room < 0 || out->kind > INT64 || !is_array(left, FLOAT32, 1) || !is_array(top, out->kind, out->rank) ||
        !is_array(x, out->kind, out->rank) || !same_shape(out, x) || out->rank < 1)
        return "has arrays that do not fit each other";
    View state = flat(top);
    Inner *inner = out->kind == FLOAT32 ? real_tops : whole_tops;
    return ready(step, rows(engine, out, x, &state, 1), inner, running_max);
}

static void moments(const Step *step, char *const *rooms) {
    const Running *running = step->prepared;
    const View *v = step->views;
    double *before = (double *)start(&v[2], rooms);
    Now now = {warm_up(step, rooms, running->items), *before};
    char *at[MAX_OPERANDS] = {start(&v[0], rooms), start(&v[step->count - 1], rooms)};
    for (int i = 0; i < running->states; i++) at[2 + i] = start(&v[3 + i], rooms);
    at[2 + running->states] = (char *)&now;
    walk(&running->loops, step, at, running->inner);
    *before = now.before + (double)(running->items - now.skip);
}

/* writes out (..., items), left (1), count (1), states (...), as many scratch (...); reads x (..., items) */
static const char *prepare_moments(Engine *engine, Step *step, int states, Inner *inner) {
    const View *v = step->views, *out = &v[0], *x = &v[step->count - 1];
    if (!is_array(out, FLOAT32, -1) || !is_array(&v[1], FLOAT32, 1) || !is_array(&v[2], FLOAT64, 1) ||
        !is_array(x, FLOAT32, out->rank) || !same_shape(out, x) || out->rank < 1)
        return "has arrays that do not fit each other";
    for (int i = 0; i < states; i++)
        if (!is_array(&v[3 + i], FLOAT64, out->rank - 1)) return "has arrays that do not fit each other";
    return ready(step, rows(engine, out, x, &v[3], states), inner, moments);
}

static const char *prepare_mean(Engine *engine, Step *step) { return prepare_moments(engine, step, 1, means); }

static const char *prepare_variance(Engine *engine, Step *step) { return prepare_moments(engine, step, 2, variances); }

const Kernel running_kernels[] = {{"CumSum", "exclusive", prepare_cum_sum, 2, 3, NULL},
                                  {"RunningMax", "", prepare_running_max, 3, 4, NULL},
                                  {"RunningMean", "", prepare_mean, 5, 6, NULL},
                                  {"RunningVariance", "correction", prepare_variance, 7, 8, NULL},
                                  {.name = NULL}};
