// One repository's folder in the Hugging Face cache.
#ifndef ANEMONE_NET_HUB_CACHE_H_
#define ANEMONE_NET_HUB_CACHE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/status.h"
#include "base/hasher.h"

namespace anemone::internal {

// A blob being written: `<etag>.anemone.incomplete`, kept when the download breaks, so that a later run goes on from
// it.
class PartialBlob {
 public:
  ~PartialBlob();
  PartialBlob(const PartialBlob&) = delete;
  PartialBlob& operator=(const PartialBlob&) = delete;

  uint64_t size_bytes() const { return size_; }
  Status Append(std::string_view bytes);
  Status Restart();  // forgets what is there
  // Compares with the etag: sha256 for 64 hex digits, git's sha1 for 40, the size alone for others. Then the blob gets
  // its name. Errors: Corrupt (the content is another; the partial file is removed), Io.
  Status Commit();

 private:
  friend class HubCache;
  PartialBlob(std::string path, std::string final_path, std::string etag, uint64_t expected_size);
  Status Open();
  Status Rehash();

  std::string path_;
  std::string final_path_;
  std::string etag_;
  uint64_t expected_size_;  // UINT64_MAX: not known
  int fd_ = -1;
  uint64_t size_ = 0;
  std::optional<Hasher> hash_;  // none: only the size is known
};

// Holds an flock on a file until destroyed.
class FileLock {
 public:
  // Waits for the lock of a file in a folder that is there; `wait` is called between tries and may fail.
  static Result<std::unique_ptr<FileLock>> Take(const std::string& path, const std::function<Status()>& wait);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

class HubCache {
 public:
  HubCache(std::string cache_dir, std::string_view repo, bool symlinks);

  // The commit that refs/<revision> names, or the revision itself when it is one; empty when the cache does not know.
  std::string CommitOf(std::string_view revision) const;
  Status WriteRef(std::string_view revision, std::string_view commit) const;
  std::string Snapshot(std::string_view commit) const { return dir_ + "/snapshots/" + std::string(commit); }
  // Files of a snapshot that can be read, relative paths, sorted.
  std::vector<std::string> Files(std::string_view commit) const;
  bool HasBlob(std::string_view etag, uint64_t size) const;
  bool HasFile(std::string_view commit, std::string_view name) const;
  Status NoteAbsent(std::string_view commit, std::string_view name) const;

  Result<std::unique_ptr<FileLock>> Lock(std::string_view etag, const std::function<Status()>& wait) const;
  Result<std::unique_ptr<PartialBlob>> OpenPartial(std::string_view etag, uint64_t size) const;
  // Puts the blob into the snapshot: a relative symlink, or the file itself where links do not work.
  Status Link(std::string_view commit, std::string_view name, std::string_view etag) const;
  // Errors: Io when fewer bytes are free.
  Status CheckSpace(uint64_t bytes) const;
  // Creates the folders and CACHEDIR.TAG.
  Status Create() const;

 private:
  std::string Blob(std::string_view etag) const { return dir_ + "/blobs/" + std::string(etag); }
  std::string cache_dir_;
  std::string folder_;
  std::string dir_;
  bool symlinks_;
};

// Whether 40 lower-case hexadecimal digits, as git names commits.
bool IsCommit(std::string_view text);

}  // namespace anemone::internal

#endif  // ANEMONE_NET_HUB_CACHE_H_
