/* Stands for NVIDIA's libnvidia-ml.so.1 and the driver behind it (NVML API Reference), on machines without a GPU.

   It answers from the file that STANDIN_GPUS names. Each line is one of

     init CODE                  the result of the initialization: 0 is success, -1 never to return
     gpu INDEX NAME             a GPU
     lost INDEX                 it has fallen off the bus
     mig INDEX PART             the GPU is divided, and has a MIG device with this index
     compute INDEX PART PID BYTES
     graphics INDEX PART PID BYTES
                                a process on it; PART is -1 where the GPU is not divided; BYTES -1 means unknown
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, GPU_IS_LOST = 15 };
enum { GPUS = 8, PARTS = 8, PROCESSES = 64 };

struct entry { unsigned pid; unsigned long long bytes; unsigned instance, compute_instance; };
struct process { char kind; int gpu, part; struct entry entry; };
/* What a handle points to; part -1 is the whole GPU. */
struct device { int gpu, part; };

static char names[GPUS][96];
static int count, lost[GPUS], divided[GPUS], has_part[GPUS][PARTS], processes;
static struct process process[PROCESSES];
static struct device handles[GPUS][PARTS + 1];

int nvmlInitWithFlags(unsigned flags) {
    char line[256], name[96];
    int result = SUCCESS, gpu, part, pid;
    long long bytes;
    FILE *file = fopen(getenv("STANDIN_GPUS"), "r");
    (void)flags;
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "init %d", &result) == 1) continue;
        if (sscanf(line, "gpu %d %95[^\n]", &gpu, name) == 2) { strcpy(names[gpu], name); count = gpu + 1; }
        else if (sscanf(line, "lost %d", &gpu) == 1) lost[gpu] = 1;
        else if (sscanf(line, "mig %d %d", &gpu, &part) == 2) divided[gpu] = has_part[gpu][part] = 1;
        else if (sscanf(line, "%*s %d %d %d %lld", &gpu, &part, &pid, &bytes) == 4)
            process[processes++] = (struct process){line[0], gpu, part, {pid, (unsigned long long)bytes, 0, 0}};
    }
    if (file) fclose(file);
    while (result == -1) pause();
    return result;
}

static struct device *handle(int gpu, int part) {
    handles[gpu][part + 1] = (struct device){gpu, part};
    return &handles[gpu][part + 1];
}

int nvmlDeviceGetCount_v2(unsigned *found) { *found = count; return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned gpu, struct device **device) {
    *device = handle(gpu, -1);
    return lost[gpu] ? GPU_IS_LOST : SUCCESS;
}

int nvmlDeviceGetName(struct device *device, char *name, unsigned length) {
    snprintf(name, length, "%s", names[device->gpu]);
    return SUCCESS;
}

int nvmlDeviceGetMigMode(struct device *device, unsigned *current, unsigned *pending) {
    *current = *pending = divided[device->gpu];
    return device->gpu || *current ? SUCCESS : NOT_SUPPORTED; /* GPU 0 is too old for it */
}

int nvmlDeviceGetMaxMigDeviceCount(struct device *device, unsigned *found) {
    (void)device;
    *found = PARTS;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(struct device *device, unsigned part, struct device **found) {
    *found = handle(device->gpu, part);
    return has_part[device->gpu][part] ? SUCCESS : NOT_FOUND;
}

static int list(struct device *device, char kind, unsigned *size, struct entry *entries) {
    unsigned found = 0;
    if (divided[device->gpu] && device->part == -1) return NO_PERMISSION;
    if (device->part != -1 && kind == 'g') return NOT_SUPPORTED;
    for (int i = 0; i < processes; i++) {
        struct process *each = &process[i];
        if (each->kind != kind || each->gpu != device->gpu || each->part != device->part) continue;
        if (found < *size) entries[found] = each->entry;
        found++;
    }
    int fits = found <= *size;
    *size = found;
    return fits ? SUCCESS : INSUFFICIENT_SIZE;
}

#ifndef OLD_DRIVER /* before 510 */
int nvmlDeviceGetComputeRunningProcesses_v3(struct device *device, unsigned *size, struct entry *entries) {
    return list(device, 'c', size, entries);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(struct device *device, unsigned *size, struct entry *entries) {
    return list(device, 'g', size, entries);
}
#endif
