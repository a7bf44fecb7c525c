/* Issue cycles and latencies are those of ARM's manual DDI0301H, chapter 16 and table 21-16. */

#include "decode.h"

enum { FLOATS = 8, DOUBLES = 9, CONVERSIONS = 4, LOADS = 3 }; /* cycles of latency */

static uint32_t core(uint32_t number) { return 1u << number; }
static uint64_t single(uint32_t number) { return number < 32 ? 1ull << number : 0; }
static uint64_t twice(uint32_t number) { return number < 16 ? 3ull << (2 * number) : 0; }

/* The fields of an instruction, where most have them. */
#define BIT(at) ((w >> (at)) & 1)
#define RN ((w >> 16) & 15)
#define RD ((w >> 12) & 15)
#define RS ((w >> 8) & 15)
#define RM (w & 15)

static void multiply(Insn *o, uint32_t w) {
    uint32_t kind = (w >> 21) & 7;
    o->early = core(RM) | core(RS);
    if (kind <= 1) { /* MUL, MLA */
        o->issue = BIT(20) ? 5 : 2, o->latency = 4, o->writes = core(RN);
        if (kind == 1) o->late = core(RD);
    } else { /* UMULL and its like */
        o->issue = BIT(20) ? 6 : 3, o->latency = 5, o->writes = core(RN) | core(RD);
        if (kind == 2 || kind >= 5) o->late = core(RD) | core(RN);
    }
}

static void multiply_halves(Insn *o, uint32_t w) {
    uint32_t kind = (w >> 21) & 3;
    o->early = core(RM) | core(RS), o->latency = 3, o->writes = core(RN);
    if (kind == 0 || (kind == 1 && !BIT(5))) o->late = core(RD);
    if (kind == 2) o->issue = 2, o->latency = 4, o->writes |= core(RD), o->late = core(RD) | core(RN);
}

static void load_or_store(Insn *o, uint32_t w, uint32_t registers, int load) {
    o->early |= core(RN), o->unit = 1, o->latency = LOADS;
    if (load) o->writes = registers;
    else o->late = registers;
    if (!BIT(24) || BIT(21)) o->based = core(RN);
}

static void exclusive(Insn *o, uint32_t w) {
    o->issue = 2, o->unit = 2, o->latency = 4, o->early = core(RN), o->reads = core(RM), o->writes = core(RD);
}

/* Halves, signed bytes and pairs of words. */
static void load_or_store_halves(Insn *o, uint32_t w) {
    int pair = !BIT(20) && BIT(6), load = BIT(20) || (pair && !BIT(5));
    if (!BIT(22)) {
        o->early = core(RM);
        if (!BIT(23)) o->issue = 2;
    }
    load_or_store(o, w, core(RD) | (pair ? core((RD + 1) & 15) : 0), load);
}

static Branch miscellaneous(Insn *o, uint32_t w) {
    uint32_t kind = (w >> 4) & 15, which = (w >> 21) & 3;
    if (kind == 1 && which == 1) return o->early = core(RM), RM == 14 ? RETURN : INDIRECT; /* BX */
    if (kind == 3) return o->early = core(RM), o->writes = core(14), INDIRECT_CALL;        /* BLX */
    if (kind == 1 && which == 3) o->reads = core(RM), o->writes = core(RD);                /* CLZ */
    else if (kind == 5) o->reads = core(RN) | core(RM), o->writes = core(RD), o->latency = 2; /* QADD */
    else if ((kind & 9) == 8) multiply_halves(o, w);
    else o->writes = core(RD), o->latency = 2; /* MRS, MSR */
    return NO_BRANCH;
}

/* Arithmetic and logic on registers and immediate numbers. */
static Branch arithmetic(Insn *o, uint32_t w) {
    uint32_t kind = (w >> 21) & 15;
    if (kind != 13 && kind != 15) o->reads |= core(RN);
    if (!BIT(25)) {
        if (BIT(4)) o->issue = 2, o->early |= core(RS), o->reads |= core(RM);
        else if (w & 0xff0) o->early |= core(RM);
        else o->reads |= core(RM);
    }
    if (kind >= 8 && kind <= 11) return NO_BRANCH;
    if (RD != 15) return o->writes = core(RD), NO_BRANCH;
    return !BIT(25) && kind == 13 && RM == 14 ? RETURN : INDIRECT;
}

