/* The sums of integer_portable.c for ARMv6, whose SMLAD adds two products of 16 bits at once. Four numbers of each row
   at a time: each is loaded while others are multiplied, as it takes four cycles until it can be used. */

#ifndef PULSE_INTEGER_ARM_H
#define PULSE_INTEGER_ARM_H

#include <stddef.h>
#include <stdint.h>

#define HAS_DOTS_ARM

/* sums[i] += row i / 2 (x, y) times filter i % 2, for 4 * `fours` numbers; w has two numbers of each filter in turn */
void dots_arm(int32_t sums[4], const int16_t *x, const int16_t *y, const int16_t *w, ptrdiff_t fours);

#define INTO(sum, x, w) "smlad " sum ", " x ", " w ", " sum "\n\t"
#define SUMS(x, y) INTO("r4", x, "r0") INTO("r5", x, "r12") INTO("r6", y, "r0") INTO("r7", y, "r12")

__asm__(
    ".pushsection .text\n\t"
    ".syntax unified\n\t"
    ".arm\n\t"
    ".align 2\n\t"
    ".type dots_arm, %function\n"
    "dots_arm:\n\t"
    "push {r0, r4-r11, lr}\n\t"
    "ldr lr, [sp, #40]\n\t"
    "ldm r0, {r4-r7}\n\t"
    "ldm r1!, {r8, r9}\n\t"
    "ldm r2!, {r10, r11}\n\t"
    "ldm r3!, {r0, r12}\n"
    "1:\n\t"
    "subs lr, lr, #1\n\t"
    "pld [r3, #256]\n\t"
    SUMS("r8", "r10")
    "ldm r3!, {r0, r12}\n\t"
    "ldrne r8, [r1], #4\n\t"
    "ldrne r10, [r2], #4\n\t"
    SUMS("r9", "r11")
    "ldmne r3!, {r0, r12}\n\t"
    "ldrne r9, [r1], #4\n\t"
    "ldrne r11, [r2], #4\n\t"
    "bne 1b\n\t"
    "pop {r0}\n\t"
    "stm r0, {r4-r7}\n\t"
    "pop {r4-r11, pc}\n\t"
    ".size dots_arm, .-dots_arm\n\t"
    ".popsection");

#undef INTO
#undef SUMS

#endif
