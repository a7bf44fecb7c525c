/* Runs a plan with the C kernels alone, for processors that have no Python here: test_arm.py writes the plan and its
   inputs to standard input, and reads the outputs of all pulses from standard output.

   The input is a `Head`, the rows of the tables of api.h, the numbers of all rooms one behind the other, the places
   of the inputs and of the outputs among these, and the inputs of all pulses. A number has 4 bytes. The first argument
   may name the instructions; those that were used stand on standard error. */

#include <float.h>
#include <stdio.h>
#include <stdlib.h>

#include "api.h"

typedef struct {
    int64_t views, steps, parameters; /* rows */
    int64_t room[ROOMS];              /* numbers */
    int64_t inputs, outputs;          /* numbers of a pulse */
    int64_t pulses;
} Head;

enum { LINE = 64, VIEW = 4 + 2 * MAX_RANK, STEP = 3, NUMBER = sizeof(int32_t) };

static void *memory(int64_t bytes) {
    void *made = aligned_alloc(LINE, ((size_t)bytes / LINE + 1) * LINE);
    if (!made) exit(2);
    return made;
}

static void *read(int64_t items, size_t size) {
    void *to = memory(items * (int64_t)size);
    if (fread(to, size, (size_t)items, stdin) != (size_t)items) exit(2);
    return to;
}

int main(int count, char **arguments) {
    Head *head = read(1, sizeof *head);
    Tables tables = {.view_count = head->views, .step_count = head->steps};
    tables.views = read(head->views * VIEW, sizeof(int64_t));
    tables.steps = read(head->steps * STEP, sizeof(int64_t));
    tables.parameters = read(head->parameters * MAX_PARAMETERS, sizeof(double));
    int64_t all = 0;
    for (int room = 0; room < ROOMS; room++) tables.room_bytes[room] = NUMBER * head->room[room], all += head->room[room];
    int32_t *numbers = read(all, NUMBER);
    int64_t *taken = read(head->inputs, sizeof(int64_t)), *given = read(head->outputs, sizeof(int64_t));
    char *const rooms[ROOMS] = {(char *)numbers, (char *)(numbers + head->room[ARENA]),
                                (char *)(numbers + head->room[ARENA] + head->room[STATE])};
    const int64_t pitches[ROOMS] = {0};
    tables.weights = rooms[WEIGHTS];
    const char *why;
    int where;
    Engine *engine = engine_new(&tables, count > 1 ? arguments[1] : NULL, &why, &where);
    if (!engine) return fprintf(stderr, "step %d %s\n", where, why), 1;
    fprintf(stderr, "%s\n", engine_instructions_name(engine));
    int32_t *in = memory(head->inputs * NUMBER), *out = memory(head->outputs * NUMBER);
    for (int64_t pulse = 0; pulse < head->pulses; pulse++) {
        if (fread(in, NUMBER, (size_t)head->inputs, stdin) != (size_t)head->inputs) return 2;
        for (int64_t i = 0; i < head->inputs; i++) numbers[taken[i]] = in[i];
        engine_run(engine, rooms, pitches, 1, 0, (int)head->steps);
        volatile float least = FLT_MIN;
        if (least / 2 == 0) return fputs("the floats of the caller are flushed\n", stderr), 3;
        for (int64_t i = 0; i < head->outputs; i++) out[i] = numbers[given[i]];
        fwrite(out, NUMBER, (size_t)head->outputs, stdout);
    }
    engine_free(engine);
    return 0;
}
