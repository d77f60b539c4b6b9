/* For LD_PRELOAD: a file system that hangs, as NFS does when its server is away.
   mkdir and open of a path that contains $STALL_PATH wait for as long as the file $STALL_WHILE exists. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void stall(const char *path) {
    const char *part = getenv("STALL_PATH"), *file = getenv("STALL_WHILE");
    while (part && file && strstr(path, part) && access(file, F_OK) == 0)
        usleep(10000);
}

int mkdir(const char *path, mode_t mode) {
    stall(path);
    return ((int (*)(const char *, mode_t))dlsym(RTLD_NEXT, "mkdir"))(path, mode);
}

#define OPEN(name)                                                                           \
    int name(const char *path, int flags, ...) {                                             \
        va_list rest;                                                                        \
        va_start(rest, flags);                                                               \
        mode_t mode = va_arg(rest, mode_t);                                                  \
        va_end(rest);                                                                        \
        stall(path);                                                                         \
        return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name))(path, flags, mode); \
    }

OPEN(open)
OPEN(open64)
