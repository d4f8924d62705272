// The few Linux calls that Glibc's module map does not offer to Swift: epoll, eventfd and limits.
#ifndef CBERTH_POSIX_H
#define CBERTH_POSIX_H
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/types.h>

// Raises the soft limit of open descriptors to the hard limit, at most 1,048,576; returns the limit then in force.
uint64_t berth_raise_descriptor_limit(void);
// The hard limit of open descriptors; 0 when the kernel does not tell it.
uint64_t berth_hard_descriptor_limit(void);
// Opens /dev/null in the place of each of the descriptors 0, 1 and 2 that is closed. A file that is opened later can then not become the
// standard output or error, into which log lines are written. Called before anything is opened.
void berth_open_standard_descriptors(void);
// Starts this program once more, as the same process, with Swift's crash report turned off, unless SWIFT_BACKTRACE is set already. The report takes
// seconds, in which ports are still held, and prints memory. The Swift runtime reads the variable before `main`. Called first thing in `main`.
void berth_restart_without_crash_report(char *const arguments[]);
// A write to a pipe or socket without a reader is an error of that write, not the end of the process.
void berth_ignore_closed_pipes(void);
// New files are the owner's alone (umask 077), and the memory of this process is never written to a core file. Called before any thread runs,
// because another thread may be making a file under the umask of before.
void berth_keep_secrets(void);
// Starts a program in a process group of its own. It inherits the three streams (-1: /dev/null) and no other descriptor, no blocked and no ignored
// signal. The kernel sends it `death_signal` (0: none) when the calling *thread* ends, so that this thread must live as long as the program may.
// Returns its process id, or -1 with the reason in `error`.
pid_t berth_spawn(
    const char *program, char *const arguments[], int input, int output, int errors, int death_signal, int *error);
// Waits for the end of a child and leaves its number taken until berth_reap: a signal can then never reach another process.
void berth_await_end(pid_t pid);
// The exit status of an ended child, 128 + signal when a signal ended it, -1 when it is no child of this process.
int berth_reap(pid_t pid);
// Sends a signal (0: none) to any process and waits for its end; 0 when it is gone.
int berth_end_process(pid_t pid, int signal, int timeout_millis);
// A file that may not grow any more is an error of the write that wanted it, not the end of the process.
void berth_survive_full_disk(void);
// Keeps freed memory for the next request instead of giving it back to the kernel in small steps.
void berth_keep_memory(void);
// A non-blocking, close-on-exec eventfd, or -1.
int berth_eventfd(void);
// One registration; `token` comes back in the event.
int berth_epoll_control(int epoll, int operation, int descriptor, uint32_t events, uint64_t token);
// Takes an exclusive advisory lock without waiting; 0 when it is held now.
int berth_lock_file(int descriptor);
// A descriptor that only names a folder (O_PATH), or -1.
int berth_open_folder(const char *path);
// Names the calling thread, in at most 15 bytes, for those who look at the process from outside.
void berth_name_thread(const char *name);
// Asks that the calling thread runs before others that want to (nice -10); 0 when it was granted, which needs root, CAP_SYS_NICE or RLIMIT_NICE.
// What it starts does not inherit it.
int berth_put_thread_first(void);
#endif
