/* Sums, products and extremes along some axes, pools, and softmax. A number that comes out is an array of the shape of
   what goes in, which does not move along the axes that are summed. */

#include "elementwise.h"

enum { PARTS = 16 }; /* numbers of one row that are summed apart, as vectors are */

/* out = f(out, x), along the innermost axis, where `out` may stand still. RESULT is f of x, so far, and y. */
#define FOLD(NAME, TYPE, RESULT)                                                                               \
    static inline TYPE NAME##_of(TYPE x, TYPE y) { return RESULT; }                                            \
    static TYPE NAME##_row(TYPE sum, ptrdiff_t count, const TYPE *x) {                                         \
        TYPE part[PARTS];                                                                                      \
        if (count >= PARTS) {                                                                                  \
            for (int i = 0; i < PARTS; i++) part[i] = x[i];                                                    \
            for (x += PARTS, count -= PARTS; count >= PARTS; x += PARTS, count -= PARTS)                       \
                for (int i = 0; i < PARTS; i++) part[i] = NAME##_of(part[i], x[i]);                            \
            for (int i = 0; i < PARTS; i++) sum = NAME##_of(sum, part[i]);                                     \
        }                                                                                                      \
        for (; count; count--) sum = NAME##_of(sum, *x++);                                                     \
        return sum;                                                                                            \
    }                                                                                                          \
    static void NAME(const Step *step, ptrdiff_t count, char *const *at, const ptrdiff_t *move) {              \
        TYPE *out = (TYPE *)at[0];                                                                             \
        const TYPE *x = (const TYPE *)at[1];                                                                   \
        (void)step;                                                                                            \
        if (move[0] == 0 && move[1] == sizeof(TYPE)) {                                                         \
            *out = NAME##_row(*out, count, x);                                                                 \
        } else if (move[0] == sizeof(TYPE) && move[1] == sizeof(TYPE)) {                                       \
            _Pragma("GCC ivdep") for (ptrdiff_t i = 0; i < count; i++) out[i] = NAME##_of(out[i], x[i]);       \
        } else {                                                                                               \
            for (ptrdiff_t i = 0; i < count; i++) {                                                            \
                TYPE *to = (TYPE *)(at[0] + i * move[0]);                                                      \
                *to = NAME##_of(*to, *(const TYPE *)(at[1] + i * move[1]));                                    \
            }                                                                                                  \
        }                                                                                                      \
    }

FOLD(real_max, float, y > x || y != y ? y : x)
FOLD(real_min, float, y < x || y != y ? y : x)
FOLD(real_sum, float, x + y)
FOLD(real_prod, float, x * y)
FOLD(whole_max, int64_t, y > x ? y : x)
FOLD(whole_min, int64_t, y < x ? y : x)
FOLD(whole_sum, int64_t, (int64_t)((uint64_t)x + (uint64_t)y))
FOLD(whole_prod, int64_t, (int64_t)((uint64_t)x * (uint64_t)y))

/* One kernel: how numbers meet, for each kind that it knows, what they begin with, and whether they are divided. */
typedef struct {
    Inner *real, *whole;
    float first_real;
    int64_t first_whole;
    int mean;
} Fold;

typedef struct {
    Loops out, loops;
    double summed; /* numbers of x for each that comes out */
    float part;    /* 1 / summed */
} Reduction;

static void begin(const Step *step, ptrdiff_t count, char *const *at, const ptrdiff_t *move) {
    const Fold *fold = step->own;
    char *to = at[0];
    if (step->views[0].kind == FLOAT32)
        for (; count; count--, to += move[0]) *(float *)to = fold->first_real;
    else
        for (; count; count--, to += move[0]) *(int64_t *)to = fold->first_whole;
}

static void divide(const Step *step, ptrdiff_t count, char *const *at, const ptrdiff_t *move) {
    const Reduction *reduction = step->prepared;
    char *to = at[0];
    if (step->views[0].kind == FLOAT32)
        for (; count; count--, to += move[0]) *(float *)to *= reduction->part;
    else
        for (; count; count--, to += move[0]) *(int64_t *)to = whole((double)*(int64_t *)to / reduction->summed);
}

