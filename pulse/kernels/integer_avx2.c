/* int8 by AVX2: two products of 16 bits in a lane, which cannot overflow. */
#if defined(__x86_64__) || defined(__i386__)
#pragma GCC target("avx2")
#include <immintrin.h>
#include <string.h>

#include "integer.h"

#define INLINE static inline __attribute__((always_inline))
#define LANES 8
#define FRAMES 4
#define GROUP 2
#define OFFSET 0

typedef __m256i Sums;
typedef int16_t Wide;

INLINE Sums load_sums(const int32_t *from) { return _mm256_loadu_si256((const Sums *)from); }
INLINE Sums all_sums(int32_t x) { return _mm256_set1_epi32(x); }
INLINE Sums plus(Sums x, Sums y) { return _mm256_add_epi32(x, y); }
INLINE Sums dot(Sums sum, Sums x, Sums w) { return _mm256_add_epi32(sum, _mm256_madd_epi16(x, w)); }

INLINE Sums words(const Wide *from) {
    int32_t word;
    memcpy(&word, from, sizeof word);
    return _mm256_set1_epi32(word);
}

INLINE void widened(Wide *to, const int8_t *from) {
    _mm256_storeu_si256((Sums *)to, _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)from)));
}

INLINE Sums high(Sums x, Sums multiplier, int left) {
    const Sums half = _mm256_set1_epi64x((int64_t)1 << 31);
    x = _mm256_sll_epi32(x, _mm_cvtsi32_si128(left));
    Sums even = _mm256_add_epi64(_mm256_mul_epi32(x, multiplier), half);
    Sums odd = _mm256_mul_epi32(_mm256_srli_epi64(x, 32), _mm256_srli_epi64(multiplier, 32));
    return _mm256_blend_epi32(_mm256_srli_epi64(even, 32), _mm256_add_epi64(odd, half), 0xAA);
}

/* The sums of two items in 16 bits, four of the one beside four of the other. */
INLINE Sums paired(Sums x, Sums y) { return _mm256_packs_epi32(x, y); }
INLINE Sums plus_zero(Sums x, int zero) { return _mm256_adds_epi16(x, _mm256_set1_epi16((short)zero)); }

/* Two tables of 16 numbers each, in two halves of 8 bits: what a shuffle of bytes can look up. */
typedef struct {
    Sums low[2], high[2];
} Table;

INLINE Sums twice(__m128i x) { return _mm256_broadcastsi128_si256(x); }

INLINE Table table_of(const int16_t *from, const int16_t *minus) {
    Table table;
    for (int half = 0; half < 2; half++, from += 16, minus += 16) {
        Sums x = load_sums((const int32_t *)from);
        if (minus != from) x = _mm256_sub_epi16(x, load_sums((const int32_t *)minus));
        Sums low = _mm256_and_si256(x, _mm256_set1_epi16(255)), high = _mm256_srli_epi16(x, 8);
        Sums both = _mm256_permute4x64_epi64(_mm256_packus_epi16(low, high), 0xD8);
        table.low[half] = twice(_mm256_castsi256_si128(both));
        table.high[half] = twice(_mm256_extracti128_si256(both, 1));
    }
    return table;
}

INLINE Sums looked_up(const Table *table, Sums index) {
    const Sums none = _mm256_set1_epi8(-128);
    Sums at_low = _mm256_or_si256(index, _mm256_slli_epi16(none, 8));
    Sums at_high = _mm256_or_si256(_mm256_slli_epi16(index, 8), _mm256_srli_epi16(none, 8));
    Sums second = _mm256_cmpgt_epi16(index, _mm256_set1_epi16(15));
    Sums found[2];
    for (int half = 0; half < 2; half++)
        found[half] = _mm256_or_si256(_mm256_shuffle_epi8(table->low[half], at_low),
                                      _mm256_shuffle_epi8(table->high[half], at_high));
    return _mm256_blendv_epi8(found[0], found[1], second);
}

INLINE Sums tanh_of(Sums x) {
    const Table low = table_of(TANH_NODES, TANH_NODES), rise = table_of(TANH_NODES + 1, TANH_NODES);
    Sums size = _mm256_min_epu16(_mm256_abs_epi16(x), _mm256_set1_epi16(32767));
    Sums segment = _mm256_srli_epi16(size, SEGMENT_BITS);
    Sums within = _mm256_and_si256(_mm256_slli_epi16(size, 15 - SEGMENT_BITS), _mm256_set1_epi16(32767));
    Sums more = _mm256_mulhrs_epi16(looked_up(&rise, segment), within);
    return _mm256_sign_epi16(_mm256_add_epi16(looked_up(&low, segment), more), x);
}

INLINE Sums sigmoid_of(Sums x) {
    return _mm256_add_epi16(_mm256_srai_epi16(tanh_of(x), 1), _mm256_set1_epi16(1 << 14));
}

INLINE Sums curved(const IntegerProduct *p, Sums a, Sums b) {
    Sums height = p->activation == SIGMOID ? sigmoid_of(a) : tanh_of(a);
    if (p->activation == GATE) height = _mm256_mulhrs_epi16(height, sigmoid_of(b));
    return _mm256_mulhrs_epi16(height, _mm256_set1_epi16((short)p->gain));
}

INLINE void put_sums(int32_t *to, Sums x, ptrdiff_t left) {
    if (left >= LANES) {
        _mm256_storeu_si256((Sums *)to, x);
        return;
    }
    int32_t part[LANES];
    _mm256_storeu_si256((Sums *)part, x);
    memcpy(to, part, (size_t)left * sizeof *to);
}

/* The first numbers of two items from what `paired` made of them. */
INLINE void put_int8(char *first, char *second, Sums x, ptrdiff_t left) {
    const Sums order = _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5);
    char part[2 * LANES];
    __m128i bytes = _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(_mm256_packs_epi16(x, x), order));
    if (left >= LANES) {
        _mm_storeh_pd((double *)second, _mm_castsi128_pd(bytes));
        _mm_storel_epi64((__m128i *)first, bytes);
        return;
    }
    _mm_storeu_si128((__m128i *)part, bytes);
    memcpy(second, part + LANES, (size_t)left);
    memcpy(first, part, (size_t)left);
}

#include "integer_block.h"

const Integers avx2_integers = {LANES, FRAMES, GROUP, sizeof(Wide), OFFSET, 2, multiply, narrow};
#endif