static Branch registers(Insn *o, uint32_t w) {
    if ((w & 0x0f0000f0) == 0x00000090) return multiply(o, w), NO_BRANCH;
    if ((w & 0x0f0000f0) == 0x01000090) return exclusive(o, w), NO_BRANCH;
    if ((w & 0x0e000090) == 0x00000090 && (w & 0x60)) return load_or_store_halves(o, w), NO_BRANCH;
    if ((w & 0x0f900000) == 0x01000000) return miscellaneous(o, w);
    return arithmetic(o, w);
}

/* SMLAD and its like, packing, extending and saturating. */
static void media(Insn *o, uint32_t w) {
    uint32_t kind = (w >> 20) & 31;
    if ((kind & 0x18) != 0x10 && kind != 0x18) {
        o->early = core(RM), o->reads = RN != 15 ? core(RN) : 0, o->writes = core(RD);
        if ((kind & 0x18) == 0 && (kind & 7) != 1) o->latency = 2;
        return;
    }
    o->early = core(RM) | core(RS), o->writes = core(RN), o->latency = 3;
    if (kind == 0x14) o->issue = 2, o->latency = 4, o->writes |= core(RD), o->late = core(RD) | core(RN); /* SMLALD */
    else if (RD != 15) o->late = core(RD);
    if (kind == 0x15) o->issue = 2, o->latency = 4; /* SMMLA */
}

static Branch load_or_store_word(Insn *o, uint32_t w) {
    if (BIT(25)) {
        uint32_t shift = (w >> 4) & 0xff;
        o->early = core(RM);
        if (!BIT(23) || (shift && shift != 0x10)) o->issue = 2;
    }
    load_or_store(o, w, RD == 15 && BIT(20) ? 0 : core(RD), BIT(20));
    if (RD == 15 && BIT(20)) return RN == 13 ? RETURN : LOADED;
    return NO_BRANCH;
}

static Branch load_or_store_many(Insn *o, uint32_t w) {
    uint32_t list = w & 0xffff;
    o->early = core(RN), o->unit = (__builtin_popcount(list) + 1) / 2;
    if (BIT(21)) o->based = core(RN);
    if (!BIT(20)) return o->late = list, NO_BRANCH;
    o->writes = list & 0x7fff, o->latency = LOADS, o->many = 1;
    if (!(list & 0x8000)) return NO_BRANCH;
    return RN == 13 ? RETURN : LOADED;
}

/* Loads and stores of floats, and two core registers to or from them. */
static void move_floats(Insn *o, uint32_t w) {
    int twofold = RS & 1;
    if ((RS & 14) != 10) return;
    if ((w & 0x0fe00000) == 0x0c400000) {
        uint32_t first = RM << 1 | BIT(5);
        uint64_t floats = twofold ? twice(RM) : single(first) | single(first + 1);
        if (BIT(20)) o->writes = core(RN) | core(RD), o->latency = 2, o->float_reads = floats;
        else o->reads = core(RN) | core(RD), o->float_writes = floats, o->float_latency = 4;
        return;
    }
    const int one = BIT(24) && !BIT(21);
    uint32_t first = twofold ? RD : RD << 1 | BIT(22), size = twofold ? 2 : 1, count = one ? 1 : (w & 0xff) / size;
    uint64_t floats = 0;
    for (uint32_t i = first; i < first + count; i++) floats |= twofold ? twice(i) : single(i);
    o->early = core(RN);
    o->unit = (int)(count * size + 1) / 2;
    o->float_latency = o->unit + 3;
    if (BIT(21)) o->based = core(RN);
    if (BIT(20)) o->float_writes = floats;
    else o->float_reads = floats;
}

