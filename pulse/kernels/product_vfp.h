/* The sums of a block by VFPv2, as product_block.h wants them. Its 32 single registers hold four filters by four items
   (s0 to s15), two channels of the items (s16 to s23) and of the filters (s24 to s31): what is loaded once serves four
   products, and is loaded for the next two channels as soon as the last of these is under way. */

#ifndef PULSE_PRODUCT_VFP_H
#define PULSE_PRODUCT_VFP_H

#include "product.h"

enum { AHEAD_BYTES = 2048 }; /* from a weight to the one that is fetched beforehand */

#define INTO(sum, filter, x) "vmla.f32 s" #sum ", s" #filter ", s" #x "\n\t"
#define FIRST(x, a, b, c, d) INTO(a, 24, x) INTO(b, 25, x) INTO(c, 26, x) INTO(d, 27, x)
#define SECOND(x, a, b, c, d) INTO(a, 28, x) INTO(b, 29, x) INTO(c, 30, x) INTO(d, 31, x)
#define COPY(to, from) "vmov.f32 s" #to ", s" #from "\n\t"
#define FILL(from, a, b, c, d) COPY(a, from) COPY(b, from) COPY(c, from) COPY(d, from)

/* sum[filter][item] = w[0][filter] + sum over taps and channels of w[1 + ...][filter] * x[item + tap][channel], of an
   even number of channels that lie side by side. */
static inline __attribute__((always_inline)) void block_vfp(float sum[][4], const Product *p, const float *w,
                                                            const float *x) {
    const struct {
        const ptrdiff_t *end;
        const float *x;
        ptrdiff_t move, pairs; /* bytes; of channels */
        float *sum;
    } block = {p->tap + p->taps, x, p->item_move * (ptrdiff_t)sizeof(float), p->channels / 2, sum[0]};
    const ptrdiff_t *tap = p->tap;
    const float *x0, *x1, *x2, *x3;
    ptrdiff_t left;
    __asm__ volatile(
        "vldmia %[w]!, {s24-s27}\n\t"
        FILL(24, 0, 1, 2, 3) FILL(25, 4, 5, 6, 7) FILL(26, 8, 9, 10, 11) FILL(27, 12, 13, 14, 15)
        "0:\n\t" /* each tap */
        "vldmia %[w]!, {s24-s27}\n\t"
        "ldr %[left], [%[tap]], #4\n\t"
        "ldr %[x0], [%[block], #4]\n\t"
        "ldr %[x3], [%[block], #8]\n\t"
        "add %[x0], %[x0], %[left], lsl #2\n\t"
        "ldr %[left], [%[block], #12]\n\t"
        "add %[x1], %[x0], %[x3]\n\t"
        "vldmia %[x0]!, {s16-s17}\n\t"
        "add %[x2], %[x1], %[x3]\n\t"
        "vldmia %[x1]!, {s18-s19}\n\t"
        "add %[x3], %[x2], %[x3]\n\t"
        "vldmia %[x2]!, {s20-s21}\n\t"
        "vldmia %[x3]!, {s22-s23}\n\t"
        "vldmia %[w]!, {s28-s31}\n\t"
        "1:\n\t" /* each two channels */
        "subs %[left], %[left], #1\n\t"
        "pld [%[w], %[ahead]]\n\t"
        FIRST(16, 0, 4, 8, 12) FIRST(18, 1, 5, 9, 13) FIRST(20, 2, 6, 10, 14) FIRST(22, 3, 7, 11, 15)
        "vldmiane %[w]!, {s24-s27}\n\t"
        SECOND(17, 0, 4, 8, 12)
        "vldmiane %[x0]!, {s16-s17}\n\t"
        SECOND(19, 1, 5, 9, 13)
        "vldmiane %[x1]!, {s18-s19}\n\t"
        SECOND(21, 2, 6, 10, 14)
        "vldmiane %[x2]!, {s20-s21}\n\t"
        SECOND(23, 3, 7, 11, 15)
        "vldmiane %[x3]!, {s22-s23}\n\t"
        "vldmiane %[w]!, {s28-s31}\n\t"
        "bne 1b\n\t"
        "ldr %[left], [%[block]]\n\t"
        "cmp %[tap], %[left]\n\t"
        "bne 0b\n\t"
        "ldr %[left], [%[block], #16]\n\t"
        "vstmia %[left], {s0-s15}"
        : [w] "+r"(w), [tap] "+r"(tap), [x0] "=&r"(x0), [x1] "=&r"(x1), [x2] "=&r"(x2), [x3] "=&r"(x3),
          [left] "=&r"(left), "=m"(*(float(*)[16])sum)
        : [block] "r"(&block), [ahead] "i"(AHEAD_BYTES)
        : "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12", "s13", "s14", "s15", "s16",
          "s17", "s18", "s19", "s20", "s21", "s22", "s23", "s24", "s25", "s26", "s27", "s28", "s29", "s30", "s31", "cc",
          "memory");
}

#undef INTO
#undef FIRST
#undef SECOND
#undef COPY
#undef FILL

#endif
