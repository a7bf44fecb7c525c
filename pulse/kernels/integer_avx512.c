/* int8 by VNNI: four products of a byte from 0 to 255 with one from -128 to 127 in a lane. */
#if defined(__x86_64__) || defined(__i386__)
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx512vnni")
#include <immintrin.h>
#include <string.h>

#include "integer.h"

#define INLINE static inline __attribute__((always_inline))
#define LANES 16
#define FRAMES 8
#define GROUP 4
#define OFFSET 128

typedef __m512i Sums;
typedef uint8_t Wide;

INLINE Sums load_sums(const int32_t *from) { return _mm512_loadu_si512(from); }
INLINE Sums all_sums(int32_t x) { return _mm512_set1_epi32(x); }
INLINE Sums plus(Sums x, Sums y) { return _mm512_add_epi32(x, y); }
/* Written out, as GCC moves the sums to and fro around its own form of it. */
INLINE Sums dot(Sums sum, Sums x, Sums w) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
    return sum;
}

INLINE Sums words(const Wide *from) {
    int32_t word;
    memcpy(&word, from, sizeof word);
    return _mm512_set1_epi32(word);
}

INLINE void widened(Wide *to, const int8_t *from) {
    __m128i x = _mm_loadu_si128((const __m128i *)from);
    _mm_storeu_si128((__m128i *)to, _mm_xor_si128(x, _mm_set1_epi8(-128)));
}

INLINE Sums high(Sums x, Sums multiplier, int left) {
    const Sums half = _mm512_set1_epi64((int64_t)1 << 31);
    x = _mm512_sll_epi32(x, _mm_cvtsi32_si128(left));
    Sums even = _mm512_add_epi64(_mm512_mul_epi32(x, multiplier), half);
    Sums odd = _mm512_mul_epi32(_mm512_srli_epi64(x, 32), _mm512_srli_epi64(multiplier, 32));
    return _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), _mm512_add_epi64(odd, half));
}

/* The sums of two items in 16 bits, four of the one beside four of the other. */
INLINE Sums paired(Sums x, Sums y) { return _mm512_packs_epi32(x, y); }
INLINE Sums plus_zero(Sums x, int zero) { return _mm512_adds_epi16(x, _mm512_set1_epi16((short)zero)); }

INLINE Sums tanh_of(Sums x) {
    const Sums low = _mm512_loadu_si512(TANH_NODES);
    const Sums rise = _mm512_sub_epi16(_mm512_loadu_si512(TANH_NODES + 1), low);
    Sums size = _mm512_min_epu16(_mm512_abs_epi16(x), _mm512_set1_epi16(32767));
    Sums segment = _mm512_srli_epi16(size, SEGMENT_BITS);
    Sums within = _mm512_and_si512(_mm512_slli_epi16(size, 15 - SEGMENT_BITS), _mm512_set1_epi16(32767));
    Sums more = _mm512_mulhrs_epi16(_mm512_permutexvar_epi16(segment, rise), within);
    Sums height = _mm512_add_epi16(_mm512_permutexvar_epi16(segment, low), more);
    return _mm512_mask_sub_epi16(height, _mm512_movepi16_mask(x), _mm512_setzero_si512(), height);
}

INLINE Sums sigmoid_of(Sums x) {
    return _mm512_add_epi16(_mm512_srai_epi16(tanh_of(x), 1), _mm512_set1_epi16(1 << 14));
}

INLINE Sums curved(const IntegerProduct *p, Sums a, Sums b) {
    Sums height = p->activation == SIGMOID ? sigmoid_of(a) : tanh_of(a);
    if (p->activation == GATE) height = _mm512_mulhrs_epi16(height, sigmoid_of(b));
    return _mm512_mulhrs_epi16(height, _mm512_set1_epi16((short)p->gain));
}

INLINE void put_sums(int32_t *to, Sums x, ptrdiff_t left) {
    if (left >= LANES) _mm512_storeu_si512(to, x);
    else _mm512_mask_storeu_epi32(to, (__mmask16)((1u << left) - 1), x);
}

/* The first numbers of two items from what `paired` made of them. */
INLINE void put_int8(char *first, char *second, Sums x, ptrdiff_t left) {
    const __m256i order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    __m256i bytes = _mm256_permutevar8x32_epi32(_mm512_cvtsepi16_epi8(x), order);
    __mmask16 mask = left >= LANES ? 0xFFFF : (__mmask16)((1u << left) - 1);
    _mm_mask_storeu_epi8(second, mask, _mm256_extracti128_si256(bytes, 1));
    _mm_mask_storeu_epi8(first, mask, _mm256_castsi256_si128(bytes));
}

#include "integer_block.h"

const Integers vnni_integers = {LANES, FRAMES, GROUP, sizeof(Wide), OFFSET, 1, multiply, narrow};
#endif