/* One core register, or the flags, to or from floats. */
static void move_float(Insn *o, uint32_t w) {
    int system = (w & 0x0fe00000) == 0x0ee00000;
    uint64_t floats = system ? 0 : RS & 1 ? twice(RN) : single(RN << 1 | BIT(7));
    if (BIT(20)) {
        o->writes = RD == 15 ? 0 : core(RD), o->latency = 2, o->float_reads = floats;
        if (!floats) o->issue = 2;
    } else {
        o->reads = core(RD), o->float_writes = floats, o->float_latency = 4;
        if (!floats) o->issue = 8;
    }
}

static void divide(Insn *o, int twofold) { o->float_unit = twofold ? 29 : 15, o->float_latency = twofold ? 33 : 19; }

/* Operations on one float, by the number that stands where others have an operand. */
static void compute_float(Insn *o, uint32_t w, int twofold) {
    uint32_t kind = RN << 1 | BIT(7);
    uint32_t to = RD << 1 | BIT(22), from = RM << 1 | BIT(5);
    uint64_t d = twofold ? twice(RD) : single(to);
    o->float_reads = twofold ? twice(RM) : single(from), o->float_latency = CONVERSIONS;
    if (kind == 3) divide(o, twofold); /* square root */
    else if (kind >= 8 && kind <= 11) o->float_reads |= d, o->float_writes = 0; /* compare */
    else if (kind == 15) o->float_writes = twofold ? single(to) : twice(RD);
    else if (kind >= 24) o->float_latency = FLOATS, o->float_writes = single(to);
    else if (kind >= 16) o->float_latency = FLOATS, o->float_reads = single(from);
}

static void compute_floats(Insn *o, uint32_t w) {
    int twofold = RS & 1;
    uint32_t kind = BIT(23) << 3 | ((w >> 20) & 3) << 1 | BIT(6);
    uint64_t d = twofold ? twice(RD) : single(RD << 1 | BIT(22));
    uint64_t n = twofold ? twice(RN) : single(RN << 1 | BIT(7)), m = twofold ? twice(RM) : single(RM << 1 | BIT(5));
    o->float_unit = 1, o->float_latency = FLOATS, o->float_writes = d, o->float_reads = n | m;
    if (kind < 4) o->float_reads |= d; /* multiply and add */
    if (kind < 6 && twofold) o->float_unit = 2, o->float_latency = DOUBLES;
    if (kind == 8) divide(o, twofold);
    else if (kind > 8) compute_float(o, w, twofold);
}

static void coprocessor(Insn *o, uint32_t w) {
    if ((RS & 14) != 10) {
        if (BIT(4) && BIT(20)) o->writes = core(RD) & 0x7fff, o->latency = 3;
    } else if (BIT(4)) move_float(o, w);
    else compute_floats(o, w);
}

static Branch unconditional(Insn *o, uint32_t w) {
    if ((w & 0x0e000000) == 0x0a000000) return o->writes = core(14), CALL; /* BLX */
    if ((w & 0x0d70f000) == 0x0550f000) o->unit = 1, o->early = core(RN);  /* PLD */
    return NO_BRANCH;
}

Branch decoded(Insn *o, uint32_t w) {
    *o = (Insn){.issue = 1, .latency = 1};
    if (w >> 28 == 15) return unconditional(o, w);
    switch ((w >> 25) & 7) {
    case 0: return registers(o, w);
    case 1: return (w & 0x0fb00000) == 0x03200000 ? NO_BRANCH : arithmetic(o, w);
    case 2: return load_or_store_word(o, w);
    case 3: return BIT(4) ? media(o, w), NO_BRANCH : load_or_store_word(o, w);
    case 4: return load_or_store_many(o, w);
    case 5:
        if (!BIT(24)) return w >> 28 == 14 ? ALWAYS : IF;
        return o->writes = core(14), CALL;
    case 6: return move_floats(o, w), NO_BRANCH;
    default: return BIT(24) ? NO_BRANCH : (coprocessor(o, w), NO_BRANCH);
    }
}
