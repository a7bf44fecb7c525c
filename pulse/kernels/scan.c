/* The states of a scan, which its graph gets before the first item of a pulse and leaves behind the last. `left` are
   the items of the warm-up that are yet to come; they leave the states as they are. */

#include "elementwise.h"

static const float BEGUN = -1; /* what `left` is once the states are those of items */

typedef struct {
    Loops first, second; /* from either of what may be copied */
} Choice;

/* `to` = `from`, `other` or both of the shape of `to`; NULL if they are not, or there is no memory */
static Choice *choice(Engine *engine, const View *to, const View *from, const View *other) {
    const View *const pairs[2][2] = {{to, from}, {to, other}};
    Choice *made = engine_memory(engine, sizeof *made);
    if (!made || to->room < 0 || !is_array(from, to->kind, -1) || !is_array(other, to->kind, -1)) return NULL;
    return loops_over(&made->first, pairs[0], 2) && loops_over(&made->second, pairs[1], 2) ? made : NULL;
}

static const char *prepare(Engine *engine, Step *step, const View *left, const View *from, const View *other) {
    if (!is_array(left, FLOAT32, 1)) return "has other arrays than it must have";
    step->prepared = choice(engine, &step->views[0], from, other);
    return step->prepared ? NULL : "has arrays that do not fit each other";
}

/* writes out; reads state, left, initial */
static void recall(const Step *step, char *const *rooms) {
    const Choice *choice = step->prepared;
    const View *v = step->views;
    if (*(float *)start(&v[2], rooms) >= 0)
        copy_over(&choice->second, step, start(&v[0], rooms), start(&v[3], rooms));
    else
        copy_over(&choice->first, step, start(&v[0], rooms), start(&v[1], rooms));
}

static const char *prepare_recall(Engine *engine, Step *step) {
    step->run = recall;
    return prepare(engine, step, &step->views[2], &step->views[1], &step->views[3]);
}

/* writes out; reads left, old, new */
static void keep(const Step *step, char *const *rooms) {
    const Choice *choice = step->prepared;
    const View *v = step->views;
    if (*(float *)start(&v[1], rooms) > step->parameters[0])
        copy_over(&choice->first, step, start(&v[0], rooms), start(&v[2], rooms));
    else
        copy_over(&choice->second, step, start(&v[0], rooms), start(&v[3], rooms));
}

static const char *prepare_keep(Engine *engine, Step *step) {
    step->run = keep;
    return prepare(engine, step, &step->views[1], &step->views[2], &step->views[3]);
}

/* writes state, left; reads last */
static void store(const Step *step, char *const *rooms) {
    const Choice *choice = step->prepared;
    const View *v = step->views;
    float *left = (float *)start(&v[1], rooms), after = *left - (float)step->parameters[0];
    copy_over(&choice->first, step, start(&v[0], rooms), start(&v[2], rooms));
    *left = after > BEGUN ? after : BEGUN;
}

static const char *prepare_store(Engine *engine, Step *step) {
    step->run = store;
    return prepare(engine, step, &step->views[1], &step->views[2], &step->views[2]);
}

const Kernel scan_kernels[] = {{"Keep", "item", prepare_keep, 1, 4, NULL},
                               {"Recall", "", prepare_recall, 1, 4, NULL},
                               {"Store", "items", prepare_store, 2, 3, NULL},
                               {.name = NULL}};
