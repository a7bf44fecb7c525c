/* The FFT of some real signals at once: a part of pocketfft, for lengths that are a product of fours and at most one two.

   Copyright (C) 2004-2018 Max-Planck-Society, author Martin Reinecke; licence: pocketfft.LICENSE.md, 3-clause BSD.
   Taken from numpy/fft/_pocketfft.c of numpy 1.24.4: `radf2` and `radf4` as they are there, but that every number of
   the signals is a vector with one lane for each of them, and the loop over the passes, but that the twiddle factors
   and the memory that it works in are handed in, and that nothing is scaled. */

#ifndef DAEMON_POCKETFFT_H
#define DAEMON_POCKETFFT_H

/* Numbers of some signals; what happens to one lane does not depend on the others. */
#if defined(__SSE2__) || defined(__aarch64__)
#define LANES 2
typedef double Lanes __attribute__((vector_size(8 * LANES)));
#define LANE(numbers, lane) (numbers)[lane]
#else /* compilers keep a vector of one number in memory */
#define LANES 1
typedef double Lanes;
#define LANE(numbers, lane) (numbers)
#endif

/* Transforms `length` numbers in `signal`; `work` has room for as many. Returns the one of both that holds the real
   part of bin 0, the real and the imaginary part of bin 1, of bin 2, ..., and the real part of bin `length` / 2.
   `twiddles`: cos and sin of 2 pi i j / n for the passes over n = `length`, then over what is left of it, and so on;
   for i from 1 to below (n / factor + 1) / 2 inside, for j from 1 to below the factor outside. The factor is 2 for the
   first n if that is no power of 4, and 4 otherwise; the last pass needs none. */
const Lanes *real_fft(int length, const double *twiddles, Lanes *restrict signal, Lanes *restrict work);

#endif
