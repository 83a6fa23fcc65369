// A library of 1,000 functions, entered in no order: as long as it burns, addresses are met that were not met before.
#include "clock.h"

static volatile uint64_t sink;

#define FUNCTION(n)                                                       \
    __attribute__((noinline, noclone)) static void function_##n(void) {   \
        for (int i = 0; i < 2000; i++) sink = sink * 31 + (n) + (sink >> 7); \
    }
#define ENTRY(n) function_##n,
#define TEN(M, n) M(n##0) M(n##1) M(n##2) M(n##3) M(n##4) M(n##5) M(n##6) M(n##7) M(n##8) M(n##9)
#define HUNDRED(M, n)                                                                       \
    TEN(M, n##0) TEN(M, n##1) TEN(M, n##2) TEN(M, n##3) TEN(M, n##4) TEN(M, n##5) TEN(M, n##6) \
    TEN(M, n##7) TEN(M, n##8) TEN(M, n##9)
#define THOUSAND(M, n)                                                                      \
    HUNDRED(M, n##0) HUNDRED(M, n##1) HUNDRED(M, n##2) HUNDRED(M, n##3) HUNDRED(M, n##4)     \
    HUNDRED(M, n##5) HUNDRED(M, n##6) HUNDRED(M, n##7) HUNDRED(M, n##8) HUNDRED(M, n##9)

THOUSAND(FUNCTION, 1)

static void (*const functions[])(void) = {THOUSAND(ENTRY, 1)};

__attribute__((noinline, noclone)) void plugin_burn(uint64_t end) {
    uint32_t random = 1;
    while (clock_ns(CLOCK_MONOTONIC) < end) {
        random = random * 1664525 + 1013904223;
        functions[(random >> 8) % 1000]();
        sink++;
    }
}
