// Writes down, in one order, what a process does to the files below one folder: what it changes, what it
// syncs and when that ended, and what it said on its standard output. `mod.rs` builds from it what a disk
// may hold after a loss of power.
//
// For LD_PRELOAD. STORE_POWER_FOLDER: an absolute path without links in it; STORE_POWER_TRACE: the file to
// write, outside of that folder. Real calls are made by number, so that nothing is needed before `main`.
// Invariants: a change and its record are made under one lock, so the order of records is the order of
// changes; a sync is two records around a call without the lock, so it covers what was there when it began.
// What is not modelled (a shared mapping, a copy of a descriptor, a link...) ends the process with SIGABRT:
// a change that nobody wrote down would make the test blind.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

// One record: this, then the two paths, then the data. As the machine has it.
struct head {
  uint8_t kind, flag;
  uint16_t path, other;
  uint16_t zero;
  uint64_t inode, number, data;
};
_Static_assert(sizeof(struct head) == 32, "mod.rs reads 32 bytes");

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *folder;
static size_t folder_length;
static int trace = -1;
static uint64_t syncs;
// Descriptors of files and folders below the folder.
static uint8_t ours[1 << 16];

static void die(const char *what) {
  dprintf(2, "power layer: %s\n", what);
  abort();
}

__attribute__((constructor)) static void begin(void) {
  const char *to = getenv("STORE_POWER_TRACE"), *below = getenv("STORE_POWER_FOLDER");
  if (!to || !below) return;
  trace = syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (trace < 0) die("the trace cannot be opened");
  folder_length = strlen(below);
  folder = below;
}

static int is_ours(int fd) { return fd >= 0 && fd < (int)sizeof ours && ours[fd]; }

// The path below the folder, or NULL. `buffer`: PATH_MAX bytes.
static const char *below(int at, const char *path, char *buffer) {
  if (!folder || !path) return NULL;
  if (path[0] != '/') {
    // The working directory is never below the folder.
    if (!is_ours(at)) return NULL;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    ssize_t n = readlink(link, buffer, PATH_MAX);
    if (n < 0 || n + strlen(path) + 2 > PATH_MAX) die("a path is too long");
    buffer[n] = '/';
    strcpy(buffer + n + 1, path);
    path = buffer;
  }
  if (strncmp(path, folder, folder_length) || (path[folder_length] != '/' && path[folder_length])) return NULL;
  return path + folder_length;
}

static uint64_t inode_of(int fd) {
  struct stat found;
  if (fstat(fd, &found)) die("fstat failed");
  return found.st_ino;
}

static void record(uint8_t kind, uint8_t flag, uint64_t inode, uint64_t number, const char *path, const char *other,
                   const struct iovec *data, int parts, size_t bytes) {
  struct head head = {.kind = kind, .flag = flag, .inode = inode, .number = number, .data = bytes};
  struct iovec all[64] = {{&head, sizeof head}};
  int n = 1;
  if (path) head.path = strlen(path), all[n++] = (struct iovec){(void *)path, head.path};
  if (other) head.other = strlen(other), all[n++] = (struct iovec){(void *)other, head.other};
  size_t total = sizeof head + head.path + head.other + bytes;
  for (int i = 0; i < parts && bytes; i++) {
    if (n == 64) die("a write of too many parts");
    size_t take = data[i].iov_len < bytes ? data[i].iov_len : bytes;
    all[n++] = (struct iovec){data[i].iov_base, take};
    bytes -= take;
  }
  if (syscall(SYS_writev, trace, all, n) != (long)total) die("the trace cannot be written");
}

// ---- names --------------------------------------------------------------------------------------
static int open_at(int at, const char *path, int flags, mode_t mode) {
  char buffer[PATH_MAX];
  const char *name = below(at, path, buffer);
  if (!name) return syscall(SYS_openat, at, path, flags, mode);
  if ((flags & O_TMPFILE) == O_TMPFILE || flags & (O_SYNC | O_DSYNC)) die("a way to open that is not modelled");
  pthread_mutex_lock(&lock);
  int fd = syscall(SYS_openat, at, path, flags, mode);
  if (fd >= (int)sizeof ours) die("too many descriptors");
  if (fd >= 0) {
    ours[fd] = 1;
    if (flags & (O_CREAT | O_TRUNC)) record('o', !!(flags & O_TRUNC), inode_of(fd), 0, name, NULL, NULL, 0, 0);
  }
  int error = errno;
  pthread_mutex_unlock(&lock);
  errno = error;
  return fd;
}
#define MODE(flags) ({ mode_t m = 0; if ((flags) & (O_CREAT | __O_TMPFILE)) { va_list l; va_start(l, flags); \
  m = va_arg(l, mode_t); va_end(l); } m; })
