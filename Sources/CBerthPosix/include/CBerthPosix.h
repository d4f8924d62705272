// The few Linux calls that Glibc's module map does not offer to Swift: epoll, eventfd and limits.
#ifndef CBERTH_POSIX_H
#define CBERTH_POSIX_H
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/resource.h>

// Raises the soft limit of open descriptors to the hard limit; returns the limit then in force.
uint64_t berth_raise_descriptor_limit(void);
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
