#include "net/remote_file.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/checked.h"

namespace anemone {
namespace {

constexpr uint64_t kBlock = uint64_t{64} << 10;     // smaller reads come in blocks of this size
constexpr size_t kMaxBlocks = 1024;                 // of all files of a server: 64 MiB
constexpr uint64_t kProgress = uint64_t{16} << 10;  // less than this, and than was asked for, is little
constexpr int kMaxSmall = 40;                       // of such answers, one after another for a range
constexpr uint64_t kMaxWhole = uint64_t{16} << 20;  // that is taken from a server without ranges

// What tells one version of a file from another; empty where the server says nothing of the kind.
std::string VersionOf(const HttpResponse& head) {
  const std::string_view etag = head.Header("etag");
  return std::string(etag.empty() ? head.Header("last-modified") : etag);
}

class RemoteSource final : public ByteSource {
 public:
  RemoteSource(RemoteFile file, std::shared_ptr<HttpPool> pool)
      : file_(std::move(file)), pool_(std::move(pool)), number_(pool_->files++) {}

  uint64_t size_bytes() const override { return size_; }
  const std::string& name() const override { return file_.name; }
  std::string_view remote_version() const override { return version_; }

  // The first request: learns the size and the version. Before any other call.
  Status Open() {
    std::string bytes;
    Answer answer;
    ANEMONE_TRY(Ask(0, kBlock, bytes, answer).In(file_.name));
    if (answer.size > kMaxBytes) return Unavailable("expected a file of at most 2^62 bytes").In(file_.name);
    size_ = answer.size;
    version_ = answer.version;
    if (answer.is_whole) {
      if (version_.empty()) version_ = "whole";
      whole_ = std::make_shared<const std::string>(std::move(bytes));
      return {};
    }
    if (version_.empty()) {
      return Unavailable("expected an ETag or a Last-Modified, which tell whether a file changes meanwhile, found none",
                         "download the file, then give its path")
          .In(file_.name);
    }
    if (bytes.size() < std::min(kBlock, size_)) {  // a shorter range than was asked for
      const size_t got = bytes.size();
      bytes.resize(std::min(kBlock, size_));
      ANEMONE_TRY(ReadRange(got, std::as_writable_bytes(std::span(bytes)).subspan(got)).In(file_.name));
    }
    pool_->KeepBlock({number_, 0}, std::make_shared<const std::string>(std::move(bytes)));
    return {};
  }

  Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
    if (!Within(offset, out.size(), size_)) {
      return Corrupt("truncated: expected " + std::to_string(CheckedAdd(offset, out.size()).value_or(UINT64_MAX)) +
                     " bytes, file has " + std::to_string(size_))
          .In(file_.name);
    }
    if (whole_ != nullptr) {
      if (!out.empty()) std::memcpy(out.data(), whole_->data() + offset, out.size());
      return {};
    }
    if (out.size() >= kBlock) return ReadRange(offset, out).In(file_.name);
    while (!out.empty()) {
      ANEMONE_ASSIGN(const HttpPool::Block block, BlockAt(offset / kBlock));
      const uint64_t from = offset % kBlock;
      const size_t count = std::min<uint64_t>(out.size(), block->size() - from);
      std::memcpy(out.data(), block->data() + from, count);
      out = out.subspan(count);
      offset += count;
    }
    return {};
  }

 private:
  static constexpr uint64_t kMaxBytes = uint64_t{1} << 62;

  // What a 2xx answer says of the file.
  struct Answer {
    uint64_t size = 0;
    std::string version;
    uint64_t length = kMaxWhole;  // of the body, at most
    bool is_whole = false;        // the server knows no ranges, and sent all
    Status broken = {};           // why the bytes are fewer than it promised
  };

  Result<HttpPool::Block> BlockAt(uint64_t number) const {
    if (HttpPool::Block block = pool_->FindBlock({number_, number})) return block;
    std::string bytes(std::min(kBlock, size_ - number * kBlock), '\0');
    ANEMONE_TRY(ReadRange(number * kBlock, std::as_writable_bytes(std::span(bytes))).In(file_.name));
    auto block = std::make_shared<const std::string>(std::move(bytes));
    pool_->KeepBlock({number_, number}, block);
    return HttpPool::Block(block);
  }

