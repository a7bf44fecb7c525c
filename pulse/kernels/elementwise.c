/* Kernels that treat every number alike. A function of this file takes numbers that lie side by side; where an array
   has them elsewhere, they are gathered a chunk at a time, and scattered behind it. */

#include "elementwise.h"

#include <math.h>

#include "product.h"

enum { CHUNK = 128 }; /* numbers that are gathered at a time */
enum { READS = 3 };
enum { TO_BOOL, TO_INT32, TO_INT64, TO_FLOAT32 }; /* as native.py counts them */

typedef struct Curve Curve;

/* to[i] = f(first[i], second[i], third[i]), side by side; those that f does not take are the first once more. */
typedef void Run(const Curve *curve, ptrdiff_t count, void *to, const void *first, const void *second,
                 const void *third);

struct Curve {
    Loops loops;
    Run *run;
    size_t item[1 + READS]; /* bytes */
    double a, b;            /* parameters */
    int activation;
    const Instructions *instructions;
};

/* The functions of one op for each kind of number; NULL where it has none. */
typedef struct {
    Run *real, *whole;
    int decides; /* whether its results are 0 and 1 */
} Op;

#define EACH(NAME, FROM, TO, RESULT)                                                                      \
    static void NAME(const Curve *curve, ptrdiff_t count, void *to, const void *first, const void *second, \
                     const void *third) {                                                                 \
        TO *out = to;                                                                                     \
        const FROM *xs = first, *ys = second;                                                             \
        const float a = (float)curve->a, b = (float)curve->b;                                             \
        (void)third, (void)ys, (void)a, (void)b;                                                          \
        _Pragma("GCC ivdep") for (ptrdiff_t i = 0; i < count; i++) {                                      \
            FROM x = xs[i], y = ys[i];                                                                    \
            (void)y;                                                                                      \
            out[i] = (TO)(RESULT);                                                                        \
        }                                                                                                 \
    }

/* Integers wrap around, as those of numpy do. */
#define WRAP(RESULT) (int64_t)(RESULT)
typedef uint64_t Bits;

/* --- of one number */

static inline float smaller(float x, float y) { return x < y || x != x ? x : y; }
static inline float larger(float x, float y) { return x > y || x != x ? x : y; }
static inline float sign(float x) { return x > 0 ? 1 : x < 0 ? -1 : x == 0 ? 0 : x; }
static inline float sloped(float x, float slope, float shift) { return larger(0, smaller(1, x * slope + shift)); }

/* Abramowitz and Stegun 7.1.26, as in the reference */
static inline float erf_of(float x) {
    float t = 1 / (1 + 0.3275911f * fabsf(x)), sum = 1.061405429f;
    sum = sum * t - 1.453152027f;
    sum = sum * t + 1.421413741f;
    sum = sum * t - 0.284496736f;
    sum = sum * t + 0.254829592f;
    return copysignf(1 - sum * t * exp_of(-x * x), x);
}

/* exp(x) - 1 for x <= 0; close to 0 by its series, as the difference would have no digits left */
static inline float exp_less_one(float x) {
    float series = x * (1 + x * (1.0f / 2 + x * (1.0f / 6 + x * (1.0f / 24 + x * (1.0f / 120 + x * (1.0f / 720))))));
    return x > -0.25f ? series : exp_of(x) - 1;
}

EACH(real_abs, float, float, fabsf(x))
EACH(real_acos, float, float, acosf(x))
EACH(real_acosh, float, float, acoshf(x))
EACH(real_asin, float, float, asinf(x))
EACH(real_asinh, float, float, asinhf(x))
EACH(real_atan, float, float, atanf(x))
EACH(real_atanh, float, float, atanhf(x))
EACH(real_ceil, float, float, ceilf(x))
EACH(real_cos, float, float, cosf(x))
EACH(real_cosh, float, float, coshf(x))
EACH(real_elu, float, float, larger(x, 0) + a * exp_less_one(smaller(x, 0)))
EACH(real_erf, float, float, erf_of(x))
EACH(real_exp, float, float, exp_of(x))
EACH(real_floor, float, float, floorf(x))
EACH(real_hard_sigmoid, float, float, sloped(x, a, b))
EACH(real_hard_swish, float, float, x * sloped(x, 1.0f / 6, 0.5f))
EACH(real_leaky_relu, float, float, larger(x, 0) + a * smaller(x, 0))
EACH(real_log, float, float, logf(x))
EACH(real_neg, float, float, -x)
EACH(real_not, float, float, x == 0)
EACH(real_reciprocal, float, float, 1 / x)
EACH(real_round, float, float, rintf(x))
EACH(real_sign, float, float, sign(x))
EACH(real_sin, float, float, sinf(x))
EACH(real_sinh, float, float, sinhf(x))
EACH(real_softplus, float, float, larger(x, 0) + log1pf(exp_of(-fabsf(x))))
EACH(real_softsign, float, float, x / (1 + fabsf(x)))
EACH(real_sqrt, float, float, sqrtf(x))
EACH(real_tan, float, float, tanf(x))

