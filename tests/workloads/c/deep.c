// Burns at the bottom of a recursion of as many calls as it is told.
#include <stdlib.h>

#include "clock.h"

static volatile uint64_t sink;

__attribute__((noinline, noclone)) static void bottom(uint64_t end) {
    while (clock_ns(CLOCK_MONOTONIC) < end)
        for (int i = 0; i < 200000; i++) sink += i;
}

__attribute__((noinline, noclone)) static void recurse(int depth, uint64_t end) {
    if (depth == 1) bottom(end);
    else recurse(depth - 1, end);
    sink++;
}

int main(int argc, char **argv) {
    uint64_t end = clock_ns(CLOCK_MONOTONIC) + (uint64_t)(argc > 1 ? atof(argv[1]) * 1e9 : 30e9);
    recurse(argc > 2 ? atoi(argv[2]) : 120, end);
    return 0;
}
