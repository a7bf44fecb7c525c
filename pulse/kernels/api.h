/* What native.py calls. */

#ifndef PULSE_API_H
#define PULSE_API_H

#include "engine.h"

/* The plan as numbers. Rows of `views`: room, kind, rank, offset in bytes, shape[MAX_RANK], strides[MAX_RANK];
   rows of `steps`: kernel, its first view, its views; MAX_PARAMETERS of `parameters` for each step. */
typedef struct {
    const int64_t *views;
    int64_t view_count;
    const int64_t *steps;
    int64_t step_count;
    const double *parameters;
    const char *weights;
    int64_t room_bytes[ROOMS];
} Tables;

const char *kernel_name(int index); /* NULL behind the last */
const char *kernel_parameters(int index);

/* An engine, or NULL, and then why, and which step (-1: none). `weights` must live as long as it does; `instructions`
   are those of a name, or the best that there are for NULL. */
Engine *engine_new(const Tables *tables, const char *instructions, const char **why, int *where);
void engine_free(Engine *engine);
const char *engine_instructions_name(const Engine *engine);

const char *best_instructions(void);

/* Multiplies in registers, `rounds` times; returns the multiplications, or 0 if there are no such instructions. */
double multiplications(const char *instructions, int64_t rounds);

/* The steps from `first` to before `end`, in every stream; `pitches` are the bytes from a stream to the next. */
void engine_run(const Engine *engine, char *const *rooms, const int64_t *pitches, int streams, int first, int end);

#endif
