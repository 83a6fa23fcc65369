/* Makes every open of a file hang, as a file system does that never answers, until it is killed. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/fanotify.h>
#include <unistd.h>

int main(int argc, char **argv) {
    int group = fanotify_init(FAN_CLASS_CONTENT, O_RDONLY);
    if (argc != 2 || group < 0 || fanotify_mark(group, FAN_MARK_ADD, FAN_OPEN_PERM, AT_FDCWD, argv[1])) {
        perror("fanotify");
        return 1;
    }
    puts("hanging");
    fflush(stdout);
    for (;;)
        pause();
}
