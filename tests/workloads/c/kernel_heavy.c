// Is nearly always inside the kernel: one thread fills a buffer from /dev/zero.
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"

static char buffer[1 << 20];

__attribute__((noinline, noclone)) static long read_zeros(int file) {
    long n = 0;
    for (int i = 0; i < 64; i++) n += read(file, buffer, sizeof buffer);
    return n;
}

__attribute__((noinline, noclone)) static long fill(int file) {
    long n = read_zeros(file);
    return n + buffer[0];
}

int main(int argc, char **argv) {
    uint64_t end = clock_ns(CLOCK_MONOTONIC) + (uint64_t)(argc > 1 ? atof(argv[1]) * 1e9 : 30e9);
    int file = open("/dev/zero", O_RDONLY);
    long n = 0;
    while (clock_ns(CLOCK_MONOTONIC) < end) n += fill(file);
    return n == 42;
}
