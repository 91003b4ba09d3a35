// A file on a server as a ByteSource: read by ranges, every one of the version that was opened.
#ifndef ANEMONE_NET_REMOTE_FILE_H_
#define ANEMONE_NET_REMOTE_FILE_H_

#include <atomic>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "anemone/bytes.h"
#include "anemone/status.h"
#include "net/http.h"

namespace anemone {

// What the files of one server share: connections, and blocks for small reads. Threads: safe.
class HttpPool {
 public:
  explicit HttpPool(HttpOptions options) : options_(std::move(options)) {}

  // Calls `use` with a client that no other thread has.
  template <typename Use>
  auto With(const Use& use) {
    std::unique_ptr<HttpClient> client = Take();
    auto result = use(*client);
    const std::lock_guard lock(mutex_);
    clients_.push_back(std::move(client));
    return result;
  }
  const HttpOptions& options() const { return options_; }

  using Block = std::shared_ptr<const std::string>;
  using BlockKey = std::pair<uint64_t, uint64_t>;  // the number of the file, and which of its blocks
  Block FindBlock(BlockKey key);
  void KeepBlock(BlockKey key, Block block);

  std::atomic<uint64_t> files = 0;  // that were opened: each has a number
  std::atomic<uint64_t> bytes_read = 0;
  std::atomic<uint64_t> requests = 0;

 private:
  std::unique_ptr<HttpClient> Take();

  const HttpOptions options_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<HttpClient>> clients_;
  std::list<std::pair<BlockKey, Block>> blocks_;  // the last used first
  std::map<BlockKey, std::list<std::pair<BlockKey, Block>>::iterator> index_;
};

struct RemoteFile {
  std::string name;                                           // in messages
  HttpRequest request;                                        // its address and what the server asks for
  Status (*refusal)(const HttpResponse& response) = nullptr;  // what an answer other than 2xx means
};

// Asks for the first bytes, which tell size and version. A server without ranges serves files of at most 16 MiB.
// Errors: those of `refusal`; Unavailable (no connection, no ranges, answers that are not what was asked for, nothing
// that tells versions apart). Reading fails with Io where the file has another version than when it was opened.
Result<ByteSourcePtr> OpenRemoteFile(RemoteFile file, std::shared_ptr<HttpPool> pool);

// `refusal` for a server that is none of the hub's.
Status HttpRefusal(const HttpResponse& response);

}  // namespace anemone

#endif  // ANEMONE_NET_REMOTE_FILE_H_