int open(const char *path, int flags, ...) { return open_at(AT_FDCWD, path, flags, MODE(flags)); }
int open64(const char *path, int flags, ...) { return open_at(AT_FDCWD, path, flags, MODE(flags)); }
int openat(int at, const char *path, int flags, ...) { return open_at(at, path, flags, MODE(flags)); }
int openat64(int at, const char *path, int flags, ...) { return open_at(at, path, flags, MODE(flags)); }
int creat(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int close(int fd) {
  if (!is_ours(fd)) return syscall(SYS_close, fd);
  pthread_mutex_lock(&lock);
  ours[fd] = 0;
  int done = syscall(SYS_close, fd);
  pthread_mutex_unlock(&lock);
  return done;
}
// libc closes what it made a stream of without asking close().
int closedir(DIR *stream) {
  int fd = dirfd(stream);
  if (is_ours(fd)) {
    pthread_mutex_lock(&lock);
    ours[fd] = 0;
    pthread_mutex_unlock(&lock);
  }
  return ((int (*)(DIR *))dlsym(RTLD_NEXT, "closedir"))(stream);
}

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
  char first[PATH_MAX], second[PATH_MAX];
  const char *a = below(from_at, from, first), *b = below(to_at, to, second);
  if (!a && !b) return syscall(SYS_renameat2, from_at, from, to_at, to, flags);
  if (!a || !b || flags) die("a rename that is not modelled");
  pthread_mutex_lock(&lock);
  int done = syscall(SYS_renameat2, from_at, from, to_at, to, 0), error = errno;
  if (!done) record('r', 0, 0, 0, a, b, NULL, 0, 0);
  pthread_mutex_unlock(&lock);
  errno = error;
  return done;
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int from_at, const char *from, int to_at, const char *to) {
  return renameat2(from_at, from, to_at, to, 0);
}