static void reduce(const Step *step, char *const *rooms) {
    const Reduction *reduction = step->prepared;
    const Fold *fold = step->own;
    char *const at[] = {start(&step->views[0], rooms), start(&step->views[1], rooms)};
    walk(&reduction->out, step, at, begin);
    walk(&reduction->loops, step, at, step->views[0].kind == FLOAT32 ? fold->real : fold->whole);
    if (fold->mean) walk(&reduction->out, step, at, divide);
}

/* `spread` is the first view in the shape of the second. */
static const char *prepare_fold(Engine *engine, Step *step, const View *spread) {
    const View *out = &step->views[0], *x = &step->views[1], *const views[] = {spread, x};
    const Fold *fold = step->own;
    Reduction *reduction = engine_memory(engine, sizeof *reduction);
    if (!reduction) return "needs more memory than there is";
    if ((out->kind == FLOAT32 ? !fold->real : out->kind != INT64 || !fold->whole) || out->kind != x->kind ||
        !loops_over(&reduction->loops, views, 2))
        return "has arrays that do not fit each other";
    loops_over(&reduction->out, &out, 1);
    reduction->summed = (double)elements(x) / (double)elements(out);
    reduction->part = (float)((double)elements(out) / (double)elements(x));
    step->prepared = reduction;
    step->run = reduce;
    return NULL;
}

/* writes out, where `axes` have one item; reads x */
static const char *prepare_reduce(Engine *engine, Step *step) {
    const View *out = &step->views[0], *x = &step->views[1];
    double axes = step->parameters[0];
    if (out->room < 0 || x->room < 0 || out->rank != x->rank || !(axes >= 0 && axes < 1 << x->rank))
        return "has arrays that do not fit each other";
    View spread = *out;
    for (int axis = 0; axis < x->rank; axis++) {
        if ((unsigned)axes >> axis & 1) {
            if (out->shape[axis] != 1) return "has arrays that do not fit each other";
            spread.strides[axis] = 0;
            spread.shape[axis] = x->shape[axis];
        }
    }
    return prepare_fold(engine, step, &spread);
}

/* writes out (n, channels, *places); reads taps (n, channels, *kernel, *places) */
static const char *prepare_pool(Engine *engine, Step *step) {
    const View *out = &step->views[0], *taps = &step->views[1];
    if (out->room < 0 || taps->room < 0 || out->rank < 2 || taps->rank != 2 * out->rank - 2)
        return "has arrays that do not fit each other";
    View spread = *taps;
    int inside = out->rank - 2;
    for (int axis = 0; axis < taps->rank; axis++) {
        int from = axis < 2 ? axis : axis - inside;
        if (axis < 2 || axis >= 2 + inside) {
            spread.shape[axis] = out->shape[from];
            spread.strides[axis] = out->strides[from];
        } else {
            spread.strides[axis] = 0;
        }
    }
    spread.room = out->room;
    return prepare_fold(engine, step, &spread);
}

/* --- softmax */

enum { CHUNK = 64 }; /* numbers of a row that are computed together */

typedef struct {
    Loops rows;
    ptrdiff_t count, out, x; /* of the numbers of a row, and bytes from each to the next */
} Softmax;

static inline float at(const char *x, ptrdiff_t index, ptrdiff_t move) { return *(const float *)(x + index * move); }

static float largest(const char *x, ptrdiff_t count, ptrdiff_t move) {
    float top = -INFINITY;
    if (move == sizeof(float)) return real_max_row(top, count, (const float *)x);
    for (ptrdiff_t i = 0; i < count; i++) top = real_max_of(top, at(x, i, move));
    return top;
}

/* made[i] = exp(x[i] - top); returns their sum */
static float exponentials(float *made, const char *x, ptrdiff_t count, ptrdiff_t move, float top) {
    for (ptrdiff_t i = 0; i < count; i++) made[i] = at(x, i, move) - top;
    for (ptrdiff_t i = 0; i < count; i++) made[i] = exp_of(made[i]);
    return real_sum_row(0, count, made);
}

