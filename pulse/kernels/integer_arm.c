/* int8 for ARMv6, whose SMLAD adds two products of 16 bits at once. The items of a block are gathered in pairs: of four
   numbers of each, first and third, then second and fourth, as SXTB16 widens them, those of both items in turn. The
   weights of two filters are widened likewise, on the stack, and meet all pairs of the block from there. */

#include "integer.h"

#if defined(__ARM_FEATURE_SIMD32)

#include <arm_acle.h>
#include <string.h>

enum { ITEMS = 8, FOUR = 4, SPARE = 16 }; /* SPARE: bytes before the gathered items that are loaded in vain */

/* sums[item][filter] = bias[filter] + numbers of the item times weights of the filter, over four times `fours` numbers,
   for `pairs` pairs of items from x and the two filters of a panel.

   From the last number to the first, so that the end is where the stack pointer is: all other registers are needed, as
   what is loaded can be multiplied four cycles later. On the stack lie where the next sums go, the end of the next
   items, how many pairs are left, and the end of the weights; then the weights, 16 bytes for each four, and both
   biases. */
void dots_arm(int32_t (*sums)[2], const void *x, const char *panel, int fours, int pairs);

#define INTO(sum, x, w) "smlad " sum ", " x ", " w ", " sum "\n\t"
#define SUMS(x, y, v, w) INTO("r4", x, v) INTO("r5", x, w) INTO("r6", y, v) INTO("r7", y, w)
#define FOURS \
    SUMS("r12", "lr", "r10", "r11") "ldmdb r1!, {r12, lr}\n\t" "ldmdb r2!, {r10, r11}\n\t" \
    SUMS("r0", "r3", "r8", "r9") "ldmdb r1!, {r0, r3}\n\t" "ldmdb r2!, {r8, r9}\n\t"

__asm__(
    ".pushsection .text\n\t"
    ".syntax unified\n\t"
    ".arm\n\t"
    ".align 2\n\t"
    ".type dots_arm, %function\n"
    "dots_arm:\n\t"
    "push {r0, r4-r11, lr}\n\t"
    "ldr r12, [sp, #40]\n\t"
    "lsl r3, r3, #4\n\t"
    "add r1, r1, r3\n\t"
    "ldm r2, {r4, r5}\n\t"
    "add r2, r2, #16\n\t"
    "sub sp, sp, r3\n\t"
    "sub sp, sp, #32\n\t"
    "add lr, sp, #16\n\t"
    "add lr, lr, r3\n\t"
    "stm sp, {r0, r1, r12, lr}\n\t"
    "stm lr, {r4, r5}\n\t"
    "ldm r2!, {r8, r9}\n\t"
    "add r0, sp, #16\n"
    "0:\n\t" /* each four weights of both filters */
    "sxtb16 r4, r8\n\t"
    "sxtb16 r5, r9\n\t"
    "sxtb16 r6, r8, ror #8\n\t"
    "sxtb16 r7, r9, ror #8\n\t"
    "ldm r2!, {r8, r9}\n\t"
    "stm r0!, {r4-r7}\n\t"
    "pld [r2, #256]\n\t"
    "cmp r0, lr\n\t"
    "bne 0b\n\t"
    "mov r2, lr\n"
    "1:\n\t" /* each pair of items */
    "ldm r2, {r4, r5}\n\t"
    "sub r6, r2, sp\n\t"
    "tst r6, #16\n\t"
    "ldmdb r2!, {r8-r11}\n\t"
    "ldmdb r1!, {r0, r3, r12, lr}\n\t"
    "mov r6, r4\n\t"
    "mov r7, r5\n\t"
    "beq 3f\n"
    "2:\n\t" FOURS
    "3:\n\t" FOURS
    "cmp r2, sp\n\t"
    "bne 2b\n\t"
    "ldm sp, {r0-r3}\n\t"
    "stm r0!, {r4-r7}\n\t"
    "sub lr, r3, sp\n\t"
    "sub lr, lr, #16\n\t"
    "add r1, r1, lr\n\t"
    "subs lr, r2, #1\n\t"
    "mov r2, r3\n\t"
    "str r0, [sp]\n\t"
    "str r1, [sp, #4]\n\t"
    "str lr, [sp, #8]\n\t"
    "bne 1b\n\t"
    "add sp, r2, #16\n\t"
    "pop {r0, r4-r11, pc}\n\t"
    ".size dots_arm, .-dots_arm\n\t"
    ".popsection");

