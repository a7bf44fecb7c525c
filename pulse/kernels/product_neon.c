/* NEON where a processor of 32 bits turns out to have it: a build for ARMv6 is as fast on later boards. */
#include "product.h"
#if defined(HAS_NEON)
#pragma GCC target("arch=armv7-a,fpu=neon")
#pragma GCC optimize("unsafe-math-optimizations") /* NEON knows no numbers below the normal ones, so GCC wants leave */
#define LANES 4
#define FRAMES 4
#define NAME "neon"
#define NAMES(what) neon_##what
#include "product_block.h"
#endif
