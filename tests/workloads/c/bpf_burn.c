// Spends its CPU time inside BPF programs of its own, one after the other, each loaded right before and unloaded after: for as many
// seconds each as it is told first, under the names that follow. Prints a line when the first one runs.
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"

enum { LENGTH = 4000 };

static int load(const char *name) {
    static struct bpf_insn program[LENGTH];
    // r0 = 0; r0 = r0 * 3 + …; exit
    program[0] = (struct bpf_insn){.code = BPF_ALU64 | BPF_MOV | BPF_K};
    for (int i = 1; i < LENGTH - 2; i++)
        program[i] = (struct bpf_insn){.code = BPF_ALU64 | (i % 2 ? BPF_MUL : BPF_ADD) | BPF_K, .imm = 3};
    program[LENGTH - 2] = (struct bpf_insn){.code = BPF_ALU64 | BPF_MOV | BPF_K};
    program[LENGTH - 1] = (struct bpf_insn){.code = BPF_JMP | BPF_EXIT};
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
    attributes.insns = (unsigned long)program;
    attributes.insn_cnt = LENGTH;
    attributes.license = (unsigned long)"GPL";
    strncpy(attributes.prog_name, name, BPF_OBJ_NAME_LEN - 1);
    return syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes);
}

static int run(int program) {
    static char packet[64];
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.test.prog_fd = program;
    attributes.test.data_in = (unsigned long)packet;
    attributes.test.data_size_in = sizeof packet;
    attributes.test.repeat = 20000;
    return syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attributes, sizeof attributes);
}

int main(int count, char **arguments) {
    double seconds = atof(arguments[1]);
    for (int i = 2; i < count; i++) {
        int program = load(arguments[i]);
        if (program < 0) {
            printf("cannot load: %s\n", strerror(errno));
            return 1;
        }
        uint64_t end = clock_ns(CLOCK_MONOTONIC) + (uint64_t)(seconds * 1e9);
        if (i == 2) puts("running"), fflush(stdout);
        while (clock_ns(CLOCK_MONOTONIC) < end)
            if (run(program)) {
                printf("cannot run: %s\n", strerror(errno));
                return 1;
            }
        close(program);
    }
    return 0;
}