EACH(whole_abs, int64_t, int64_t, x < 0 ? WRAP(0 - (Bits)x) : x)
EACH(whole_neg, int64_t, int64_t, WRAP(0 - (Bits)x))
EACH(whole_not, int64_t, int64_t, x == 0)
EACH(whole_relu, int64_t, int64_t, x > 0 ? x : 0)
EACH(whole_sign, int64_t, int64_t, (x > 0) - (x < 0))

static void real_activation(const Curve *curve, ptrdiff_t count, void *to, const void *first, const void *second,
                            const void *third) {
    (void)second, (void)third;
    curve->instructions->activate(curve->activation, count, to, first);
}

static void gate(const Curve *curve, ptrdiff_t count, void *to, const void *first, const void *second,
                 const void *third) {
    (void)third;
    curve->instructions->gate(count, to, first, second);
}

/* a bound that is a NaN or infinite bounds nothing */
static void real_clip(const Curve *curve, ptrdiff_t count, void *to, const void *first, const void *second,
                      const void *third) {
    float *out = to;
    const float *xs = first, low = curve->a > -INFINITY ? (float)curve->a : -INFINITY;
    const float high = curve->b < INFINITY ? (float)curve->b : INFINITY;
    (void)second, (void)third;
    for (ptrdiff_t i = 0; i < count; i++) {
        float x = xs[i];
        x = x < low ? low : x;
        out[i] = x > high ? high : x;
    }
}

static void whole_clip(const Curve *curve, ptrdiff_t count, void *to, const void *first, const void *second,
                       const void *third) {
    int64_t *out = to;
    const int64_t *xs = first, low = curve->a > -0x1p63 ? whole(curve->a) : INT64_MIN;
    const int64_t high = curve->b < 0x1p63 ? whole(curve->b) : INT64_MAX;
    (void)second, (void)third;
    for (ptrdiff_t i = 0; i < count; i++) {
        int64_t x = xs[i] < low ? low : xs[i];
        out[i] = x > high ? high : x;
    }
}

/* --- of two numbers */

/* what is left of x by y, with the sign of y, or with that of x where `a` is set; 0 by 0 is 0 of integers */
static inline float real_left(float x, float y, float a) {
    float left = fmodf(x, y);
    if (a != 0 || y == 0) return left;
    if (left == 0) return copysignf(0, y);
    return (y < 0) != (left < 0) ? left + y : left;
}
static inline int64_t whole_left(int64_t x, int64_t y, float a) {
    int64_t left = y == 0 || y == -1 ? 0 : x % y;
    return a == 0 && left != 0 && (y < 0) != (left < 0) ? left + y : left;
}
static inline int64_t quotient(int64_t x, int64_t y) { return y == 0 ? 0 : y == -1 ? WRAP(0 - (Bits)x) : x / y; }

EACH(real_add, float, float, x + y)
EACH(real_sub, float, float, x - y)
EACH(real_mul, float, float, x * y)
EACH(real_div, float, float, x / y)
EACH(real_max, float, float, larger(x, y))
EACH(real_min, float, float, smaller(x, y))
EACH(real_mod, float, float, real_left(x, y, a))
EACH(real_pow, float, float, powf(x, y))
EACH(whole_add, int64_t, int64_t, WRAP((Bits)x + (Bits)y))
EACH(whole_sub, int64_t, int64_t, WRAP((Bits)x - (Bits)y))
EACH(whole_mul, int64_t, int64_t, WRAP((Bits)x * (Bits)y))
EACH(whole_div, int64_t, int64_t, quotient(x, y))
EACH(whole_max, int64_t, int64_t, x > y ? x : y)
EACH(whole_min, int64_t, int64_t, x < y ? x : y)
EACH(whole_mod, int64_t, int64_t, whole_left(x, y, a))
EACH(whole_pow, int64_t, int64_t, whole(pow((double)x, (double)y)))

