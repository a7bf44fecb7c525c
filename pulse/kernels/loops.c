#include "engine.h"

static ptrdiff_t distance(ptrdiff_t move) { return move < 0 ? -move : move; }

/* Whether axis `a` should be outside of axis `b`: the first operand that tells them apart decides. */
static int outside(const Loops *loops, int a, int b) {
    for (int i = 0; i < loops->operands; i++) {
        ptrdiff_t x = distance(loops->move[i][a]), y = distance(loops->move[i][b]);
        if (x && y && x != y) return x > y;
    }
    return 0;
}

static void swap(Loops *loops, int a, int b) {
    ptrdiff_t size = loops->size[a];
    loops->size[a] = loops->size[b];
    loops->size[b] = size;
    for (int i = 0; i < loops->operands; i++) {
        ptrdiff_t move = loops->move[i][a];
        loops->move[i][a] = loops->move[i][b];
        loops->move[i][b] = move;
    }
}

/* Whether one step along axis `a` is all of axis `b`, for every operand. */
static int behind(const Loops *loops, int a, int b) {
    for (int i = 0; i < loops->operands; i++)
        if (loops->move[i][a] != loops->move[i][b] * loops->size[b]) return 0;
    return 1;
}

int loops_over(Loops *loops, const View *const *views, int operands) {
    const View *first = views[0];
    loops->operands = operands;
    loops->rank = 0;
    for (int i = 1; i < operands; i++)
        if (!same_shape(first, views[i])) return 0;
    for (int axis = 0; axis < first->rank; axis++) {
        if (first->shape[axis] == 1) continue;
        loops->size[loops->rank] = first->shape[axis];
        for (int i = 0; i < operands; i++)
            loops->move[i][loops->rank] = views[i]->strides[axis] * (ptrdiff_t)item_size(views[i]->kind);
        loops->rank++;
    }
    for (int a = 1; a < loops->rank; a++)
        for (int b = a; b > 0 && outside(loops, b, b - 1); b--) swap(loops, b, b - 1);
    for (int a = loops->rank - 2; a >= 0; a--) {
        if (!behind(loops, a, a + 1)) continue;
        loops->size[a] *= loops->size[a + 1];
        for (int i = 0; i < operands; i++) loops->move[i][a] = loops->move[i][a + 1];
        for (int b = a + 1; b < loops->rank - 1; b++) swap(loops, b, b + 1);
        loops->rank--;
    }
    if (loops->rank == 0) {
        loops->rank = 1;
        loops->size[0] = 1;
        for (int i = 0; i < operands; i++) loops->move[i][0] = 0;
    }
    return 1;
}

void walk(const Loops *loops, const Step *step, char *const *starts, Inner *inner) {
    int last = loops->rank - 1;
    ptrdiff_t place[MAX_RANK] = {0}, move[MAX_OPERANDS];
    char *at[MAX_OPERANDS];
    for (int i = 0; i < loops->operands; i++) at[i] = starts[i], move[i] = loops->move[i][last];
    for (;;) {
        inner(step, loops->size[last], at, move);
        int axis = last - 1;
        while (axis >= 0 && ++place[axis] == loops->size[axis]) {
            for (int i = 0; i < loops->operands; i++) at[i] -= loops->move[i][axis] * (loops->size[axis] - 1);
            place[axis--] = 0;
        }
        if (axis < 0) return;
        for (int i = 0; i < loops->operands; i++) at[i] += loops->move[i][axis];
    }
}