  // In one request, or in several where the server sends less or the connection breaks.
  Status ReadRange(uint64_t offset, std::span<std::byte> out) const {
    for (int small = 0; !out.empty();) {
      std::string bytes;
      Answer answer;
      ANEMONE_TRY(Ask(offset, offset + out.size(), bytes, answer));
      // A server that drips would do so for ever.
      if (bytes.size() < std::min<uint64_t>(out.size(), kProgress) && ++small >= kMaxSmall) {
        return answer.broken.ok() ? Unavailable("expected the part that was asked for, the server sends a little of it")
                                  : answer.broken;
      }
      if (!answer.broken.ok()) small += kMaxSmall / pool_->options().attempts - 1;
      std::memcpy(out.data(), bytes.data(), bytes.size());
      out = out.subspan(bytes.size());
      offset += bytes.size();
    }
    return {};
  }

  // What `head` says, if it is an answer to what was asked.
  Result<Answer> Check(const HttpResponse& head, uint64_t begin, uint64_t end) const {
    Answer answer{.version = VersionOf(head)};
    // An answer that states no version is of the one that If-Range asked for.
    const bool is_same = answer.version == version_ || (answer.version.empty() && HasStrongTag());
    if (!version_.empty() && !is_same) return Changed();
    if (head.status == 206) {
      const std::string_view header = head.Header("content-range");
      const std::optional<ContentRange> range = ParseContentRange(header);
      if (!range || range->begin != begin || range->end > end || range->end <= begin) {
        return Unavailable("expected bytes " + std::to_string(begin) + "-" + std::to_string(end - 1) +
                           ", the server answers with Content-Range: " + std::string(header.substr(0, 100)));
      }
      answer.size = range->size;
      answer.length = range->end - range->begin;
      if (!version_.empty() && answer.size != size_) return Changed();
      return answer;
    }
    if (!version_.empty() || head.status != 200) {
      return Unavailable("expected a part of the file (206), the server answers " + std::to_string(head.status));
    }
    answer.is_whole = true;
    return answer;
  }

  bool HasStrongTag() const { return version_.starts_with('"'); }

  static Status Changed() {
    return {ErrorKind::kIo, "changed on the server while it was read",
            "nothing is written: begin anew once it is complete"};
  }

  // One range, at least a byte of it; or all, at the first request, of a server that knows no ranges.
  Status Ask(uint64_t begin, uint64_t end, std::string& bytes, Answer& answer) const {
    return pool_->With([&](HttpClient& client) -> Status {
      double wait = pool_->options().first_wait_s;
      for (int attempt = 1;; ++attempt) {
        bytes.clear();
        bool is_wrong = false, has_begun = false;  // before, Send tries again itself
        const HttpSink sink{.begin = [&](const HttpResponse& head) -> Status {
                              has_begun = true;
                              Result<Answer> checked = Check(head, begin, end);
                              is_wrong = !checked.ok();
                              if (is_wrong) return checked.status();
                              answer = *std::move(checked);
                              return {};
                            },
                            .bytes = [&](std::string_view part) -> Status {
                              is_wrong = part.size() > answer.length - bytes.size();
                              if (is_wrong) return answer.is_whole ? NoRanges() : TooMuch();
                              bytes += part;
                              pool_->bytes_read += part.size();
                              return {};
                            }};
        const Result<HttpResponse> response = Send(client, begin, end, sink);
        if (response.ok() && response->status == 416 && version_.empty() && end != 0) {
          const std::optional<ContentRange> range = ParseContentRange(response->Header("content-range"));
          if (range) return OpenEmpty(*response, *range, answer);
          end = 0;  // an object store does not say that the file is empty: asks for all of it
          continue;
        }
        if (response.ok() && response->status != 200 && response->status != 206) return file_.refusal(*response);
        if (response.ok() && answer.is_whole) answer.size = bytes.size();
        // What came before a connection broke is as good as a shorter answer.
        answer.broken = response.status();
        if ((response.ok() && answer.is_whole) || (!bytes.empty() && !is_wrong && !answer.is_whole)) return {};
        Status status = response.ok() ? Unavailable("expected bytes, the server sends none") : response.status();
        if (is_wrong || !has_begun || status.kind() != ErrorKind::kUnavailable || !client.may_pass() ||
            attempt >= pool_->options().attempts)
          return status;
        ANEMONE_TRY(client.Wait(wait));
        wait *= 2;
      }
    });
  }

