/* What the instructions of an ARM1176JZF-S (A32) read, write and take. */

#ifndef PI_ZERO_DECODE_H
#define PI_ZERO_DECODE_H

#include <stdint.h>

typedef enum { NO_BRANCH, IF, ALWAYS, CALL, INDIRECT, INDIRECT_CALL, RETURN, LOADED } Branch;

/* One instruction. Registers are bits. Of the 16 core registers, some are read a cycle earlier or later than others; of
   the 32 single registers of floats a double takes two. */
typedef struct {
    int issue, latency, unit; /* cycles; of the unit of loads and stores */
    uint32_t reads, early, late, writes, based; /* based: written by addressing, in one cycle */
    uint64_t float_reads, float_writes;
    int float_latency, float_unit;
    int many; /* registers become ready two in a cycle */
} Insn;

/* What the word `w` is; returns how it branches. */
Branch decoded(Insn *o, uint32_t w);

#endif