#undef INTO
#undef SUMS
#undef FOURS

static uint32_t word(const void *from) {
    uint32_t made;
    memcpy(&made, from, sizeof made);
    return made;
}

static uint32_t even(uint32_t bytes) { return (uint32_t)__sxtb16(bytes); }

static uint32_t odd(uint32_t bytes) {
    uint32_t made;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(made) : "r"(bytes));
    return made;
}

/* One pair of items, where the number of row r of item i is half r / 2 % 2 of word 2 (r % 2) + i of each four rows. */
static void gather(const IntegerProduct *p, uint32_t *to, const int8_t *x, const int8_t *y) {
    const int whole = p->channel_move == 1 && p->channels % FOUR == 0;
    ptrdiff_t row = 0;
    for (ptrdiff_t tap = 0; tap < p->taps; tap++) {
        const int8_t *a = x + p->tap[tap], *b = y + p->tap[tap];
        for (ptrdiff_t c = 0; whole && c < p->channels; c += FOUR, to += 4) {
            uint32_t first = word(a + c), second = word(b + c);
            to[0] = even(first), to[1] = even(second), to[2] = odd(first), to[3] = odd(second);
        }
        for (ptrdiff_t c = 0; !whole && c < p->channels; c++, row++, a += p->channel_move, b += p->channel_move) {
            int16_t *half = (int16_t *)(to + row / FOUR * 4 + row % 2 * 2) + row / 2 % 2;
            half[0] = *a, half[2] = *b;
        }
    }
}

/* (x y + 2^14) / 2^15, of numbers of 16 bits */
static int32_t product(int32_t x, int32_t y) { return __smlabb(x, y, 1 << 14) >> 15; }

/* tanh as a line for each segment, of negative numbers too: (start + rise x) / 2^SEGMENT_BITS */
typedef struct {
    int32_t start, rise;
} Line;
#define RISE(number, low, high) ((high) - (low)) * (number) * (1 << SEGMENT_BITS)
#define LINES(number, low, high) \
    [SEGMENTS + number] = {(low) * (1 << SEGMENT_BITS) - RISE(number, low, high) + HALF, (high) - (low)}, \
    [SEGMENTS - 1 - number] = {RISE(number, low, high) - (low) * (1 << SEGMENT_BITS) + HALF - 1, (high) - (low)},
enum { HALF = 1 << (SEGMENT_BITS - 1) };
static const Line TANH_LINES[2 * SEGMENTS] = {TANH_SEGMENTS(LINES)};

/* tanh with SEGMENT_BITS more bits than it has */
static int32_t fine_tanh(int32_t x) {
    x = __ssat(x, 16);
    const Line *line = TANH_LINES + SEGMENTS + (x >> SEGMENT_BITS);
    return __smlabb(line->rise, x, line->start);
}

static int32_t tanh_of(int32_t x) { return fine_tanh(x) >> SEGMENT_BITS; }

static int32_t sigmoid_of(int32_t x) { return (fine_tanh(x) >> (SEGMENT_BITS + 1)) + (1 << 14); }

static int32_t narrowed(const IntegerProduct *p, int32_t height) {
    return __ssat(product(height, p->gain) + p->zero, 8);
}

/* What turns the sums of a gate's two filters into int8, in the order in which it is loaded. */
typedef struct {
    const Line *lines; /* of 0 */
    int32_t multiplier[2];
    int32_t left, gain, zero;
    ptrdiff_t move; /* from an item to the next in out */
    int32_t half;   /* of 2^15 */
} Gates;

/* out[item] = the gate of sums[item], for `pairs` pairs of items */
void gates_arm(int8_t *out, const int32_t (*sums)[2], const Gates *gates, int pairs);
_Static_assert(SEGMENT_BITS == 10 && sizeof(Line) == 8, "gates_arm counts on it");

