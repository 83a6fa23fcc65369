/* Thousands of distinct stacks: each bit of a number decides who calls. Prints its CPU time at the end. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static volatile uint64_t sink;

static uint64_t ns_of(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

__attribute__((noinline)) static void go(unsigned bits, int depth);

__attribute__((noinline)) static void burn(void) {
    for (int i = 0; i < 20000; i++)
        sink = sink * 6364136223846793005u + 1442695040888963407u;
}

__attribute__((noinline)) static void zero(unsigned bits, int depth) {
    go(bits >> 1, depth - 1);
    sink++;
}

__attribute__((noinline)) static void one(unsigned bits, int depth) {
    go(bits >> 1, depth - 1);
    sink++;
}

static void go(unsigned bits, int depth) {
    if (depth == 0)
        burn();
    else if (bits & 1)
        one(bits, depth);
    else
        zero(bits, depth);
    sink++;
}

int main(int argc, char **argv) {
    uint64_t end = ns_of(CLOCK_MONOTONIC) + (uint64_t)atoi(argc > 1 ? argv[1] : "5") * 1000000000u;
    for (unsigned bits = 1; ns_of(CLOCK_MONOTONIC) < end; bits = bits * 1103515245u + 12345u)
        go(bits >> 8, 12);
    printf("{\"cpu_ns\": %llu, \"burn_60\": 0, \"burn_30\": 0, \"burn_10\": 0}\n",
           (unsigned long long)ns_of(CLOCK_PROCESS_CPUTIME_ID));
    return 0;
}
