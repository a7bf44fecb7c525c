/* A QEMU plugin that estimates what a program costs on an ARM1176JZF-S, the processor of a Pi Zero.

   It watches every instruction of 32 bits (A32) and keeps time as a pipeline does that issues one after the other: an
   instruction waits for the registers that it reads, for the unit of loads and stores and for that of floats; a
   branch that was not foreseen costs what the pipeline takes to fill; what is not in the caches costs what is behind
   them. Issue cycles and latencies are those of ARM's manual DDI0301H, chapter 16 and table 21-16, caches (16 kB
   each, 4 ways, lines of 32 bytes, replaced at random) and branch prediction too. No source was found for what a
   second cache of 128 kB, memory and a walk through the page tables take: the constants below are assumptions. PLD
   does nothing, loads do not overlap, and the kernel's own time is not there. Against two published figures of a Pi 1
   the model was 3 % fast (sysbench, integers) and 14 % slow (OpenBLAS); no figure for Python was found.

   The program marks regions by prctl(MARK, BEGIN or END, number). Each end appends a line to the file that the argument
   `out` names: number, instructions, cycles.

       cc -O2 -shared -fPIC -fvisibility=hidden arm1176.c -o arm1176.so
       qemu-arm -cpu arm1176 -plugin arm1176.so,out=costs.txt program */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin.h"

EXPORTED int qemu_plugin_version = 1;

enum { MARK = 0x50554C53, BEGIN = 1, END = 2, PRCTL = 172 };
enum { SECOND_CACHE = 25, MEMORY = 120, PAGE_WALK = 60, MICRO_TLB = 3, LOST_STORE = 2 }; /* cycles, assumed */
enum { FLOATS = 8, DOUBLES = 9, CONVERSIONS = 4, LOADS = 3 };                             /* cycles of latency */
enum { CPUS = 64, REGIONS = 64, FIRST_SETS = 128, SECOND_SETS = 512, WAYS = 4, PAGES = 32, MICRO = 10, TARGETS = 128 };
enum { RETURNS = 3, SURE = 3, TAKEN = 2 };

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

/* Instructions that follow each other, up to a branch. */
typedef struct {
    uint32_t start, end, target;
    int count;
    Branch branch;
    Insn *insn;
} Run;

typedef struct {
    uint64_t insns, cycles;
} Cost;

typedef struct {
    Cost cost, begun[REGIONS];
    uint64_t ready[16], float_ready[32], unit_free, floats_free, waited; /* cycles */
    uint32_t data[FIRST_SETS][WAYS], code[FIRST_SETS][WAYS], pages[PAGES][2]; /* tags */
    uint32_t micro[2][MICRO];
    int oldest[2];
    struct {
        uint32_t tag;
        int taken;
    } target[TARGETS];
    uint32_t returns[RETURNS];
    int calls;
    const Run *before;
} Cpu;

static Cpu cpus[CPUS];
static uint32_t second[SECOND_SETS][WAYS];
static FILE *out;
static uint32_t noise = 0xACE1;

static uint32_t random_way(uint32_t ways) {
    noise = (noise >> 1) ^ (-(noise & 1u) & 0xB400u);
    return noise & (ways - 1);
}

/* Whether a tag is there; one that is not takes the place of another if it is `kept`. */
static int cached(uint32_t *set, uint32_t ways, uint32_t tag, int kept) {
    for (uint32_t way = 0; way < ways; way++)
        if (set[way] == tag) return 1;
    if (kept) set[random_way(ways)] = tag;
    return 0;
}

/* What is waited for behind the first cache. */
static int behind(uint32_t address) {
    uint32_t line = address / 64;
    return cached(second[line % SECOND_SETS], WAYS, line + 1, 1) ? SECOND_CACHE : MEMORY;
}

