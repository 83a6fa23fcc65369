// A library that is loaded late, and whose hot function is in no other file.
#include "clock.h"

static volatile uint64_t sink;

__attribute__((noinline, noclone)) void plugin_burn(uint64_t end) {
    while (clock_ns(CLOCK_MONOTONIC) < end)
        for (int i = 0; i < 200000; i++) sink += i;
}
