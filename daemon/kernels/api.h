/* What native.py calls. */

#ifndef DAEMON_API_H
#define DAEMON_API_H

#include <stdint.h>

#define MAX_FFT 512

/* What log-mel frames are made with. A triangle rises from one edge to the next and falls from there to the one behind;
   so every bin below the last edge has two weights, for the triangle that rises in it and the one that falls. */
typedef struct {
    int32_t window, hop, fft, mels; /* fft: 2 to some power, at most MAX_FFT; mels: fewer than bins */
    double preemphasis, epsilon;
    const double *weights;  /* window */
    const double *twiddles; /* see pocketfft.h */
    const int32_t *edges;   /* mels + 2 */
    const double *rise;     /* bins, of which there are edges[mels + 1] */
    const double *fall;     /* bins */
} Bank;

/* The frames (count, mels) that `signal` has when `samples` of `block` are appended to it behind its first `waiting`
   ones, pre-emphasised; `last` is the sample before them. What later frames need is moved to its start. A frame is the
   same, bit for bit, however many there are. */
void next_frames(float *frames, double *signal, const Bank *bank, int64_t waiting, const int16_t *block, int64_t samples,
             double last, int64_t count);

#endif
