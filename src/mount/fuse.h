// libfuse 3, loaded when something is mounted.
#ifndef ANEMONE_MOUNT_FUSE_H_
#define ANEMONE_MOUNT_FUSE_H_

#define FUSE_USE_VERSION 31
#include <fuse3/fuse_lowlevel.h>

#include <cstddef>

#include "anemone/status.h"

namespace anemone::internal {

// Where the header gives a version of a function another name, the type is spelled out.
struct Fuse {
  fuse_session* (*create)(fuse_args* args, const fuse_lowlevel_ops* operations, size_t size, void* data);
  decltype(&::fuse_session_mount) mount;
  int (*loop)(fuse_session* session, int clone_fd);
  decltype(&::fuse_session_exited) session_exited;
  decltype(&::fuse_session_unmount) unmount;
  decltype(&::fuse_session_destroy) destroy;
  decltype(&::fuse_set_signal_handlers) set_signal_handlers;
  decltype(&::fuse_remove_signal_handlers) remove_signal_handlers;
  decltype(&::fuse_daemonize) daemonize;
  decltype(&::fuse_set_log_func) set_log_func;
  decltype(&::fuse_req_userdata) req_userdata;
  decltype(&::fuse_req_interrupted) req_interrupted;
  decltype(&::fuse_add_direntry) add_direntry;
  decltype(&::fuse_reply_err) reply_err;
  decltype(&::fuse_reply_entry) reply_entry;
  decltype(&::fuse_reply_attr) reply_attr;
  decltype(&::fuse_reply_open) reply_open;
  decltype(&::fuse_reply_buf) reply_buf;
  decltype(&::fuse_reply_statfs) reply_statfs;
};

// Owned by the library, valid for ever. Threads: safe. Errors: Unavailable.
Result<const Fuse*> LoadFuse();

}  // namespace anemone::internal

#endif  // ANEMONE_MOUNT_FUSE_H_
