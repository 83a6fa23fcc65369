// Burns for so many seconds, loads a library, and burns in it for as many, or others: loader SECONDS LIBRARY [SECONDS]
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"

static volatile uint64_t sink;

__attribute__((noinline, noclone)) static void before_load(uint64_t end) {
    while (clock_ns(CLOCK_MONOTONIC) < end)
        for (int i = 0; i < 200000; i++) sink += i;
}

__attribute__((noinline, noclone)) static void after_load(void (*burn)(uint64_t), uint64_t end) {
    burn(end);
    sink++;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    uint64_t seconds = (uint64_t)(atof(argv[1]) * 1e9);
    before_load(clock_ns(CLOCK_MONOTONIC) + seconds);
    void *library = dlopen(argv[2], RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 3;
    }
    if (argc > 3) seconds = (uint64_t)(atof(argv[3]) * 1e9);
    after_load((void (*)(uint64_t))dlsym(library, "plugin_burn"), clock_ns(CLOCK_MONOTONIC) + seconds);
    return 0;
}
