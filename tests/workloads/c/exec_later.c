// Burns for so many seconds and then becomes another program: exec_later SECONDS PROGRAM ARGUMENT…
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"

static volatile uint64_t sink;

__attribute__((noinline, noclone)) static void before_exec(uint64_t end) {
    while (clock_ns(CLOCK_MONOTONIC) < end)
        for (int i = 0; i < 200000; i++) sink += i;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    before_exec(clock_ns(CLOCK_MONOTONIC) + (uint64_t)(atof(argv[1]) * 1e9));
    execv(argv[2], argv + 2);
    return 127;
}