static void softmax_row(const Softmax *softmax, char *out, const char *x) {
    float made[CHUNK], total = 0, top = largest(x, softmax->count, softmax->x);
    for (ptrdiff_t done = 0, some; done < softmax->count; done += some) {
        some = softmax->count - done < CHUNK ? softmax->count - done : CHUNK;
        total += exponentials(made, x + done * softmax->x, some, softmax->x, top);
        for (ptrdiff_t i = 0; i < some; i++) *(float *)(out + (done + i) * softmax->out) = made[i];
    }
    for (ptrdiff_t i = 0; i < softmax->count; i++) *(float *)(out + i * softmax->out) /= total;
}

static void log_softmax_row(const Softmax *softmax, char *out, const char *x) {
    float made[CHUNK], total = 0, top = largest(x, softmax->count, softmax->x);
    for (ptrdiff_t done = 0, some; done < softmax->count; done += some) {
        some = softmax->count - done < CHUNK ? softmax->count - done : CHUNK;
        total += exponentials(made, x + done * softmax->x, some, softmax->x, top);
    }
    total = logf(total);
    for (ptrdiff_t i = 0; i < softmax->count; i++)
        *(float *)(out + i * softmax->out) = at(x, i, softmax->x) - top - total;
}

static void softmax_rows(const Step *step, ptrdiff_t count, char *const *from, const ptrdiff_t *move) {
    for (ptrdiff_t i = 0; i < count; i++) softmax_row(step->prepared, from[0] + i * move[0], from[1] + i * move[1]);
}

static void log_softmax_rows(const Step *step, ptrdiff_t count, char *const *from, const ptrdiff_t *move) {
    for (ptrdiff_t i = 0; i < count; i++) log_softmax_row(step->prepared, from[0] + i * move[0], from[1] + i * move[1]);
}

static void softmax(const Step *step, char *const *rooms) {
    char *const from[] = {start(&step->views[0], rooms), start(&step->views[3], rooms)};
    walk(step->prepared, step, from, step->own ? log_softmax_rows : softmax_rows);
}

/* writes out, scratch, total; reads x, all rows along `axis` */
static const char *prepare_softmax(Engine *engine, Step *step) {
    View out = step->views[0], x = step->views[3];
    double given = step->parameters[0];
    if (!is_array(&out, FLOAT32, -1) || !is_array(&x, FLOAT32, -1) || !same_shape(&out, &x))
        return "has arrays that do not fit each other";
    if (!(given >= -out.rank && given < out.rank)) return "is along an axis that is not there";
    int axis = (int)given + (given < 0 ? out.rank : 0);
    Softmax *made = engine_memory(engine, sizeof *made);
    if (!made) return "needs more memory than there is";
    made->count = x.shape[axis];
    made->out = out.strides[axis] * (ptrdiff_t)sizeof(float);
    made->x = x.strides[axis] * (ptrdiff_t)sizeof(float);
    out.shape[axis] = x.shape[axis] = 1;
    const View *const views[] = {&out, &x};
    loops_over(&made->rows, views, 2);
    step->prepared = made;
    step->run = softmax;
    return NULL;
}

static const Fold MAX = {real_max, whole_max, -INFINITY, INT64_MIN, 0},
                  MIN = {real_min, whole_min, INFINITY, INT64_MAX, 0},
                  SUM = {real_sum, whole_sum, 0, 0, 0}, PROD = {real_prod, whole_prod, 1, 1, 0},
                  MEAN = {real_sum, whole_sum, 0, 0, 1}, REAL_MEAN = {real_sum, NULL, 0, 0, 1};

const Kernel reduce_kernels[] = {{"AveragePool", "", prepare_pool, 1, 2, &REAL_MEAN},
                                 {"LogSoftmax", "axis", prepare_softmax, 3, 4, &MAX},
                                 {"MaxPool", "", prepare_pool, 1, 2, &MAX},
                                 {"ReduceMax", "axes", prepare_reduce, 1, 2, &MAX},
                                 {"ReduceMean", "axes", prepare_reduce, 1, 2, &MEAN},
                                 {"ReduceMin", "axes", prepare_reduce, 1, 2, &MIN},
                                 {"ReduceProd", "axes", prepare_reduce, 1, 2, &PROD},
                                 {"ReduceSum", "axes", prepare_reduce, 1, 2, &SUM},
                                 {"Softmax", "axis", prepare_softmax, 3, 4, NULL},
                                 {.name = NULL}};
