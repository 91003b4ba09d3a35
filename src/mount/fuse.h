// libfuse 3, loaded when something is mounted.
#ifndef ANEMONE_MOUNT_FUSE_H_
#define ANEMONE_MOUNT_FUSE_H_

#define FUSE_USE_VERSION 31
#include <fuse3/fuse.h>

#include <cstddef>

#include "anemone/status.h"

namespace anemone::internal {

// Where the header gives a version of a function another name, the type is spelled out.
struct Fuse {
  fuse* (*create)(fuse_args* args, const fuse_operations* operations, size_t size, void* data);
  decltype(&::fuse_mount) mount;
  decltype(&::fuse_unmount) unmount;
  decltype(&::fuse_get_session) get_session;
  decltype(&::fuse_get_context) get_context;
  decltype(&::fuse_interrupted) interrupted;
  int (*session_exited)(fuse_session* session);
  decltype(&::fuse_set_signal_handlers) set_signal_handlers;
  decltype(&::fuse_remove_signal_handlers) remove_signal_handlers;
  decltype(&::fuse_daemonize) daemonize;
  int (*loop)(fuse* fuse, int clone_fd);
  decltype(&::fuse_set_log_func) set_log_func;
};

// Owned by the library, valid for ever. Threads: safe. Errors: Unavailable.
Result<const Fuse*> LoadFuse();

}  // namespace anemone::internal

#endif  // ANEMONE_MOUNT_FUSE_H_
