/* Functions of one number that several kernels need, in forms that compilers turn into vector code. */

#ifndef PULSE_ELEMENTWISE_H
#define PULSE_ELEMENTWISE_H

#include <math.h>
#include <string.h>

#include "engine.h"

/* The integer between 0 and `x`; those that are none, or too large, are the lowest there is, as on x86. */
static inline int64_t whole(double x) { return x >= -0x1p63 && x < 0x1p63 ? (int64_t)x : INT64_MIN; }

/* A power of 2, for -126 <= n <= 127 */
static inline float power_of_two(int32_t n) {
    int32_t bits = (n + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

/* exp(x) = 2^n exp(r), |r| <= log(2) / 2; off by less than 2e-7 of itself. What is below 2^-126 is 0. */
static inline float exp_of(float x) {
    float y = x > -88.0f ? x : -88.0f;
    y = y < 89.0f ? y : 89.0f;
    float turns = y * 1.44269504f;
    int32_t n = (int32_t)(turns + (turns < 0 ? -0.5f : 0.5f));
    float r = y - (float)n * 0.693359375f - (float)n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    float made = (p * r * r + r + 1) * power_of_two(n / 2) * power_of_two(n - n / 2);
    made = x < -87.4f ? 0 : made;
    made = x > 88.8f ? INFINITY : made;
    return x != x ? x : made;
}

#endif
