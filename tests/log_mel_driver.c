/* The front end in C alone, for processors that have no Python here: test_features_arm.py writes the sizes, the numbers
   of a `Bank`, its arrays and the samples to standard input, and reads the frames from standard output. */

#include <stdio.h>
#include <stdlib.h>

#include "api.h"

typedef struct {
    int64_t weights, twiddles, edges, bins, samples, frames;
} Head;

static void *read(int64_t items, size_t size) {
    void *to = malloc((size_t)items * size + 1);
    if (!to || fread(to, size, (size_t)items, stdin) != (size_t)items) exit(2);
    return to;
}

int main(void) {
    const Head *head = read(1, sizeof *head);
    const int32_t *sizes = read(4, sizeof *sizes);
    const double *numbers = read(2, sizeof *numbers);
    Bank bank = {.window = sizes[0], .hop = sizes[1], .fft = sizes[2], .mels = sizes[3]};
    bank.preemphasis = numbers[0], bank.epsilon = numbers[1];
    bank.weights = read(head->weights, sizeof(double));
    bank.twiddles = read(head->twiddles, sizeof(double));
    bank.rise = read(head->bins, sizeof(double));
    bank.fall = read(head->bins, sizeof(double));
    bank.edges = read(head->edges, sizeof(int32_t));
    const int16_t *block = read(head->samples, sizeof(int16_t));
    double *signal = malloc((size_t)head->samples * sizeof *signal);
    size_t count = (size_t)head->frames * (size_t)bank.mels;
    float *frames = malloc(count * sizeof *frames);
    if (!signal || !frames) return 2;
    next_frames(frames, signal, &bank, 0, block, head->samples, 0, head->frames);
    return fwrite(frames, sizeof *frames, count, stdout) != count;
}
