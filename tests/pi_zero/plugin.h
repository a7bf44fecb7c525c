/* What is needed of the interface between QEMU and its plugins, version 1 (QEMU 4.2 to 8.x), for which Debian has no
   header: https://www.qemu.org/docs/master/devel/tcg-plugins.html */

#ifndef PI_ZERO_PLUGIN_H
#define PI_ZERO_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORTED __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { QEMU_PLUGIN_CB_NO_REGS = 0, QEMU_PLUGIN_MEM_RW = 3 };

typedef void Translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block);
typedef void Executed(unsigned cpu, void *data);
typedef void Touched(unsigned cpu, uint32_t info, uint64_t address, void *data);
typedef void Called(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                    uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, Translated *act);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, Executed *act, int flags, void *data);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, Touched *act, int flags, int rw, void *data);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id, Called *act);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
bool qemu_plugin_mem_is_store(uint32_t info);

#endif
