/* Log-mel frames, some at once, one in each lane of a vector; features.py says the same in numpy. */

#include <string.h>

#include "api.h"

#include "pocketfft.h"

#define HALF_ROOT 0x3fe6a09e667f3bcdLL /* the bits of sqrt(1/2) */
#define LOG_2 0.693147180559945309417

/* signal[i] = block[i] - preemphasis * block[i - 1] */
static void emphasise(double *restrict signal, const int16_t *restrict block, int64_t samples, double last,
                      double preemphasis) {
    if (samples > 0)
        signal[0] = block[0] - preemphasis * last;
    for (int64_t i = 1; i < samples; i++)
        signal[i] = block[i] - preemphasis * block[i - 1];
}

/* The frames of which `starts` are the first numbers, times the window, and zeros behind it. */
static void windowed(Lanes *restrict out, const Bank *bank, const double *const *starts) {
    const double *restrict weights = bank->weights, *restrict first = starts[0], *restrict last = starts[LANES - 1];
#pragma GCC unroll 4
    for (int32_t i = 0; i < bank->window; i++) {
        Lanes number = {first[i]};
        LANE(number, LANES - 1) = last[i];
        out[i] = number * weights[i];
    }
    for (int32_t i = bank->window; i < bank->fft; i++)
        out[i] = (Lanes){0};
}

/* The power of the first bins of a spectrum as `real_fft` leaves it. */
static void powers(Lanes *restrict out, const Lanes *restrict spectrum, int32_t bins) {
    out[0] = spectrum[0] * spectrum[0];
#pragma GCC unroll 4
    for (int32_t bin = 1; bin < bins; bin++) {
        Lanes real = spectrum[2 * bin - 1], imaginary = spectrum[2 * bin];
        out[bin] = real * real + imaginary * imaginary;
    }
}

/* The energy that every triangle (mels) lets through. */
static void energies(Lanes *restrict out, const Bank *bank, const Lanes *restrict power) {
    const double *restrict rise = bank->rise, *restrict fall = bank->fall;
    Lanes rising = {0};
    for (int32_t mel = 0, bin = 0; mel <= bank->mels; mel++) {
        const int32_t edge = bank->edges[mel + 1];
        Lanes risen = rising, fallen = {0};
        rising = (Lanes){0};
#pragma GCC unroll 2
        for (; bin < edge; bin++) {
            rising += power[bin] * rise[bin];
            fallen += power[bin] * fall[bin];
        }
        if (mel)
            out[mel - 1] = risen + fallen;
    }
}

/* The natural logarithm of a number that is neither 0 nor infinite, off by less than 1e-12. That of a system's library
   is rounded in another way on every system, and is slow where that has been compiled without floats. */
static double logarithm(double x) {
    int64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int64_t exponent = (bits - HALF_ROOT) >> 52; /* x = m 2^exponent, m from sqrt(1/2) to sqrt(2) */
    bits -= (int64_t)((uint64_t)exponent << 52);
    memcpy(&x, &bits, sizeof x);
    double s = (x - 1) / (x + 1), y = s * s, y2 = y * y; /* log m = 2 artanh s */
    double sum = (1.0 / 3 + y * (1.0 / 5)) + y2 * ((1.0 / 7 + y * (1.0 / 9)) + y2 * (1.0 / 11 + y * (1.0 / 13)));
    return (int32_t)exponent * LOG_2 + (2 * s + 2 * s * y * sum);
}

void next_frames(float *frames, double *signal, const Bank *bank, int64_t waiting, const int16_t *block, int64_t samples,
             double last, int64_t count) {
    emphasise(signal + waiting, block, samples, last, bank->preemphasis);
    Lanes first[MAX_FFT], second[MAX_FFT], power[MAX_FFT / 2], energy[MAX_FFT / 2];
    for (int64_t frame = 0; frame < count; frame += LANES) {
        const double *starts[LANES];
        for (int lane = 0; lane < LANES; lane++) /* an odd one out is computed twice */
            starts[lane] = signal + bank->hop * (frame + lane < count ? frame + lane : frame);
        windowed(first, bank, starts);
        powers(power, real_fft(bank->fft, bank->twiddles, first, second), bank->edges[bank->mels + 1]);
        energies(energy, bank, power);
        for (int lane = 0; lane < LANES && frame + lane < count; lane++)
            for (int32_t mel = 0; mel < bank->mels; mel++) {
                double own = LANE(energy[mel], lane);
                frames[(frame + lane) * bank->mels + mel] = (float)logarithm(own == 0 ? bank->epsilon : own);
            }
    }
    if (count)
        memmove(signal, signal + bank->hop * count, (size_t)(waiting + samples - bank->hop * count) * sizeof *signal);
}
