#if defined(__x86_64__) || defined(__i386__)
#pragma GCC target("avx2,fma")
#include <immintrin.h>
#define SMALLER _mm256_min_ps
#define LARGER _mm256_max_ps
#define LANES 8
#define FRAMES 4
#define NAME "avx2"
#define NAMES(what) avx2_##what
#include "product_block.h"
#endif