  static Status NoRanges() {
    return Unavailable("expected a part of the file (206), the server sends all of it (200)",
                       "it serves no ranges: download the file, then give its path");
  }
  static Status TooMuch() { return Unavailable("expected the part that was asked for, the server sends more"); }

  // A file of no bytes has no range.
  static Status OpenEmpty(const HttpResponse& response, const ContentRange& range, Answer& answer) {
    if (range.size != 0) return Unavailable("expected the first bytes, the server has no such range (416)");
    answer = {.version = VersionOf(response), .is_whole = true};
    return {};
  }

  // To where the last answer came from, which a redirect led to: it needs no credentials of ours if it is another host.
  // Such an address expires: then again from the beginning.
  Result<HttpResponse> Send(HttpClient& client, uint64_t begin, uint64_t end, const HttpSink& sink) const {
    HttpRequest request = file_.request;
    request.range_start = begin;
    request.range_end = end;
    if (HasStrongTag()) request.if_range = version_;
    const std::string moved = Moved();
    if (!moved.empty()) {
      if (HttpOrigin(moved) != HttpOrigin(request.url)) {
        request.bearer_token.clear();
        request.signature.reset();
      }
      request.url = moved;
    }
    ++pool_->requests;
    Result<HttpResponse> response = client.Send(request, &sink);
    if (response.ok() && response->status < 300) {
      SetMoved(response->url == file_.request.url ? std::string() : response->url);
    } else if (!moved.empty() && response.ok() && response->status >= 400 && response->status < 500) {
      SetMoved("");
      return Send(client, begin, end, sink);
    }
    return response;
  }

  std::string Moved() const {
    const std::lock_guard lock(mutex_);
    return moved_;
  }
  void SetMoved(std::string url) const {
    const std::lock_guard lock(mutex_);
    moved_ = std::move(url);
  }

  const RemoteFile file_;
  const std::shared_ptr<HttpPool> pool_;
  const uint64_t number_;
  uint64_t size_ = 0;
  std::string version_;                       // ETag or Last-Modified
  std::shared_ptr<const std::string> whole_;  // of a server without ranges
  mutable std::mutex mutex_;
  mutable std::string moved_;  // where the redirects of file_.request.url led to
};

}  // namespace

std::unique_ptr<HttpClient> HttpPool::Take() {
  const std::lock_guard lock(mutex_);
  if (clients_.empty()) return std::make_unique<HttpClient>(options_);
  std::unique_ptr<HttpClient> client = std::move(clients_.back());
  clients_.pop_back();
  return client;
}

HttpPool::Block HttpPool::FindBlock(BlockKey key) {
  const std::lock_guard lock(mutex_);
  const auto found = index_.find(key);
  if (found == index_.end()) return nullptr;
  blocks_.splice(blocks_.begin(), blocks_, found->second);
  return found->second->second;
}

void HttpPool::KeepBlock(BlockKey key, Block block) {
  const std::lock_guard lock(mutex_);
  if (index_.contains(key)) return;
  blocks_.emplace_front(key, std::move(block));
  index_.emplace(key, blocks_.begin());
  if (blocks_.size() <= kMaxBlocks) return;
  index_.erase(blocks_.back().first);
  blocks_.pop_back();
}

Result<ByteSourcePtr> OpenRemoteFile(RemoteFile file, std::shared_ptr<HttpPool> pool) {
  auto source = std::make_shared<RemoteSource>(std::move(file), std::move(pool));
  ANEMONE_TRY(source->Open());
  return ByteSourcePtr(std::move(source));
}

Status HttpRefusal(const HttpResponse& response) {
  const std::string status = " (HTTP " + std::to_string(response.status) + ")";
  if (response.status == 404 || response.status == 410)
    return NotFound("expected a file, the server has none" + status);
  if (response.status == 401 || response.status == 403)
    return NotFound("expected access, the server forbids it" + status);  // as good as absent, as OpenFile has it
  if (response.status == 429) {
    const std::optional<double> wait = RetryAfter(response);
    return Unavailable("rate-limited" + status,
                       wait ? "try again in " + std::to_string(static_cast<int64_t>(*wait)) + " s" : "try again later");
  }
  if (response.status >= 500) return Unavailable("the server is in trouble" + status, "try again later");
  return Unavailable("expected a file, the server answers otherwise" + status);
}

}  // namespace anemone