int unlinkat(int at, const char *path, int flags) {
  char buffer[PATH_MAX];
  const char *name = below(at, path, buffer);
  if (!name) return syscall(SYS_unlinkat, at, path, flags);
  pthread_mutex_lock(&lock);
  int done = syscall(SYS_unlinkat, at, path, flags), error = errno;
  if (!done) record('u', 0, 0, 0, name, NULL, NULL, 0, 0);
  pthread_mutex_unlock(&lock);
  errno = error;
  return done;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int at, const char *path, mode_t mode) {
  char buffer[PATH_MAX];
  const char *name = below(at, path, buffer);
  if (!name) return syscall(SYS_mkdirat, at, path, mode);
  pthread_mutex_lock(&lock);
  int done = syscall(SYS_mkdirat, at, path, mode), error = errno;
  if (!done) {
    struct stat made;
    if (fstatat(at, path, &made, AT_SYMLINK_NOFOLLOW)) die("fstatat failed");
    record('m', 0, made.st_ino, 0, name, NULL, NULL, 0, 0);
  }
  pthread_mutex_unlock(&lock);
  errno = error;
  return done;
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

// ---- content ------------------------------------------------------------------------------------
// `at` < 0: where the descriptor stands.
static ssize_t write_at(int fd, const struct iovec *data, int parts, off_t at) {
  pthread_mutex_lock(&lock);
  off_t from = at;
  if (at < 0) from = syscall(SYS_lseek, fd, 0, fcntl(fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
  ssize_t done = at < 0 ? syscall(SYS_writev, fd, data, parts) : syscall(SYS_pwritev, fd, data, parts, at, 0);
  int error = errno;
  if (done > 0) record('w', 0, inode_of(fd), from, NULL, NULL, data, parts, done);
  pthread_mutex_unlock(&lock);
  errno = error;
  return done;
}
ssize_t write(int fd, const void *data, size_t bytes) {
  struct iovec one = {(void *)data, bytes};
  if (is_ours(fd)) return write_at(fd, &one, 1, -1);
  if (fd == 1 && folder) {
    // Before it is said: nobody can have heard it earlier.
    pthread_mutex_lock(&lock);
    record('p', 0, 0, 0, NULL, NULL, &one, 1, bytes);
    pthread_mutex_unlock(&lock);
  }
  return syscall(SYS_write, fd, data, bytes);
}
ssize_t writev(int fd, const struct iovec *data, int parts) {
  if (is_ours(fd)) return write_at(fd, data, parts, -1);
  if (fd == 1 && folder) die("standard output is written in parts");
  return syscall(SYS_writev, fd, data, parts);
}
ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t at) {
  struct iovec one = {(void *)data, bytes};
  return is_ours(fd) ? write_at(fd, &one, 1, at) : syscall(SYS_pwrite64, fd, data, bytes, at);
}
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at) { return pwrite64(fd, data, bytes, at); }
ssize_t pwritev64(int fd, const struct iovec *data, int parts, off64_t at) {
  return is_ours(fd) ? write_at(fd, data, parts, at) : syscall(SYS_pwritev, fd, data, parts, at, 0);
}
ssize_t pwritev(int fd, const struct iovec *data, int parts, off_t at) { return pwritev64(fd, data, parts, at); }

int ftruncate64(int fd, off64_t length) {
  if (!is_ours(fd)) return syscall(SYS_ftruncate, fd, length);
  pthread_mutex_lock(&lock);
  int done = syscall(SYS_ftruncate, fd, length), error = errno;
  if (!done) record('t', 0, inode_of(fd), length, NULL, NULL, NULL, 0, 0);
  pthread_mutex_unlock(&lock);
  errno = error;
  return done;
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static int sync_of(int fd, int data_only) {
  long call = data_only ? SYS_fdatasync : SYS_fsync;
  if (!is_ours(fd)) return syscall(call, fd);
  pthread_mutex_lock(&lock);
  uint64_t number = ++syncs;
  record('s', data_only, inode_of(fd), number, NULL, NULL, NULL, 0, 0);
  pthread_mutex_unlock(&lock);
  int done = syscall(call, fd), error = errno;
  pthread_mutex_lock(&lock);
  if (!done) record('S', 0, 0, number, NULL, NULL, NULL, 0, 0);
  pthread_mutex_unlock(&lock);
  errno = error;
  return done;
}
int fsync(int fd) { return sync_of(fd, 0); }
int fdatasync(int fd) { return sync_of(fd, 1); }
// sync_file_range promises nothing after a loss of power: it is not written down.

// ---- what is not modelled -----------------------------------------------------------------------
void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t at) {
  if (is_ours(fd) && flags & MAP_SHARED) die("a shared mapping of a file");
  return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, at);
}
void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t at) {
  return mmap64(address, length, protection, flags, fd, at);
}
static int control(int fd, int command, long value) {
  if (is_ours(fd) && (command == F_DUPFD || command == F_DUPFD_CLOEXEC)) die("a copy of a descriptor");
  return syscall(SYS_fcntl, fd, command, value);
}
#define VALUE(command) ({ va_list l; va_start(l, command); long v = va_arg(l, long); va_end(l); v; })
int fcntl(int fd, int command, ...) { return control(fd, command, VALUE(command)); }
int fcntl64(int fd, int command, ...) { return control(fd, command, VALUE(command)); }
int dup(int fd) {
  if (is_ours(fd)) die("a copy of a descriptor");
  return syscall(SYS_dup, fd);
}
int dup3(int fd, int to, int flags) {
  if (is_ours(fd) || is_ours(to)) die("a copy of a descriptor");
  return syscall(SYS_dup3, fd, to, flags);
}
int dup2(int fd, int to) { return fd == to ? fd : dup3(fd, to, 0); }
ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t bytes, unsigned flags) {
  if (is_ours(to)) die("copy_file_range");
  return syscall(SYS_copy_file_range, from, a, to, b, bytes, flags);
}
ssize_t sendfile64(int to, int from, off64_t *at, size_t bytes) {
  if (is_ours(to)) die("sendfile");
  return syscall(SYS_sendfile, to, from, at, bytes);
}
ssize_t sendfile(int to, int from, off_t *at, size_t bytes) { return sendfile64(to, from, at, bytes); }
int fallocate64(int fd, int mode, off64_t at, off64_t length) {
  if (is_ours(fd)) die("fallocate");
  return syscall(SYS_fallocate, fd, mode, at, length);
}
int fallocate(int fd, int mode, off_t at, off_t length) { return fallocate64(fd, mode, at, length); }
int posix_fallocate64(int fd, off64_t at, off64_t length) { return fallocate64(fd, 0, at, length) ? errno : 0; }
int posix_fallocate(int fd, off_t at, off_t length) { return posix_fallocate64(fd, at, length); }
int truncate64(const char *path, off64_t length) {
  char buffer[PATH_MAX];
  if (below(AT_FDCWD, path, buffer)) die("truncate");
  return syscall(SYS_truncate, path, length);
}
int truncate(const char *path, off_t length) { return truncate64(path, length); }
int linkat(int from_at, const char *from, int to_at, const char *to, int flags) {
  char buffer[PATH_MAX];
  if (below(to_at, to, buffer)) die("a link");
  return syscall(SYS_linkat, from_at, from, to_at, to, flags);
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }
int symlinkat(const char *target, int at, const char *path) {
  char buffer[PATH_MAX];
  if (below(at, path, buffer)) die("a symbolic link");
  return syscall(SYS_symlinkat, target, at, path);
}
int symlink(const char *target, const char *path) { return symlinkat(target, AT_FDCWD, path); }
