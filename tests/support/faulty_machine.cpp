// What a process of a faulty machine gets from its C library: flushes of files that do not end,
// and a system clock that jumps. A test says in two files what is wrong, and a third says that a
// flush waits.

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

void wait_for_the_disk() {
    const char *hangs = getenv("FAULTY_DISK");
    const char *awaited = getenv("FAULTY_DISK_AWAITED");
    while (hangs != nullptr && access(hangs, F_OK) == 0) {
        if (FILE *file = awaited == nullptr ? nullptr : fopen(awaited, "w")) fclose(file);
        usleep(10000);
    }
}

long seconds_ahead() {
    const char *path = getenv("FAULTY_CLOCK");
    FILE *file = path == nullptr ? nullptr : fopen(path, "r");
    if (file == nullptr) return 0;
    long seconds = 0;
    if (fscanf(file, "%ld", &seconds) != 1) seconds = 0;
    fclose(file);
    return seconds;
}

}  // namespace

extern "C" int fsync(int file) {
    wait_for_the_disk();
    return static_cast<int>(syscall(SYS_fsync, file));
}

extern "C" int fdatasync(int file) {
    wait_for_the_disk();
    return static_cast<int>(syscall(SYS_fdatasync, file));
}

extern "C" int clock_gettime(clockid_t clock, timespec *now) noexcept {
    const int result = static_cast<int>(syscall(SYS_clock_gettime, clock, now));
    if (result == 0 && clock == CLOCK_REALTIME) now->tv_sec += seconds_ahead();
    return result;
}
