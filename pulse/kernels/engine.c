#include "engine.h"

#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "product.h"

enum { LINE = 64 };                              /* bytes of a cache line */
enum { VIEW_NUMBERS = 4 + 2 * MAX_RANK };        /* room, kind, rank, offset, shape, strides */
enum { STEP_NUMBERS = 3 };                       /* kernel, first view, views */
static const size_t ITEM[KINDS] = {4, 8, 8, 1, 4}; /* bytes of an element */

typedef struct Block Block;
struct Block {
    Block *next;
};

struct Engine {
    int steps;
    Step *step;
    const char *weights;
    const Instructions *instructions;
    Block *memory;
};

static const Kernel *const TABLES[] = {elementwise_kernels, move_kernels, reduce_kernels, dense_kernels,
                                       recurrent_kernels, running_kernels, scan_kernels, integer_kernels, NULL};

static const Kernel *kernel(int64_t index) {
    for (const Kernel *const *table = TABLES; *table; table++)
        for (const Kernel *row = *table; row->name; row++)
            if (index-- == 0) return row;
    return NULL;
}

const char *kernel_name(int index) { return kernel(index) ? kernel(index)->name : NULL; }

const char *kernel_parameters(int index) { return kernel(index) ? kernel(index)->parameters : NULL; }

size_t item_size(int kind) { return ITEM[kind]; }

int is_array(const View *view, int kind, int rank) {
    return view->room >= 0 && view->kind == kind && (rank < 0 || view->rank == rank);
}

int same_shape(const View *a, const View *b) {
    if (a->room < 0 || b->room < 0 || a->rank != b->rank) return 0;
    for (int axis = 0; axis < a->rank; axis++)
        if (a->shape[axis] != b->shape[axis]) return 0;
    return 1;
}

ptrdiff_t elements(const View *view) {
    ptrdiff_t count = 1;
    for (int axis = 0; axis < view->rank; axis++) count *= view->shape[axis];
    return count;
}

void *engine_memory(Engine *engine, size_t bytes) {
    Block *block = calloc(1, bytes + sizeof(Block) + LINE);
    if (!block) return NULL;
    block->next = engine->memory;
    engine->memory = block;
    return (void *)(((uintptr_t)(block + 1) + LINE - 1) / LINE * LINE);
}

ptrdiff_t *view_places(Engine *engine, const View *view, int first, int count) {
    ptrdiff_t many = 1;
    for (int axis = first; axis < first + count; axis++) many *= view->shape[axis];
    ptrdiff_t *made = engine_memory(engine, (size_t)many * sizeof *made);
    for (ptrdiff_t index = 0; made && index < many; index++) {
        ptrdiff_t rest = index;
        for (int axis = first + count - 1; axis >= first; axis--) {
            made[index] += rest % view->shape[axis] * view->strides[axis];
            rest /= view->shape[axis];
        }
    }
    return made;
}

const void *engine_weights(const Engine *engine, const View *view) { return engine->weights + view->offset; }

const Instructions *engine_instructions(const Engine *engine) { return engine->instructions; }

const char *engine_instructions_name(const Engine *engine) { return engine->instructions->name; }

/* Reads one row of the table of views; 0 if it reaches beyond its room, of `sizes` bytes. */
static int read_view(View *view, const int64_t *row, const int64_t *sizes) {
    view->room = (int)row[0];
    if (row[0] == -1) return 1;
    if (row[0] < 0 || row[0] >= ROOMS || row[1] < 0 || row[1] >= KINDS || row[2] < 0 || row[2] > MAX_RANK) return 0;
    view->kind = (int)row[1];
    view->rank = (int)row[2];
    view->offset = (ptrdiff_t)row[3];
    int64_t least = row[3], most = row[3], count = 1, room = sizes[view->room], item = (int64_t)ITEM[view->kind];
    if (row[3] < 0 || row[3] > room || row[3] % item) return 0;
    for (int axis = 0; axis < view->rank; axis++) {
        int64_t size = row[4 + axis], stride = row[4 + MAX_RANK + axis];
        if (size < 1 || size > LONGEST || stride > LONGEST || stride < -LONGEST) return 0;
        if ((count *= size) > MOST) return 0;
        int64_t reach = (size - 1) * stride * item;
        if (reach < 0) least += reach; else most += reach;
        if (least < 0 || most > room) return 0;
        view->shape[axis] = (ptrdiff_t)size;
        view->strides[axis] = (ptrdiff_t)stride;
    }
    return most + item <= room;
}