__asm__(
    ".pushsection .text\n\t"
    ".syntax unified\n\t"
    ".arm\n\t"
    ".align 2\n\t"
    ".type gates_arm, %function\n"
    "gates_arm:\n\t"
    "push {r4-r11, lr}\n\t"
    "sub sp, sp, #28\n\t"
    "add lr, r2, #16\n\t"
    "ldm lr, {r4-r7}\n\t"
    "add r8, r1, r3, lsl #4\n\t"
    "ldm r2, {r2, r3, r12, lr}\n\t"
    "str lr, [sp, #20]\n\t"
    "stm sp, {r4-r8}\n"
    "1:\n\t"
    "ldm r1!, {r4-r7}\n\t"
    "lsl r4, r4, lr\n\t"
    "lsl r5, r5, lr\n\t"
    "lsl r6, r6, lr\n\t"
    "lsl r7, r7, lr\n\t"
    "smmulr r4, r4, r3\n\t"
    "smmulr r5, r5, r12\n\t"
    "smmulr r6, r6, r3\n\t"
    "smmulr r7, r7, r12\n\t"
    "ssat r4, #16, r4\n\t"
    "ssat r5, #16, r5\n\t"
    "asr r8, r4, #10\n\t"
    "asr r10, r5, #10\n\t"
    "ssat r6, #16, r6\n\t"
    "add r8, r2, r8, lsl #3\n\t"
    "add r10, r2, r10, lsl #3\n\t"
    "ldm r8, {r8, r9}\n\t"
    "ldm r10, {r10, r11}\n\t"
    "ssat r7, #16, r7\n\t"
    "asr lr, r6, #10\n\t"
    "smlabb r4, r4, r9, r8\n\t"
    "smlabb r5, r5, r11, r10\n\t"
    "add lr, r2, lr, lsl #3\n\t"
    "asr r10, r7, #10\n\t"
    "ldm lr, {r8, r9}\n\t"
    "add r10, r2, r10, lsl #3\n\t"
    "asr r4, r4, #10\n\t"
    "ldm r10, {r10, r11}\n\t"
    "asr r5, r5, #11\n\t"
    "smlabb r6, r6, r9, r8\n\t"
    "add r5, r5, #16384\n\t"
    "ldr lr, [sp, #20]\n\t"
    "smlabb r7, r7, r11, r10\n\t"
    "ldm sp, {r8-r11}\n\t" /* gain, zero, move, half */
    "asr r6, r6, #10\n\t"
    "asr r7, r7, #11\n\t"
    "add r7, r7, #16384\n\t"
    "smlabb r4, r4, r5, r11\n\t"
    "smlabb r6, r6, r7, r11\n\t"
    "ldr r5, [sp, #16]\n\t"
    "asr r4, r4, #15\n\t"
    "asr r6, r6, #15\n\t"
    "smlabb r4, r4, r8, r11\n\t"
    "smlabb r6, r6, r8, r11\n\t"
    "cmp r1, r5\n\t"
    "add r4, r9, r4, asr #15\n\t"
    "add r6, r9, r6, asr #15\n\t"
    "ssat r4, #8, r4\n\t"
    "ssat r6, #8, r6\n\t"
    "strb r4, [r0], r10\n\t"
    "strb r6, [r0], r10\n\t"
    "bne 1b\n\t"
    "add sp, sp, #28\n\t"
    "pop {r4-r11, pc}\n\t"
    ".size gates_arm, .-gates_arm\n\t"
    ".popsection");

static void finish_gates(const IntegerProduct *p, const int32_t m[2], int8_t *out, const int32_t (*sums)[2],
                         int items) {
    const Gates gates = {TANH_LINES + SEGMENTS, {m[0], m[1]}, p->left, p->gain, p->zero, p->out_item, 1 << 14};
    const int whole = items & ~1;
    if (whole) gates_arm(out, sums, &gates, whole / 2);
    if (whole == items) return;
    const int32_t height = tanh_of(scaled(sums[whole][0], m[0], p->left));
    out[whole * p->out_item] = (int8_t)narrowed(p, product(height, sigmoid_of(scaled(sums[whole][1], m[1], p->left))));
}

static int32_t curved(const IntegerProduct *p, int32_t x) {
    switch (p->activation) {
    case SIGMOID: return narrowed(p, sigmoid_of(x));
    case TANH: return narrowed(p, tanh_of(x));
    default: return __ssat(x + p->zero, 8);
    }
}

/* Sums of two filters; of two items at a time, so that none waits for its own last result. */
static void finish_sums(const IntegerProduct *p, const int32_t multiplier[2], int32_t *out, const int32_t *addend,
                        const int32_t (*sums)[2], int items) {
    const int32_t first = multiplier[0], second = multiplier[1], left = p->left, nothing = 0;
    const ptrdiff_t more = addend ? p->addend_item : 0, next = addend ? p->addend_filter : 0;
    if (!addend) addend = &nothing;
    for (int i = 0; i < items; i += 2) {
        const int two = i + 1 < items, j = i + two;
        const ptrdiff_t move = two ? p->out_item : 0, apart = two ? more : 0;
        uint32_t a = (uint32_t)addend[0], b = (uint32_t)addend[next];
        uint32_t c = (uint32_t)addend[apart], d = (uint32_t)addend[apart + next];
        a += (uint32_t)scaled(sums[i][0], first, left), b += (uint32_t)scaled(sums[i][1], second, left);
        c += (uint32_t)scaled(sums[j][0], first, left), d += (uint32_t)scaled(sums[j][1], second, left);
        out[0] = (int32_t)a, out[1] = (int32_t)b, out[move] = (int32_t)c, out[move + 1] = (int32_t)d;
        out += 2 * move, addend += 2 * apart;
    }
}

