/* Log-mel frames, some at once, one in each lane of a vector; features.py says the same in numpy. */

#include <math.h>

#include "api.h"
#include "pocketfft.h"

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
    for (int32_t i = 0; i < bank->window; i++) {
        for (int lane = 0; lane < LANES; lane++)
            out[i][lane] = starts[lane][i];
        out[i] *= bank->weights[i];
    }
    for (int32_t i = bank->window; i < bank->fft; i++)
        out[i] = (Lanes){0};
}

/* The energy that every triangle (mels) lets through of a spectrum as `real_fft` leaves it. */
static void energies(Lanes *restrict out, const Bank *bank, const Lanes *restrict spectrum) {
    Lanes rising = {0};
    for (int32_t mel = 0, bin = 0; mel <= bank->mels; mel++) {
        Lanes risen = rising, fallen = {0};
        rising = (Lanes){0};
        for (; bin < bank->edges[mel + 1]; bin++) {
            Lanes real = spectrum[bin ? 2 * bin - 1 : 0], imaginary = spectrum[2 * bin];
            Lanes power = bin ? real * real + imaginary * imaginary : real * real;
            rising += power * bank->rise[bin];
            fallen += power * bank->fall[bin];
        }
        if (mel)
            out[mel - 1] = risen + fallen;
    }
}

void log_mel(float *frames, double *signal, const Bank *bank, int64_t waiting, const int16_t *block, int64_t samples,
             double last, int64_t count) {
    emphasise(signal + waiting, block, samples, last, bank->preemphasis);
    Lanes first[MAX_FFT], second[MAX_FFT], energy[MAX_FFT / 2];
    for (int64_t frame = 0; frame < count; frame += LANES) {
        const double *starts[LANES];
        for (int lane = 0; lane < LANES; lane++) /* an odd one out is computed twice */
            starts[lane] = signal + bank->hop * (frame + lane < count ? frame + lane : frame);
        windowed(first, bank, starts);
        energies(energy, bank, real_fft(bank->fft, bank->twiddles, first, second));
        for (int lane = 0; lane < LANES && frame + lane < count; lane++)
            for (int32_t mel = 0; mel < bank->mels; mel++) {
                double own = energy[mel][lane];
                frames[(frame + lane) * bank->mels + mel] = (float)log(own == 0 ? bank->epsilon : own);
            }
    }
}