static const char *read_step(Engine *engine, Step *step, const Tables *tables, int index) {
    const int64_t *row = tables->steps + (size_t)index * STEP_NUMBERS;
    const Kernel *found = kernel(row[0]);
    if (!found) return "is not known";
    if (row[2] < 1 || row[2] > MAX_VIEWS || row[1] < 0 || row[1] + row[2] > tables->view_count) return "has no views";
    View *views = engine_memory(engine, (size_t)row[2] * sizeof(View));
    if (!views) return "needs more memory than there is";
    for (int i = 0; i < row[2]; i++)
        if (!read_view(&views[i], tables->views + (size_t)(row[1] + i) * VIEW_NUMBERS, tables->room_bytes))
            return "reaches beyond its memory";
    if (found->views && row[2] != found->views) return "has other arrays than it must have";
    for (int i = 0; i < found->writes; i++)
        if (i >= row[2] || views[i].room == WEIGHTS) return "writes where it must not";
    step->own = found->own;
    step->views = views;
    step->count = (int)row[2];
    memcpy(step->parameters, tables->parameters + (size_t)index * MAX_PARAMETERS, sizeof step->parameters);
    return found->prepare(engine, step);
}

Engine *engine_new(const Tables *tables, const char *instructions, const char **why, int *where) {
    Engine *engine = calloc(1, sizeof(Engine));
    *where = -1;
    *why = "needs more memory than there is";
    if (!engine) return NULL;
    engine->instructions = instructions_called(instructions);
    if (!engine->instructions) {
        *why = "are none that this processor has";
        engine_free(engine);
        return NULL;
    }
    engine->weights = tables->weights;
    engine->step = engine_memory(engine, ((size_t)tables->step_count + 1) * sizeof(Step));
    for (; engine->step && engine->steps < tables->step_count; engine->steps++) {
        *where = engine->steps;
        *why = read_step(engine, &engine->step[engine->steps], tables, engine->steps);
        if (*why) break;
    }
    if (engine->step && engine->steps == tables->step_count) return engine;
    engine_free(engine);
    return NULL;
}

void engine_free(Engine *engine) {
    while (engine && engine->memory) {
        Block *block = engine->memory;
        engine->memory = block->next;
        free(block);
    }
    free(engine);
}

/* Numbers too small for a float's full precision cost a hundred cycles each, and stand for silence. */
#if defined(__SSE__)
#include <xmmintrin.h>
typedef unsigned int Mode;
static Mode flush(void) {
    Mode before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); /* flush to zero, denormals are zero */
    return before;
}
static void restore(Mode before) { _mm_setcsr(before); }
#elif defined(__aarch64__)
typedef uint64_t Mode;
static Mode flush(void) {
    Mode before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | 1u << 24));
    return before;
}
static void restore(Mode before) { __asm__ volatile("msr fpcr, %0" : : "r"(before)); }
#elif defined(__arm__) && defined(__VFP_FP__) && !defined(__SOFTFP__)
typedef uint32_t Mode;
static Mode flush(void) {
    Mode before;
    __asm__ volatile("vmrs %0, fpscr" : "=r"(before));
    __asm__ volatile("vmsr fpscr, %0" : : "r"(before | 3u << 24)); /* flush to zero, default NaN: no traps to the kernel */
    return before;
}
static void restore(Mode before) { __asm__ volatile("vmsr fpscr, %0" : : "r"(before)); }
#else
typedef int Mode;
static Mode flush(void) { return 0; }
static void restore(Mode before) { (void)before; }
#endif

void engine_run(const Engine *engine, char *const *rooms, const int64_t *pitches, int streams, int first, int end) {
    Mode before = flush();
    for (int index = first; index < end && index < engine->steps; index++) {
        const Step *step = &engine->step[index];
        for (int stream = 0; stream < streams; stream++) {
            char *const here[ROOMS] = {rooms[ARENA] + pitches[ARENA] * stream, rooms[STATE] + pitches[STATE] * stream,
                                       rooms[WEIGHTS]};
            step->run(step, here);
        }
    }
    restore(before);
}
