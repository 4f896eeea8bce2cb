/*
 * Faults of disk and clock for a process under test, by LD_PRELOAD.
 *
 * The file named by FAULT_CONTROL is mapped and read at every call, so that a test switches faults
 * while the process runs. Its layout is that of `struct control`; tests/fault/preload.py writes it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct control {
    int64_t clock_offset_ns; /* added to the time of day; the monotonic clock is left alone */
    int64_t spared_syncs;    /* how many of the next syncs pass before any fails */
    int64_t failing_syncs;   /* how many of those after them fail with EIO; negative: all */
    int64_t failed_syncs;    /* how many did */
};

static struct control *control(void) {
    static struct control *mapped;
    if (!mapped) {
        static struct control none;
        const char *path = getenv("FAULT_CONTROL");
        int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
        void *at = MAP_FAILED;
        if (file >= 0) {
            at = mmap(NULL, sizeof none, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
            close(file);
        }
        mapped = at == MAP_FAILED ? &none : at;
    }
    return mapped;
}

/* Take one from a count that is above zero; 0 if there was nothing to take. */
static int64_t take(int64_t *count) {
    int64_t left = __atomic_load_n(count, __ATOMIC_SEQ_CST);
    while (left > 0 && !__atomic_compare_exchange_n(count, &left, left - 1, 0, __ATOMIC_SEQ_CST,
                                                    __ATOMIC_SEQ_CST)) {
    }
    return left;
}

static int fails(void) {
    struct control *now = control();
    if (take(&now->spared_syncs) || !take(&now->failing_syncs)) return 0;
    __atomic_add_fetch(&now->failed_syncs, 1, __ATOMIC_SEQ_CST);
    errno = EIO;
    return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int file) { return fails() ? -1 : NEXT(fsync)(file); }

int fdatasync(int file) { return fails() ? -1 : NEXT(fdatasync)(file); }

int msync(void *at, size_t length, int flags) {
    return (flags & MS_SYNC) && fails() ? -1 : NEXT(msync)(at, length, flags);
}

/* A write to a file opened with O_DSYNC is a sync too. */
ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
    int is_synced = fcntl(file, F_GETFL) & O_DSYNC;
    return is_synced && fails() ? -1 : NEXT(pwrite64)(file, bytes, count, at);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) {
    int is_synced = fcntl(file, F_GETFL) & O_DSYNC;
    return is_synced && fails() ? -1 : NEXT(pwrite)(file, bytes, count, at);
}

static void shift(struct timespec *moment) {
    int64_t ns = moment->tv_sec * INT64_C(1000000000) + moment->tv_nsec + control()->clock_offset_ns;
    moment->tv_sec = ns / 1000000000;
    moment->tv_nsec = ns % 1000000000;
}

int clock_gettime(clockid_t clock, struct timespec *moment) {
    int code = NEXT(clock_gettime)(clock, moment);
    if (!code && clock == CLOCK_REALTIME) shift(moment);
    return code;
}

int gettimeofday(struct timeval *restrict moment, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    moment->tv_sec = now.tv_sec;
    moment->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *into) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    if (into) *into = now.tv_sec;
    return now.tv_sec;
}
