// Spins for argv[1] seconds with a frame pointer that leads up into memory that is not there, as a damaged stack has it.
#include <stdlib.h>

#include "clock.h"

// Above every stack, below the end of user memory, and never mapped.
#define NOWHERE 0x7ffffffde000

__attribute__((noinline)) static void spin(uint64_t end) {
    while (clock_ns(CLOCK_MONOTONIC) < end) {
        __asm__ volatile(
            "push %%rbp\n\t"
            "mov %[nowhere], %%rbp\n\t"
            "mov $20000000, %%ecx\n"
            "1:\n\t"
            "dec %%ecx\n\t"
            "jnz 1b\n\t"
            "pop %%rbp"
            :
            : [nowhere] "r"(NOWHERE)
            : "rcx", "cc", "memory");
    }
}

int main(int argc, char **argv) {
    spin(clock_ns(CLOCK_MONOTONIC) + (uint64_t)((argc > 1 ? atof(argv[1]) : 5) * 1e9));
    return 0;
}
