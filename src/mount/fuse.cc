#include "mount/fuse.h"

#include "base/shared_library.h"

namespace anemone::internal {
namespace {

// From 3.17 on, the structures are others.
#if FUSE_MINOR_VERSION >= 17
constexpr const char* kLibrary = "libfuse3.so.4";
#else
constexpr const char* kLibrary = "libfuse3.so.3";
#endif

Result<Fuse> Load() {
  ANEMONE_ASSIGN(const SharedLibrary library, SharedLibrary::Open({kLibrary}));
  Fuse fuse{};
  ANEMONE_TRY(library.Find("fuse_session_new", fuse.create));
  ANEMONE_TRY(library.Find("fuse_session_mount", fuse.mount));
  ANEMONE_TRY(library.Find("fuse_session_loop_mt_31", fuse.loop));
  ANEMONE_TRY(library.Find("fuse_session_exited", fuse.session_exited));
  ANEMONE_TRY(library.Find("fuse_session_unmount", fuse.unmount));
  ANEMONE_TRY(library.Find("fuse_session_destroy", fuse.destroy));
  ANEMONE_TRY(library.Find("fuse_set_signal_handlers", fuse.set_signal_handlers));
  ANEMONE_TRY(library.Find("fuse_remove_signal_handlers", fuse.remove_signal_handlers));
  ANEMONE_TRY(library.Find("fuse_daemonize", fuse.daemonize));
  ANEMONE_TRY(library.Find("fuse_set_log_func", fuse.set_log_func));
  ANEMONE_TRY(library.Find("fuse_req_userdata", fuse.req_userdata));
  ANEMONE_TRY(library.Find("fuse_req_interrupted", fuse.req_interrupted));
  ANEMONE_TRY(library.Find("fuse_add_direntry", fuse.add_direntry));
  ANEMONE_TRY(library.Find("fuse_reply_err", fuse.reply_err));
  ANEMONE_TRY(library.Find("fuse_reply_entry", fuse.reply_entry));
  ANEMONE_TRY(library.Find("fuse_reply_attr", fuse.reply_attr));
  ANEMONE_TRY(library.Find("fuse_reply_open", fuse.reply_open));
  ANEMONE_TRY(library.Find("fuse_reply_buf", fuse.reply_buf));
  ANEMONE_TRY(library.Find("fuse_reply_statfs", fuse.reply_statfs));
  return fuse;
}

}  // namespace

Result<const Fuse*> LoadFuse() {
  const Result<const Fuse*> fuse = LoadedOnce<Load>();
  return fuse.ok() ? fuse : fuse.status().Hint("install libfuse 3 (Debian: fuse3)");
}

}  // namespace anemone::internal