/* The wait for the address of a page, of data (0) or code (1). */
static int translated(Cpu *cpu, uint32_t address, int kind) {
    uint32_t page = address / 4096 + 1;
    for (int i = 0; i < MICRO; i++)
        if (cpu->micro[kind][i] == page) return 0;
    cpu->micro[kind][cpu->oldest[kind]] = page;
    cpu->oldest[kind] = (cpu->oldest[kind] + 1) % MICRO;
    return cached(cpu->pages[page % PAGES], 2, page, 1) ? MICRO_TLB : PAGE_WALK;
}

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

static Branch decoded(Insn *o, uint32_t w) {
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

/* What a branch to a known place costs: remembered ones are foreseen, others if they are taken backwards. */
static int direct(Cpu *cpu, const Run *run, int taken) {
    uint32_t place = run->end - 4, slot = (place >> 3) % TARGETS;
    if (cpu->target[slot].tag == place) {
        int *seen = &cpu->target[slot].taken, foreseen = (*seen >= TAKEN) == taken;
        if (taken && *seen < SURE) ++*seen;
        if (!taken && *seen) --*seen;
        return foreseen ? 0 : 5;
    }
    if (taken) cpu->target[slot].tag = place, cpu->target[slot].taken = SURE;
    if ((run->branch != IF || run->target <= place) != taken) return 5;
    return taken ? 3 : 0;
}

static int returned(Cpu *cpu, uint32_t to) {
    if (cpu->calls <= 0) return 7;
    uint32_t *place = &cpu->returns[--cpu->calls % RETURNS];
    if (*place != to) return 7;
    *place = 0;
    return 3;
}

/* What the branch at the end of a run costs, now that it is known where it went. */
static int branched(Cpu *cpu, const Run *run, uint32_t to) {
    int taken = to != run->end, cost;
    switch (run->branch) {
    case NO_BRANCH: return 0;
    case INDIRECT: return taken ? 5 : 0;
    case LOADED: return taken ? 7 : 0;
    case RETURN: return taken ? returned(cpu, to) : 0;
    case INDIRECT_CALL: cost = 5; break;
    default: cost = direct(cpu, run, taken);
    }
    if (run->branch == INDIRECT_CALL || (run->branch == CALL && taken)) cpu->returns[cpu->calls++ % RETURNS] = run->end;
    return cost;
}

static int fetched(Cpu *cpu, const Run *run) {
    int wait = 0;
    for (uint32_t address = run->start & ~31u; address < run->end; address += 32) {
        uint32_t line = address / 32;
        if (!cached(cpu->code[line % FIRST_SETS], WAYS, line + 1, 1)) wait += behind(address);
    }
    return wait + translated(cpu, run->start, 1);
}

static uint64_t later(uint64_t x, uint64_t y) { return x > y ? x : y; }

/* When an instruction can begin. */
static uint64_t begins(const Cpu *cpu, const Insn *o, uint64_t now) {
    for (uint32_t set = o->reads; set; set &= set - 1) now = later(now, cpu->ready[__builtin_ctz(set)]);
    for (uint32_t set = o->early; set; set &= set - 1) {
        uint64_t ready = cpu->ready[__builtin_ctz(set)];
        if (ready) now = later(now, ready + 1);
    }
    for (uint32_t set = o->late; set; set &= set - 1) {
        uint64_t ready = cpu->ready[__builtin_ctz(set)];
        if (ready > now + 1) now = ready - 1;
    }
    for (uint64_t set = o->float_reads | o->float_writes; set; set &= set - 1)
        now = later(now, cpu->float_ready[__builtin_ctzll(set)]);
    if (o->unit) now = later(now, cpu->unit_free);
    return o->float_unit ? later(now, cpu->floats_free) : now;
}

static void issue(Cpu *cpu, const Insn *o) {
    uint64_t at = begins(cpu, o, cpu->cost.cycles);
    int number = 0;
    if (o->unit) cpu->unit_free = at + (uint64_t)o->unit;
    if (o->float_unit) cpu->floats_free = at + (uint64_t)o->float_unit;
    for (uint32_t set = o->writes; set; set &= set - 1, number++)
        cpu->ready[__builtin_ctz(set)] = at + (uint64_t)(o->latency + (o->many ? number / 2 : o->issue - 1));
    for (uint32_t set = o->based; set; set &= set - 1) cpu->ready[__builtin_ctz(set)] = at + 1;
    for (uint64_t set = o->float_writes; set; set &= set - 1)
        cpu->float_ready[__builtin_ctzll(set)] = at + (uint64_t)o->float_latency;
    cpu->cost.cycles = at + (uint64_t)o->issue;
}

static void wait_for_data(Cpu *cpu) { cpu->cost.cycles += cpu->waited, cpu->waited = 0; }

static void executed(unsigned number, void *data) {
    const Run *run = data;
    Cpu *cpu = &cpus[number % CPUS];
    wait_for_data(cpu);
    if (cpu->before) cpu->cost.cycles += (uint64_t)branched(cpu, cpu->before, run->start);
    cpu->before = run;
    cpu->cost.cycles += (uint64_t)fetched(cpu, run);
    cpu->cost.insns += (uint64_t)run->count;
    for (int i = 0; i < run->count; i++) issue(cpu, &run->insn[i]);
}

/* A load or store of the run that is executed: what was waited for is added before the next one. */
static void touched(unsigned number, uint32_t info, uint64_t where, void *data) {
    (void)data;
    Cpu *cpu = &cpus[number % CPUS];
    uint32_t address = (uint32_t)where, line = address / 32;
    int stores = qemu_plugin_mem_is_store(info), wait = translated(cpu, address, 0);
    if (!cached(cpu->data[line % FIRST_SETS], WAYS, line + 1, !stores)) {
        int cost = behind(address);
        wait += stores ? LOST_STORE : cost;
    }
    cpu->waited += (uint64_t)wait;
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void)id;
    Run *run = calloc(1, sizeof *run);
    run->count = (int)qemu_plugin_tb_n_insns(block);
    run->insn = calloc((size_t)run->count, sizeof *run->insn);
    run->start = (uint32_t)qemu_plugin_tb_vaddr(block);
    for (int i = 0; i < run->count; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, (size_t)i);
        uint32_t place = (uint32_t)qemu_plugin_insn_vaddr(insn), word;
        memcpy(&word, qemu_plugin_insn_data(insn), sizeof word);
        run->branch = decoded(&run->insn[i], word);
        run->target = place + 8 + (uint32_t)((int32_t)(word << 8) >> 6);
        run->end = place + (uint32_t)qemu_plugin_insn_size(insn);
        if (run->insn[i].unit)
            qemu_plugin_register_vcpu_mem_cb(insn, touched, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, NULL);
    }
    qemu_plugin_register_vcpu_tb_exec_cb(block, executed, QEMU_PLUGIN_CB_NO_REGS, run);
}

static void called(qemu_plugin_id_t id, unsigned number, int64_t call, uint64_t a1, uint64_t a2, uint64_t a3,
                   uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void)id, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (call != PRCTL || (uint32_t)a1 != MARK) return;
    Cpu *cpu = &cpus[number % CPUS];
    Cost *begun = &cpu->begun[a3 % REGIONS];
    wait_for_data(cpu);
    if (a2 == BEGIN) *begun = cpu->cost;
    if (a2 != END) return;
    fprintf(out, "%u %llu %llu\n", (unsigned)a3, (unsigned long long)(cpu->cost.insns - begun->insns),
            (unsigned long long)(cpu->cost.cycles - begun->cycles));
    fflush(out);
}

EXPORTED int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int count, char **arguments) {
    (void)info;
    if (count != 1 || strncmp(arguments[0], "out=", 4) != 0) return 1;
    out = fopen(arguments[0] + 4, "a");
    if (!out) return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
