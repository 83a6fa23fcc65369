// Spends 60, 30 and 10 percent of its CPU time in three functions, under the same three callers, for as many seconds as it
// is told; then prints what it really spent. Tests find the marked lines by their marks.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"

#define NOINLINE __attribute__((noinline, noclone))

static volatile uint64_t sink;
static uint64_t spent[3];

static inline __attribute__((always_inline)) uint64_t mix(uint64_t x) {
    return ((x * 6364136223846793005u) ^ (x >> 29)) * 2862933555777941757u + ((x << 7) ^ (x >> 3)); // mark: mix
}

// By CPU time and not by work, so that neither alignment nor the clock's frequency bends the shares.
#define BURN(name, slot, ms)                                         \
    NOINLINE static void name(void) {                                \
        uint64_t begun = clock_ns(CLOCK_THREAD_CPUTIME_ID), now;     \
        uint64_t x = begun;                                          \
        do {                                                         \
            for (int i = 0; i < 20000; i++) x = mix(x);              \
            now = clock_ns(CLOCK_THREAD_CPUTIME_ID);                 \
        } while (now - begun < (ms) * UINT64_C(1000000));            \
        sink = x;                                                    \
        spent[slot] += now - begun;                                  \
    }

BURN(burn_60, 0, 30) // mark: burn_60
BURN(burn_30, 1, 15) // mark: burn_30
BURN(burn_10, 2, 5)  // mark: burn_10

NOINLINE static void inner(int which) {
    if (which == 0) burn_60(); // mark: call of burn_60
    if (which == 1) burn_30(); // mark: call of burn_30
    if (which == 2) burn_10(); // mark: call of burn_10
    sink++;
}

NOINLINE static void outer(int which) {
    inner(which); // mark: call of inner
    sink++;
}

int main(int argc, char **argv) {
    uint64_t end = clock_ns(CLOCK_MONOTONIC) + (uint64_t)(argc > 1 ? atof(argv[1]) * 1e9 : 30e9);
    while (clock_ns(CLOCK_MONOTONIC) < end)
        for (int which = 0; which < 3; which++) outer(which); // mark: call of outer
    printf("{\"cpu_ns\":%" PRIu64 ",\"burn_60\":%" PRIu64 ",\"burn_30\":%" PRIu64 ",\"burn_10\":%" PRIu64 "}\n",
           clock_ns(CLOCK_PROCESS_CPUTIME_ID), spent[0], spent[1], spent[2]);
    return 0;
}
