// Looks like a JVM as far as it can: code of its own making, a library called libjvm.so (the file that it is told second). It does not
// handle SIGQUIT, which therefore ends it. Burns for as many seconds as it is told first.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"

int main(int count, char **arguments) {
    uint64_t end = clock_ns(CLOCK_MONOTONIC) + (uint64_t)(atof(arguments[1]) * 1e9);
    int library = open(arguments[2], O_RDONLY);
    if (mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, library, 0) == MAP_FAILED) return 1;
    // push rbp; mov rbp, rsp; mov ecx, 1000000; dec ecx; jnz -4; pop rbp; ret
    static const unsigned char code[] = "\x55\x48\x89\xe5\xb9\x40\x42\x0f\x00\xff\xc9\x75\xfc\x5d\xc3";
    void *memory = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(memory, code, sizeof code);
    if (mprotect(memory, 4096, PROT_READ | PROT_EXEC)) return 1;
    while (clock_ns(CLOCK_MONOTONIC) < end) ((void (*)(void))memory)();
    return 0;
}
