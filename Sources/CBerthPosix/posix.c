#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "CBerthPosix.h"

// More descriptors than this are of no use to any process of ours, and programs that walk over all of them would take long.
static const rlim_t descriptors_max = 1 << 20;

uint64_t berth_raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
    rlim_t wanted = limit.rlim_max < descriptors_max ? limit.rlim_max : descriptors_max;
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted;
        setrlimit(RLIMIT_NOFILE, &limit);
        getrlimit(RLIMIT_NOFILE, &limit);
    }
    return (uint64_t)limit.rlim_cur;
}

uint64_t berth_hard_descriptor_limit(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (uint64_t)limit.rlim_max : 0;
}

void berth_open_standard_descriptors(void) {
    for (int descriptor = 0; descriptor <= 2; descriptor++) {
        // open() gives the lowest free number, so that it is this one.
        if (fcntl(descriptor, F_GETFD) < 0 && errno == EBADF) open("/dev/null", O_RDWR);
    }
}

void berth_restart_without_crash_report(char *const arguments[]) {
    char program[4096];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (getenv("SWIFT_BACKTRACE") != NULL || length <= 0) return;
    program[length] = 0;
    if (setenv("SWIFT_BACKTRACE", "enable=no", 1) == 0) execv(program, arguments);
}

void berth_ignore_closed_pipes(void) { signal(SIGPIPE, SIG_IGN); }

void berth_keep_secrets(void) {
    umask(077);
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    // The limit does not hold for a core that the kernel pipes to a program; this does.
    prctl(PR_SET_DUMPABLE, 0);
}

pid_t berth_spawn(
    const char *program, char *const arguments[], int input, int output, int errors, int death_signal, int *error
) {
    // Copies above 2, so that none of them is overwritten while another is put into its place.
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int given[3] = {input, output, errors};
    int streams[3] = {-1, -1, -1};
    pid_t pid = -1;
    int failed = 0;
    for (int index = 0; index < 3; index++) {
        streams[index] = fcntl(given[index] < 0 ? null : given[index], F_DUPFD_CLOEXEC, 3);
        if (streams[index] < 0) failed = errno;
    }
    if (failed == 0) {
        volatile int refused = 0;
        pid_t parent = getpid();
        sigset_t all, before;
        sigfillset(&all);
        // The child shares this memory until it is another program: no handler of ours may run in it.
        pthread_sigmask(SIG_SETMASK, &all, &before);
        pid = vfork();
        if (pid == 0) {
            if (death_signal != 0) {
                prctl(PR_SET_PDEATHSIG, death_signal);
                if (getppid() != parent) _exit(127);
            }
            setpgid(0, 0);
            struct sigaction usual = {.sa_handler = SIG_DFL};
            for (int number = 1; number < NSIG; number++) sigaction(number, &usual, NULL);
            for (int index = 0; index < 3; index++) dup2(streams[index], index);
            if (syscall(SYS_close_range, 3U, ~0U, 0U) != 0) {
                struct rlimit limit;
                int most = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < descriptors_max ? (int)limit.rlim_cur : 1 << 20;
                for (int descriptor = 3; descriptor < most; descriptor++) close(descriptor);
            }
            sigset_t none;
            sigemptyset(&none);
            sigprocmask(SIG_SETMASK, &none, NULL);
            execv(program, arguments);
            refused = errno;
            _exit(127);
        }
        failed = pid < 0 ? errno : refused;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (pid > 0 && failed != 0) {
            while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
            pid = -1;
        }
    }
    for (int index = 0; index < 3; index++) if (streams[index] >= 0) close(streams[index]);
    if (null >= 0) close(null);
    *error = failed;
    return pid;
}

void berth_await_end(pid_t pid) {
    siginfo_t info;
    while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {}
}

int berth_reap(pid_t pid) {
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) if (errno != EINTR) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int berth_end_process(pid_t pid, int signal, int timeout_millis) {
    // A descriptor of the process cannot mean another one that got its number meanwhile.
    int process = (int)syscall(SYS_pidfd_open, pid, 0U);
    if (process < 0) return errno == ESRCH ? 0 : -1;
    int result = (int)syscall(SYS_pidfd_send_signal, process, signal, NULL, 0U);
    if (result != 0 && errno == ESRCH) result = 0;
    else if (result == 0) {
        struct pollfd wait = {.fd = process, .events = POLLIN};
        result = poll(&wait, 1, timeout_millis) == 1 ? 0 : -1;
    }
    close(process);
    return result;
}

void berth_survive_full_disk(void) { signal(SIGXFSZ, SIG_IGN); }

void berth_keep_memory(void) {
    mallopt(M_TRIM_THRESHOLD, 512 << 20);
    mallopt(M_TOP_PAD, 16 << 20);
}

int berth_eventfd(void) { return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); }

int berth_epoll_control(int epoll, int operation, int descriptor, uint32_t events, uint64_t token) {
    struct epoll_event event = {.events = events, .data = {.u64 = token}};
    return epoll_ctl(epoll, operation, descriptor, &event);
}

int berth_lock_file(int descriptor) { return flock(descriptor, LOCK_EX | LOCK_NB); }

int berth_open_folder(const char *path) { return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC); }

void berth_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

int berth_put_thread_first(void) {
    // Threads and processes that this one starts go first no more than others do.
    struct sched_param none = {0};
    if (sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &none) != 0) return -1;
    return setpriority(PRIO_PROCESS, (id_t)gettid(), -10);
}
