/* A stand-in for the parts of macOS's libproc and sysctl(3) that mrmd_python/runtime/libproc.py calls, made of /proc.
 *
 * Where macOS hides something, this does too. A process's coalition is its limit of message queues, which the stand-in
 * for launchd sets and nothing changes. Linux forgets who forked an orphan: this knows it only if some process has
 * asked for it before, in a file for each process. */
#define _GNU_SOURCE
#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char directory[4096];

struct facts {
    int parent, group;
    char state;
    unsigned long long start;
    uint64_t unique;
};

void set_directory(const char *path) { snprintf(directory, sizeof directory, "%s", path); }

static ssize_t content(int pid, const char *name, char *data, size_t size)
{
    char path[64];
    ssize_t length = 0, count;

    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return -1;
    while (length < (ssize_t)size && (count = read(file, data + length, size - length)) > 0)
        length += count;
    close(file);
    return length;
}

static int facts_of(int pid, struct facts *found)
{
    char data[4096] = "";
    char *rest;

    if (content(pid, "stat", data, sizeof data - 1) <= 0 || !(rest = strrchr(data, ')')))
        return -1;
    sscanf(rest + 2, "%c %d %d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &found->state,
           &found->parent, &found->group, &found->start);
    found->unique = (uint64_t)found->start << 22 | pid;
    return found->state == 'Z' || found->state == 'X' ? -1 : 0; /* proc_pidinfo() finds no zombies */
}

static uint64_t forked_by(const struct facts *facts)
{
    char path[4200];
    struct facts parent;
    uint64_t found = 1;

    snprintf(path, sizeof path, "%s/%" PRIu64, directory, facts->unique);
    FILE *file = fopen(path, "r");
    if (file) {
        if (fscanf(file, "%" SCNu64, &found) != 1)
            found = 1;
        fclose(file);
        return found;
    }
    if (facts->parent > 1 && !facts_of(facts->parent, &parent))
        found = parent.unique;
    if ((file = fopen(path, "w"))) {
        fprintf(file, "%" PRIu64, found);
        fclose(file);
    }
    return found;
}

static int is_ours(int pid, struct stat *status)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d", pid);
    return !stat(path, status) && status->st_uid == geteuid();
}

static void put(void *data, size_t offset, const void *value, size_t size) { memcpy((char *)data + offset, value, size); }

int proc_listallpids(void *buffer, int size)
{
    int *pids = buffer, count = 0;
    DIR *proc = opendir("/proc");
    struct dirent *entry;

    while (proc && (entry = readdir(proc)) && count < size / (int)sizeof(int))
        if (atoi(entry->d_name) > 0)
            pids[count++] = atoi(entry->d_name);
    if (proc)
        closedir(proc);
    return count;
}

int proc_pidinfo(int pid, int flavor, uint64_t arg, void *buffer, int size)
{
    struct facts facts;
    struct stat owner;
    struct rlimit limit;
    int ours = is_ours(pid, &owner);

    (void)arg;
    memset(buffer, 0, size);
    if (facts_of(pid, &facts))
        return 0;
    if (flavor == 3 && size == 136 && ours) { /* PROC_PIDTBSDINFO */
        struct timespec boot, now;
        clock_gettime(CLOCK_BOOTTIME, &boot);
        clock_gettime(CLOCK_REALTIME, &now);
        uint64_t start = now.tv_sec - boot.tv_sec + facts.start / sysconf(_SC_CLK_TCK);
        put(buffer, 120, &start, 8);
    } else if (flavor == 13 && size == 64) { /* PROC_PIDT_SHORTBSDINFO */
        uint32_t words[] = {pid, facts.parent, facts.group, 3}, users[] = {0, owner.st_uid, owner.st_gid, owner.st_uid};
        put(buffer, 0, words, sizeof words);
        put(buffer, 32, users, sizeof users);
    } else if (flavor == 17 && size == 56) { /* PROC_PIDUNIQIDENTIFIERINFO */
        uint64_t ids[] = {facts.unique, forked_by(&facts)};
        put(buffer, 16, ids, sizeof ids);
    } else if (flavor == 20 && size == 40) { /* PROC_PIDCOALITIONINFO */
        if (prlimit(pid, RLIMIT_MSGQUEUE, NULL, &limit))
            return 0;
        uint64_t ids[] = {limit.rlim_max, limit.rlim_max + 1};
        put(buffer, 0, ids, sizeof ids);
    } else {
        return 0;
    }
    return size;
}

int proc_pid_rusage(int pid, int flavor, void *buffer)
{
    char data[256] = "";
    struct stat owner;
    unsigned long long pages;

    if (flavor || !is_ours(pid, &owner) || content(pid, "statm", data, sizeof data - 1) <= 0)
        return -1;
    sscanf(data, "%*u %llu", &pages);
    uint64_t bytes = pages * sysconf(_SC_PAGESIZE);
    memset(buffer, 0, 96);
    put(buffer, 72, &bytes, 8);
    return 0;
}

int sysctl(int *name, unsigned count, void *old, size_t *size, void *new, size_t new_size)
{
    char path[64], program[4096] = "", *data = old;
    struct stat owner;
    int arguments = 0;

    (void)new, (void)new_size;
    if (count != 3 || name[0] != 1 || name[1] != 49 || !is_ours(name[2], &owner)) /* KERN_PROCARGS2 */
        return errno = EINVAL, -1;
    snprintf(path, sizeof path, "/proc/%d/exe", name[2]);
    if (readlink(path, program, sizeof program - 1) < 0)
        return errno = EINVAL, -1;
    size_t length = 4 + strlen(program) + 1;
    memcpy(data + 4, program, length - 4);
    while (length % 8)
        data[length++] = 0;
    ssize_t words = content(name[2], "cmdline", data + length, *size - length);
    for (ssize_t at = 0; at < words; at++)
        arguments += !data[length + at];
    memcpy(data, &arguments, 4);
    length += words < 0 ? 0 : words;
    int hidden = !strncmp(program, "/usr/bin/", 9) || !strncmp(program, "/bin/", 5);
    words = hidden ? 0 : content(name[2], "environ", data + length, *size - length);
    length += words < 0 ? 0 : words;
    memcpy(data + length, "\0executable_path=x", 19);
    *size = length + 19;
    return 0;
}

int sysctlbyname(const char *name, void *old, size_t *size, void *new, size_t new_size)
{
    char id[37] = "";
    int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

    (void)new, (void)new_size;
    if (strcmp(name, "kern.bootsessionuuid") || file < 0 || read(file, id, 36) != 36)
        return -1;
    close(file);
    for (char *at = id; *at; at++)
        *at = *at >= 'a' && *at <= 'f' ? *at - 'a' + 'A' : *at;
    memcpy(old, id, *size = 37);
    return 0;
}
