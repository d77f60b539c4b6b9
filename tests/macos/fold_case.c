/* A disk that does not tell upper from lower case, and keeps names as they were created, as the usual disk of a Mac. To
 * be loaded by LD_PRELOAD: below the directory FOLD_CASE, the last part of a path is also found in other letters. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static const char *fold(const char *path, char *folded, size_t size)
{
    const char *top = getenv("FOLD_CASE"), *name = strrchr(path, '/');
    struct dirent *entry;

    if (!top || strncmp(path, top, strlen(top)) || !name || !NEXT(faccessat)(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW))
        return path;
    snprintf(folded, size, "%.*s", (int)(name - path), path);
    DIR *directory = opendir(folded);
    while (directory && (entry = readdir(directory)))
        if (!strcasecmp(entry->d_name, name + 1)) {
            snprintf(folded, size, "%.*s/%s", (int)(name - path), path, entry->d_name);
            path = folded;
            break;
        }
    if (directory)
        closedir(directory);
    return path;
}

#define FOLDED(path) fold(path, (char[4096]){0}, 4096)

int open64(const char *path, int flags, ...)
{
    va_list rest;

    va_start(rest, flags);
    int mode = va_arg(rest, int);
    va_end(rest);
    return NEXT(open64)(FOLDED(path), flags, mode);
}

int stat64(const char *path, struct stat64 *found) { return NEXT(stat64)(FOLDED(path), found); }
int lstat64(const char *path, struct stat64 *found) { return NEXT(lstat64)(FOLDED(path), found); }
int fstatat64(int at, const char *path, struct stat64 *found, int flags)
{
    return NEXT(fstatat64)(at, FOLDED(path), found, flags);
}
int unlink(const char *path) { return NEXT(unlink)(FOLDED(path)); }
int access(const char *path, int mode) { return NEXT(access)(FOLDED(path), mode); }
int rename(const char *from, const char *to) { return NEXT(rename)(FOLDED(from), FOLDED(to)); }
