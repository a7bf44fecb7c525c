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

       cc -O2 -shared -fPIC -fvisibility=hidden arm1176.c decode.c -o arm1176.so
       qemu-arm -cpu arm1176 -plugin arm1176.so,out=costs.txt program */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decode.h"
#include "plugin.h"

EXPORTED int qemu_plugin_version = 1;

enum { MARK = 0x50554C53, BEGIN = 1, END = 2, PRCTL = 172 };
enum { SECOND_CACHE = 25, MEMORY = 120, PAGE_WALK = 60, MICRO_TLB = 3, LOST_STORE = 2 }; /* cycles, assumed */
enum { CPUS = 64, REGIONS = 64, FIRST_SETS = 128, SECOND_SETS = 512, WAYS = 4, PAGES = 32, MICRO = 10, TARGETS = 128 };
enum { RETURNS = 3, SURE = 3, TAKEN = 2 };

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
