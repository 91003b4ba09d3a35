// RemoteFiles: the files below one address on a server, as a listing names them.
#ifndef ANEMONE_NET_REMOTE_FILES_H_
#define ANEMONE_NET_REMOTE_FILES_H_

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/status.h"
#include "base/location.h"
#include "net/remote_file.h"

namespace anemone {

class RemoteFiles final : public Files {
 public:
  // `root` is what messages call the address, `model` what all requests have in common.
  RemoteFiles(std::string root, RemoteFile model, HttpOptions options)
      : root_(std::move(root)), model_(std::move(model)), pool_(std::make_shared<HttpPool>(std::move(options))) {}

  // Before any thread asks: there is a file of this relative name, at this address. A name that is no safe path is left
  // out; of two addresses for one name the first counts.
  void Add(std::string_view name, std::string url);
  // As Add, of the names that the server has: asks for each, several at once. Errors: those of the server, but for a
  // file that it lacks or may not show.
  Status AddIfThere(const std::vector<std::string>& names, const std::string& base_url);

  PathKind KindOf(const std::string& path) const override;
  // The same source for the same path.
  Result<ByteSourcePtr> Open(const std::string& path) const override;
  std::vector<std::string> Below(const std::string& folder) const override;

  const std::string& root() const { return root_; }
  HttpPool& pool() const { return *pool_; }

 private:
  // Relative to the root; nullopt elsewhere.
  std::optional<std::string> Relative(const std::string& path) const;

  const std::string root_;
  const RemoteFile model_;
  const std::shared_ptr<HttpPool> pool_;
  std::map<std::string, std::string, std::less<>> urls_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, ByteSourcePtr> opened_;
};

}  // namespace anemone

#endif  // ANEMONE_NET_REMOTE_FILES_H_
