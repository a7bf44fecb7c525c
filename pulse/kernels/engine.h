/* A plan as C sees it: a flat array of steps over three rooms of memory, prepared once and walked for every pulse.

   Theory of operation. `engine_new` reads the tables that native.py writes, checks every view against its room, and
   lets each kernel prepare its step: merge axes, pack weights, choose code for this processor. What a step needs in
   a pulse is then in the step. `engine_run` only walks: no allocation, no lock, no system call. Kernels see views and
   the rooms of one stream; several streams are the same steps over other rooms. */

#ifndef PULSE_ENGINE_H
#define PULSE_ENGINE_H

#include <stddef.h>
#include <stdint.h>

enum { MAX_RANK = 10, MAX_VIEWS = 12, MAX_PARAMETERS = 8, MAX_OPERANDS = 6 };
enum { LONGEST = 1 << 24, MOST = 1 << 28 }; /* of an axis, and elements of a view, repeated ones included */
enum { ARENA, STATE, WEIGHTS, ROOMS };
enum { FLOAT32, INT64, FLOAT64, INT8, INT32, KINDS };

/* An array on a room; strides count elements, the offset bytes from the start of the room. */
typedef struct {
    int room; /* -1 where an optional array is absent */
    int kind;
    int rank;
    ptrdiff_t offset;
    ptrdiff_t shape[MAX_RANK];
    ptrdiff_t strides[MAX_RANK];
} View;

typedef char *const Rooms[ROOMS];

typedef struct Step Step;

struct Step {
    void (*run)(const Step *step, char *const *rooms);
    void *prepared; /* what `prepare` of the kernel left, on the heap of the engine */
    const void *own;      /* that of the kernel */
    const View *views;
    int count;            /* of views, the written ones first */
    double parameters[MAX_PARAMETERS];
};

/* Loops over operands of one shape: axes of one item are gone, and those that lie behind each other are one. */
typedef struct {
    int rank; /* at least 1; the last axis is the innermost */
    int operands;
    ptrdiff_t size[MAX_RANK];
    ptrdiff_t move[MAX_OPERANDS][MAX_RANK]; /* bytes */
} Loops;

/* What is done along the innermost axis: `count` items, operand i from at[i], move[i] bytes apart. */
typedef void Inner(const Step *step, ptrdiff_t count, char *const *at, const ptrdiff_t *move);

typedef struct Engine Engine;

/* NULL, or a sentence that says why this step cannot be run. */
typedef const char *Prepare(Engine *engine, Step *step);

typedef struct {
    const char *name;
    const char *parameters; /* the names that a step must give, in order; with a default behind "=" where it need not */
    Prepare *prepare;
    int writes, views; /* how many views are written, and how many there are; 0: any number */
    const void *own;   /* what tells apart the kernels that share one `prepare` */
} Kernel;

/* The tables of kernels, each ended by a row without a name. */
extern const Kernel elementwise_kernels[], move_kernels[], reduce_kernels[], dense_kernels[], recurrent_kernels[],
    running_kernels[], scan_kernels[], integer_kernels[];

/* Elements from the start of a view to every item of `count` of its axes from `first`, in their order; NULL when there
   is no memory. */
ptrdiff_t *view_places(Engine *engine, const View *view, int first, int count);

/* Memory of the engine, zeroed, on a cache line; NULL when there is none. */
void *engine_memory(Engine *engine, size_t bytes);

/* The weights that a view of the room WEIGHTS shows; they are there already when a step is prepared. */
const void *engine_weights(const Engine *engine, const View *view);

/* Bytes of one element. */
size_t item_size(int kind);

static inline char *start(const View *view, char *const *rooms) { return rooms[view->room] + view->offset; }

/* Whether a view is there, of this kind, and has this rank. */
int is_array(const View *view, int kind, int rank);
int same_shape(const View *a, const View *b);
ptrdiff_t elements(const View *view);

/* A count that is held as a float: no further from 0 than COUNTED, and 0 for a NaN. */
enum { COUNTED = 1 << 24 };
static inline ptrdiff_t counted(float count) {
    if (!(count > -COUNTED)) return count < 0 ? -COUNTED : 0;
    return count < COUNTED ? (ptrdiff_t)count : COUNTED;
}

/* Loops over the operands, all of the shape of the first; 0 if they are not. The innermost axis is the one along
   which the first operand, and then the others, move least. */
int loops_over(Loops *loops, const View *const *views, int operands);

/* Copies items of the kind that the step writes first, by loops over two operands: to, from. */
void copy_over(const Loops *loops, const Step *step, char *to, char *from);

/* Calls `inner` for every run along the innermost axis. */
void walk(const Loops *loops, const Step *step, char *const *at, Inner *inner);

#endif