/* What comes of one filter. */
static void finish(const IntegerProduct *p, int32_t multiplier, char *out, const int32_t *addend, const int32_t *sums,
                   int items) {
    for (int i = 0; i < items; i++) {
        const int32_t x = scaled(sums[2 * i], multiplier, p->left);
        const ptrdiff_t at = i * p->out_item;
        if (!p->sums) ((int8_t *)out)[at] = (int8_t)curved(p, x);
        else ((int32_t *)out)[at] = (int32_t)((uint32_t)x + (addend ? (uint32_t)addend[i * p->addend_item] : 0));
    }
}

static void block(const IntegerProduct *p, const char *panel, char *out, const int32_t *addend, int items) {
    const size_t bytes = panel_bytes(p->integers, p->depth, 2);
    const ptrdiff_t item = p->sums ? 4 : 1, step = p->activation == GATE ? 1 : 2;
    for (ptrdiff_t filter = 0; filter < p->made; filter += step, panel += bytes, out += step * item) {
        const int32_t *multiplier = (const int32_t *)panel + 2;
        int32_t made[ITEMS][2];
        const int32_t (*sums)[2] = (const int32_t (*)[2])made;
        dots_arm(made, (const char *)p->gathered + SPARE, panel, (int)(p->depth / FOUR), (items + 1) / 2);
        if (p->activation == GATE) finish_gates(p, multiplier, (int8_t *)out, sums, items);
        else if (p->sums && filter + 1 < p->made) finish_sums(p, multiplier, (int32_t *)out, addend, sums, items);
        else for (int i = 0; i < 2 && filter + i < p->made; i++)
            finish(p, multiplier[i], out + i * item, addend ? addend + i * p->addend_filter : NULL, &sums[0][i], items);
        addend = addend ? addend + step * p->addend_filter : NULL;
    }
}

static void multiply(const IntegerProduct *p, const char *panels, const int8_t *x, char *out, const int32_t *addend) {
    for (ptrdiff_t row = 0; row < p->rows; row++) {
        const int8_t *from = x + p->row[row];
        for (ptrdiff_t left = p->items; left > 0; left -= ITEMS) {
            const int items = left < ITEMS ? (int)left : ITEMS;
            uint32_t *to = (uint32_t *)((char *)p->gathered + SPARE);
            for (int i = 0; i < items; i += 2, to += p->depth) { /* the last item, if it is odd, twice */
                const int8_t *other = i + 1 < items ? from + p->item_move : from;
                gather(p, to, from, other);
                from += 2 * p->item_move;
            }
            block(p, panels, out, addend, items);
            out += items * p->out_item * (p->sums ? 4 : 1);
            addend = addend ? addend + items * p->addend_item : NULL;
        }
    }
}

static void narrow(const Narrowing *n, int8_t *out, const int32_t *x) {
    const int32_t m = n->multiplier, left = n->left, zero = n->zero;
    for (ptrdiff_t row = 0; row < n->rows; row++, out += n->out_move, x += n->x_move) {
        ptrdiff_t i = 0;
        for (; i + 4 <= n->count; i += 4) { /* so that none waits for its own last result */
            const int32_t a = scaled(x[i], m, left), b = scaled(x[i + 1], m, left);
            const int32_t c = scaled(x[i + 2], m, left), d = scaled(x[i + 3], m, left);
            out[i] = (int8_t)__ssat(a + zero, 8), out[i + 1] = (int8_t)__ssat(b + zero, 8);
            out[i + 2] = (int8_t)__ssat(c + zero, 8), out[i + 3] = (int8_t)__ssat(d + zero, 8);
        }
        for (; i < n->count; i++) out[i] = (int8_t)__ssat(scaled(x[i], m, left) + zero, 8);
    }
}

const Integers arm_integers = {1, ITEMS, FOUR, 2, 0, 1, multiply, narrow};

#endif
