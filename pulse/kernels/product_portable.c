/* What every processor of its kind has: SSE2 on x86-64, NEON on aarch64, and single floats where there are no vectors,
   which are packed in twos, so that filters and gates of a panel are four. */
#if defined(__SSE2__)
#include <emmintrin.h>
#define SMALLER _mm_min_ps
#define LARGER _mm_max_ps
#endif
#if defined(__SSE2__) || defined(__aarch64__)
#define LANES 4
#else
#define LANES 1
#define PARTS 2
#if defined(__arm__) && defined(__VFP_FP__) && !defined(__SOFTFP__) && !defined(__thumb__)
#include "product_vfp.h"
#define BLOCK block_vfp
#endif
#define SMALLER(x, y) ((x) < (y) ? (x) : (y))
#define LARGER(x, y) ((x) > (y) ? (x) : (y))
#endif
#if defined(__aarch64__)
#define FRAMES 8
#define BY_ELEMENT /* it multiplies by one element of a vector */
#if !defined(__clang__)
#pragma GCC optimize("no-schedule-insns") /* which would move sums out of their registers */
#endif
#else
#define FRAMES 4
#endif
#define NAME "portable"
#define NAMES(what) portable_##what
#include "product_block.h"
