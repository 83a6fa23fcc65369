/* Stacks that are hard to walk, one a mode: ./walks MODE [N]. Runs until it is killed, or SECONDS in the environment.
 * Compiled without frame pointers and in many ways; functions are kept apart from each other and from the optimizer. */
#define _GNU_SOURCE
#include <alloca.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define APART __attribute__((noinline, noclone))

static volatile uint64_t sink;
static int depth = 1;

/* Works a little, and keeps its caller's frame: what is returned is used there. */
APART uint64_t spin(uint64_t seed) {
    for (int i = 0; i < 20000; i++)
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    sink += seed;
    return seed;
}

#define LEVEL(name, next)                                                                                              \
    APART uint64_t name(uint64_t seed) {                                                                               \
        uint64_t result = next(seed + 1);                                                                              \
        sink += result;                                                                                                \
        return result + 1;                                                                                             \
    }
LEVEL(level9, spin)
LEVEL(level8, level9)
LEVEL(level7, level8)
LEVEL(level6, level7)
LEVEL(level5, level6)
LEVEL(level4, level5)
LEVEL(level3, level4)
LEVEL(level2, level3)
LEVEL(level1, level2)

APART uint64_t recurse(int left) {
    uint64_t result = left > 1 ? recurse(left - 1) : spin(left);
    sink += result;
    return result + 1;
}

static int compare(const void *left, const void *right) {
    spin(1);
    return *(const int *)left - *(const int *)right;
}

APART void sort_some(void) {
    int numbers[64];
    for (int i = 0; i < 64; i++)
        numbers[i] = (i * 37) % 64;
    qsort(numbers, 64, sizeof numbers[0], compare);
    sink += numbers[0];
}

APART void read_some(void) {
    static char bytes[1 << 16];
    static int zero = -1;
    if (zero < 0) {
        FILE *file = fopen("/dev/zero", "r");
        zero = dup(fileno(file));
        fclose(file);
    }
    sink += read(zero, bytes, sizeof bytes);
}

static void handler(int signal) {
    (void)signal;
    for (int i = 0; i < 200; i++)
        spin(i);
}

APART void raise_some(void) {
    raise(SIGUSR1);
    sink++;
}

APART void ask_the_time(void) {
    struct timespec now;
    for (int i = 0; i < 1000; i++) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        sink += now.tv_nsec;
    }
}

/* A frame whose size the compiler does not know: it needs rbp, or another register, as its base. */
APART uint64_t varying(int n) {
    volatile char *some = alloca(16 + n % 1000);
    char more[n % 100 + 1];
    memset(more, n, sizeof more);
    some[0] = more[n % sizeof more];
    uint64_t result = spin(some[0]);
    sink += result + more[0];
    return result;
}

/* A frame that is aligned to more than the ABI does. */
APART uint64_t aligned(uint64_t seed) {
    volatile uint64_t wide[8] __attribute__((aligned(64)));
    wide[seed % 8] = seed;
    uint64_t result = spin(wide[seed % 8]);
    sink += (uint64_t)(uintptr_t)&wide;
    return result + wide[0];
}

/* musl has no ucontext functions. */
#ifdef __GLIBC__
static ucontext_t outside, inside;
static void coroutine(void) {
    for (;;) {
        level1(1);
        swapcontext(&inside, &outside);
    }
}

static void make_coroutine(void) {
    getcontext(&inside);
    inside.uc_stack.ss_sp = malloc(1 << 18);
    inside.uc_stack.ss_size = 1 << 18;
    inside.uc_link = NULL;
    makecontext(&inside, coroutine, 0);
}

static void resume_coroutine(void) { swapcontext(&outside, &inside); }
#else
static void make_coroutine(void) { exit(2); }
static void resume_coroutine(void) {}
#endif

static void *thread_main(void *argument) {
    for (;;)
        level1((uintptr_t)argument);
    return NULL;
}

APART void run(const char *mode) {
    if (!strcmp(mode, "chain"))
        level1(1);
    else if (!strcmp(mode, "recurse"))
        recurse(depth);
    else if (!strcmp(mode, "qsort"))
        sort_some();
    else if (!strcmp(mode, "read"))
        read_some();
    else if (!strcmp(mode, "signal"))
        raise_some();
    else if (!strcmp(mode, "vdso"))
        ask_the_time();
    else if (!strcmp(mode, "varying"))
        varying(depth++ % 5000);
    else if (!strcmp(mode, "aligned"))
        aligned(depth++);
    else if (!strcmp(mode, "coroutine"))
        resume_coroutine();
    else if (!strcmp(mode, "threads"))
        usleep(10000);
    else
        exit(2);
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "chain";
    if (argc > 2)
        depth = atoi(argv[2]);
    if (!strcmp(mode, "signal")) {
        stack_t stack = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};
        sigaltstack(&stack, NULL);
        struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
        sigaction(SIGUSR1, &action, NULL);
    }
    if (!strcmp(mode, "coroutine"))
        make_coroutine();
    if (!strcmp(mode, "threads")) {
        pthread_t thread;
        for (int i = 0; i < depth; i++)
            pthread_create(&thread, NULL, thread_main, (void *)(uintptr_t)i);
    }
    const char *seconds = getenv("SECONDS");
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double end = seconds ? now.tv_sec + now.tv_nsec / 1e9 + atof(seconds) : 1e18;
    do {
        for (int i = 0; i < 20; i++)
            run(mode);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec + now.tv_nsec / 1e9 < end);
    return 0;
}
