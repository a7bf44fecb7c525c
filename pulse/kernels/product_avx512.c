#if defined(__x86_64__) || defined(__i386__)
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,fma")
#include <immintrin.h>
#define SMALLER _mm512_min_ps
#define LARGER _mm512_max_ps
#define LANES 16
#define FRAMES 8
#define NAME "avx512"
#define NAMES(what) avx512_##what
#include "product_block.h"
#endif
