#include "product.h"

#include <string.h>

#include "api.h"
#if defined(HAS_NEON)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

static const Instructions *const KNOWN[] = {
#if defined(__x86_64__) || defined(__i386__)
    &avx512_instructions, &avx2_instructions,
#endif
#if defined(HAS_NEON)
    &neon_instructions,
#endif
    &portable_instructions};

static int usable(const Instructions *instructions) {
#if defined(__x86_64__) || defined(__i386__)
    if (instructions == &avx512_instructions)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
    if (instructions == &avx2_instructions) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
#if defined(HAS_NEON)
    if (instructions == &neon_instructions) return (getauxval(AT_HWCAP) & HWCAP_NEON) != 0;
#endif
    return instructions == &portable_instructions;
}

const Instructions *instructions_called(const char *name) {
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++)
        if (usable(KNOWN[i]) && (!name || strcmp(name, KNOWN[i]->name) == 0)) return KNOWN[i];
    return NULL;
}

const char *best_instructions(void) { return instructions_called(NULL)->name; }

double multiplications(const char *instructions, int64_t rounds) {
    const Instructions *found = instructions_called(instructions);
    return found ? found->burn((ptrdiff_t)rounds) : 0;
}

/* The filters that a panel has room for, and in which order: a gate wants both of its halves in one panel. */
static ptrdiff_t filter_of(const Product *p, ptrdiff_t first, int vector, int lane) {
    ptrdiff_t lanes = p->instructions->lanes, half = p->filters / 2, filter = first + lane;
    if (p->activation == GATE) return filter < half ? filter + vector * half : -1;
    filter += vector * lanes;
    return filter < p->filters ? filter : -1;
}

size_t panel_floats(const Instructions *instructions, ptrdiff_t rows, ptrdiff_t filters, int activation) {
    ptrdiff_t lanes = instructions->lanes;
    ptrdiff_t vectors = activation == GATE ? 2 * ((filters / 2 + lanes - 1) / lanes) : (filters + lanes - 1) / lanes;
    return (size_t)(vectors * lanes * (1 + rows));
}

void pack_panels(const Product *p, float *panels, const float *weight, const ptrdiff_t *strides, const float *bias) {
    ptrdiff_t lanes = p->instructions->lanes, rows = p->taps * p->channels;
    ptrdiff_t end = p->activation == GATE ? p->filters / 2 : p->filters;
    for (ptrdiff_t first = 0; first < end;) {
        int vectors = p->activation == GATE ? 2 : panel_vectors(p->filters - first, (int)lanes);
        for (ptrdiff_t row = -1; row < rows; row++)
            for (int vector = 0; vector < vectors; vector++)
                for (int lane = 0; lane < lanes; lane++) {
                    ptrdiff_t filter = filter_of(p, first, vector, lane);
                    float number = 0;
                    if (filter >= 0 && row >= 0) number = weight[row * strides[0] + filter * strides[1]];
                    if (filter >= 0 && row < 0 && bias) number = bias[filter];
                    *panels++ = number;
                }
        first += p->activation == GATE ? lanes : vectors * lanes;
    }
}