#define DECIDE(NAME, RESULT)                      \
    EACH(real_##NAME, float, float, RESULT)       \
    EACH(whole_##NAME, int64_t, float, RESULT)

DECIDE(and, (x != 0) & (y != 0))
DECIDE(or, (x != 0) | (y != 0))
DECIDE(xor, (x != 0) ^ (y != 0))
DECIDE(equal, x == y)
DECIDE(greater, x > y)
DECIDE(greater_or_equal, x >= y)
DECIDE(less, x < y)
DECIDE(less_or_equal, x <= y)

/* --- of one kind to another */

EACH(real_to_bool, float, float, x != 0)
EACH(real_to_real, float, float, x)
EACH(real_to_int64, float, int64_t, whole(x))
EACH(real_to_int32, float, int64_t, (int32_t)(uint32_t)whole(x))
EACH(whole_to_bool, int64_t, float, x != 0)
EACH(whole_to_real, int64_t, float, x)
EACH(whole_to_int64, int64_t, int64_t, x)
EACH(whole_to_int32, int64_t, int64_t, (int32_t)(uint32_t)x)

static Run *const CASTS[2][4] = {{real_to_bool, real_to_int32, real_to_int64, real_to_real},
                                 {whole_to_bool, whole_to_int32, whole_to_int64, whole_to_real}};

/* --- choices */

#define CHOOSE(NAME, TYPE)                                                                                \
    static void NAME(const Curve *curve, ptrdiff_t count, void *to, const void *first, const void *second, \
                     const void *third) {                                                                 \
        TYPE *out = to;                                                                                   \
        const float *condition = first;                                                                   \
        const TYPE *xs = second, *ys = third;                                                             \
        (void)curve;                                                                                      \
        for (ptrdiff_t i = 0; i < count; i++) out[i] = condition[i] != 0 ? xs[i] : ys[i];                  \
    }

CHOOSE(real_where, float)
CHOOSE(whole_where, int64_t)

/* --- where the numbers lie */

typedef union {
    float real[CHUNK];
    int64_t whole[CHUNK];
} Chunk;

/* `count` numbers, side by side: where they are, or gathered. */
static const void *gathered(Chunk *chunk, const char *at, ptrdiff_t count, ptrdiff_t move, size_t item) {
    if (move == (ptrdiff_t)item) return at;
    if (item == sizeof(float))
        for (ptrdiff_t i = 0; i < count; i++, at += move) chunk->real[i] = *(const float *)at;
    else
        for (ptrdiff_t i = 0; i < count; i++, at += move) chunk->whole[i] = *(const int64_t *)at;
    return chunk;
}

static void scatter(const Chunk *chunk, char *at, ptrdiff_t count, ptrdiff_t move, size_t item) {
    if (item == sizeof(float))
        for (ptrdiff_t i = 0; i < count; i++, at += move) *(float *)at = chunk->real[i];
    else
        for (ptrdiff_t i = 0; i < count; i++, at += move) *(int64_t *)at = chunk->whole[i];
}

static void chunks(const Step *step, ptrdiff_t count, char *const *at, const ptrdiff_t *move) {
    const Curve *curve = step->prepared;
    Chunk to, from[READS];
    const void *reads[READS];
    for (ptrdiff_t done = 0, some; done < count; done += some) {
        some = count - done < CHUNK ? count - done : CHUNK;
        for (int i = 0; i < READS; i++) {
            int n = 1 + i, taken = n < curve->loops.operands;
            reads[i] = taken ? gathered(&from[i], at[n] + done * move[n], some, move[n], curve->item[n]) : reads[0];
        }
        int tight = move[0] == (ptrdiff_t)curve->item[0];
        char *out = at[0] + done * move[0];
        curve->run(curve, some, tight ? (void *)out : &to, reads[0], reads[1], reads[2]);
        if (!tight) scatter(&to, out, some, move[0], curve->item[0]);
    }
}

static void along(const Step *step, ptrdiff_t count, char *const *at, const ptrdiff_t *move) {
    const Curve *curve = step->prepared;
    const int last = curve->loops.operands - 1;
    for (int i = 0; i <= last; i++)
        if (move[i] != (ptrdiff_t)curve->item[i]) {
            chunks(step, count, at, move);
            return;
        }
    curve->run(curve, count, at[0], at[1], at[last < 2 ? 1 : 2], at[last]);
}

/* the views are out, anything that is not needed, and then what is read */
static void all(const Step *step, char *const *rooms) {
    const Curve *curve = step->prepared;
    int reads = curve->loops.operands - 1;
    char *at[MAX_OPERANDS] = {start(&step->views[0], rooms)};
    for (int i = 0; i < reads; i++) at[1 + i] = start(&step->views[step->count - reads + i], rooms);
    walk(&curve->loops, step, at, along);
}

static const char *prepare_curve(Engine *engine, Step *step, Run *run, const View *const *views, int operands) {
    Curve *curve = engine_memory(engine, sizeof *curve);
    if (!curve) return "needs more memory than there is";
    if (!run || !loops_over(&curve->loops, views, operands)) return "has arrays that do not fit each other";
    for (int i = 0; i < operands; i++) curve->item[i] = item_size(views[i]->kind);
    curve->run = run;
    curve->a = step->parameters[0];
    curve->b = step->parameters[1];
    curve->instructions = engine_instructions(engine);
    step->prepared = curve;
    step->run = all;
    return NULL;
}

/* The function for numbers of these kinds, or NULL. */
static Run *chosen(const Op *op, const View *out, const View *x, const View *y) {
    if (out->room < 0 || x->room < 0 || y->room < 0 || x->kind != y->kind) return NULL;
    if (out->kind != (op->decides ? FLOAT32 : x->kind)) return NULL;
    return x->kind == FLOAT32 ? op->real : x->kind == INT64 ? op->whole : NULL;
}

/* writes out, scratch; reads x */
static const char *prepare_unary(Engine *engine, Step *step) {
    const View *const views[] = {&step->views[0], &step->views[2]};
    return prepare_curve(engine, step, chosen(step->own, views[0], views[1], views[1]), views, 2);
}

/* The same for the functions of product.h, whose number is `own`. */
static const char *prepare_activation(Engine *engine, Step *step) {
    const Op op = {real_activation, *(const int *)step->own == RELU ? whole_relu : NULL, 0};
    const View *const views[] = {&step->views[0], &step->views[2]};
    const char *why = prepare_curve(engine, step, chosen(&op, views[0], views[1], views[1]), views, 2);
    if (!why) ((Curve *)step->prepared)->activation = *(const int *)step->own;
    return why;
}

/* writes out; reads x, y */
static const char *prepare_binary(Engine *engine, Step *step) {
    const View *const views[] = {&step->views[0], &step->views[1], &step->views[2]};
    return prepare_curve(engine, step, chosen(step->own, views[0], views[1], views[2]), views, 3);
}

/* writes out; reads x */
static const char *prepare_cast(Engine *engine, Step *step) {
    const View *out = &step->views[0], *x = &step->views[1];
    double to = step->parameters[0];
    if (out->room < 0 || x->room < 0 || x->kind > INT64 || !(to >= TO_BOOL && to <= TO_FLOAT32))
        return "casts what cannot be cast";
    if (out->kind != (to == TO_INT32 || to == TO_INT64 ? INT64 : FLOAT32)) return "casts what cannot be cast";
    const View *const views[] = {out, x};
    return prepare_curve(engine, step, CASTS[x->kind][(int)to], views, 2);
}

/* writes out, scratch; reads condition, x, y */
static const char *prepare_where(Engine *engine, Step *step) {
    const View *v = step->views, *const views[] = {&v[0], &v[2], &v[3], &v[4]};
    if (v[0].room < 0 || !is_array(&v[2], FLOAT32, -1) || !is_array(&v[3], v[0].kind, -1) ||
        !is_array(&v[4], v[0].kind, -1))
        return "has arrays that do not fit each other";
    return prepare_curve(engine, step, v[0].kind == FLOAT32 ? real_where : whole_where, views, 4);
}

/* writes out (..., n), scratch; reads x (..., 2n) */
typedef struct {
    Curve curve; /* first, as `along` takes it for all */
    ptrdiff_t half; /* bytes to the second half of x */
} Gated;

static void gate_all(const Step *step, char *const *rooms) {
    const Gated *gated = step->prepared;
    char *x = start(&step->views[2], rooms);
    char *const at[] = {start(&step->views[0], rooms), x, x + gated->half};
    walk(&gated->curve.loops, step, at, along);
}

static const char *prepare_gate(Engine *engine, Step *step) {
    const View *out = &step->views[0], *x = &step->views[2];
    if (!is_array(out, FLOAT32, -1) || !is_array(x, FLOAT32, out->rank) || out->rank < 1)
        return "has arrays that do not fit each other";
    int last = out->rank - 1;
    View a = *x;
    a.shape[last] /= 2;
    if (a.shape[last] * 2 != x->shape[last]) return "has arrays that do not fit each other";
    Gated *gated = engine_memory(engine, sizeof *gated);
    const View *const views[] = {out, &a, &a};
    if (!gated) return "needs more memory than there is";
    if (!loops_over(&gated->curve.loops, views, 3)) return "has arrays that do not fit each other";
    for (int i = 0; i < 3; i++) gated->curve.item[i] = sizeof(float);
    gated->curve.run = gate;
    gated->curve.instructions = engine_instructions(engine);
    gated->half = a.shape[last] * x->strides[last] * (ptrdiff_t)sizeof(float);
    step->prepared = gated;
    step->run = gate_all;
    return NULL;
}

#define REAL(NAME) prepare_unary, 2, 3, &(const Op){real_##NAME, NULL, 0}
#define BOTH(NAME) prepare_unary, 2, 3, &(const Op){real_##NAME, whole_##NAME, 0}
#define TWO(NAME) prepare_binary, 1, 3, &(const Op){real_##NAME, whole_##NAME, 0}
#define DECIDES(NAME) prepare_binary, 1, 3, &(const Op){real_##NAME, whole_##NAME, 1}

const Kernel elementwise_kernels[] = {
    {"Abs", "", BOTH(abs)},
    {"Acos", "", REAL(acos)},
    {"Acosh", "", REAL(acosh)},
    {"Asin", "", REAL(asin)},
    {"Asinh", "", REAL(asinh)},
    {"Atan", "", REAL(atan)},
    {"Atanh", "", REAL(atanh)},
    {"Ceil", "", REAL(ceil)},
    {"Clip", "low=-inf,high=inf", BOTH(clip)},
    {"Cos", "", REAL(cos)},
    {"Cosh", "", REAL(cosh)},
    {"Elu", "alpha=1", REAL(elu)},
    {"Erf", "", REAL(erf)},
    {"Exp", "", REAL(exp)},
    {"Floor", "", REAL(floor)},
    {"HardSigmoid", "alpha=0.2,beta=0.5", REAL(hard_sigmoid)},
    {"HardSwish", "", REAL(hard_swish)},
    {"LeakyRelu", "alpha=0.01", REAL(leaky_relu)},
    {"Log", "", REAL(log)},
    {"Neg", "", BOTH(neg)},
    {"Not", "", BOTH(not)},
    {"Reciprocal", "", REAL(reciprocal)},
    {"Relu", "", prepare_activation, 2, 3, &(const int){RELU}},
    {"Round", "", REAL(round)},
    {"Sigmoid", "", prepare_activation, 2, 3, &(const int){SIGMOID}},
    {"Sign", "", BOTH(sign)},
    {"Sin", "", REAL(sin)},
    {"Sinh", "", REAL(sinh)},
    {"Softplus", "", REAL(softplus)},
    {"Softsign", "", REAL(softsign)},
    {"Sqrt", "", REAL(sqrt)},
    {"Tan", "", REAL(tan)},
    {"Tanh", "", prepare_activation, 2, 3, &(const int){TANH}},
    {"Add", "", TWO(add)},
    {"And", "", DECIDES(and)},
    {"Div", "", TWO(div)},
    {"Equal", "", DECIDES(equal)},
    {"Greater", "", DECIDES(greater)},
    {"GreaterOrEqual", "", DECIDES(greater_or_equal)},
    {"Less", "", DECIDES(less)},
    {"LessOrEqual", "", DECIDES(less_or_equal)},
    {"Max", "", TWO(max)},
    {"Min", "", TWO(min)},
    {"Mod", "fmod=0", TWO(mod)},
    {"Mul", "", TWO(mul)},
    {"Or", "", DECIDES(or)},
    {"Pow", "", TWO(pow)},
    {"Sub", "", TWO(sub)},
    {"Xor", "", DECIDES(xor)},
    {"Cast", "to", prepare_cast, 1, 2, NULL},
    {"Gate", "", prepare_gate, 2, 3, NULL},
    {"Where", "", prepare_where, 2, 5, NULL},
    {.name = NULL}};
