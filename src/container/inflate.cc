// Restart points as in zlib's examples/zran.c: at a block boundary the state of an inflater is its position, up to
// seven bits of the byte before, and the 32 KiB that came out last [RFC 1951, RFC 1952].
#include "container/inflate.h"

#include <zlib.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "base/crc32.h"
#include "container/gzip.h"

namespace anemone {
namespace {

constexpr size_t kInputBytes = 1 << 16;
constexpr size_t kSkipBytes = 1 << 16;
constexpr size_t kMaxPoints = 512;  // of 32 KiB each
constexpr size_t kMaxIdle = 16;     // streams kept for the next read

enum class Framing : uint8_t { kRaw, kGzip };

// Where an inflater can begin.
struct Point {
  uint64_t out = 0;       // output offset
  uint64_t in = 0;        // offset of the first input byte not used at all
  int bits = 0;           // of the byte before it, still to be used
  bool at_header = true;  // a member begins here; no window
  std::string window;
};

class InflatingSource final : public ByteSource {
 public:
  InflatingSource(ByteRange compressed, Framing framing, uint64_t size, uint32_t crc32)
      : compressed_(std::move(compressed)), framing_(framing), size_(size), crc32_(crc32), points_(1) {}

  uint64_t size_bytes() const override { return size_; }
  const std::string& name() const override { return compressed_.source->name(); }
  Status CheckUnchanged() const override { return compressed_.source->CheckUnchanged(); }
  std::string_view remote_version() const override { return compressed_.source->remote_version(); }

  Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
    if (!Within(offset, out.size(), size_)) {
      return Corrupt("expected " + std::to_string(out.size()) + " bytes at " + std::to_string(offset) +
                     ", found an end at " + std::to_string(size_));
    }
    if (out.empty()) return {};
    std::unique_ptr<Stream> stream = Borrow(offset);
    if (stream == nullptr) return Internal("zlib could not start");
    std::vector<std::byte> skipped(std::min<uint64_t>(kSkipBytes, offset - stream->out));
    while (stream->out < offset) {
      ANEMONE_TRY(Fill(*stream, std::span(skipped).first(std::min<uint64_t>(skipped.size(), offset - stream->out))));
    }
    ANEMONE_TRY(Fill(*stream, out));
    if (stream->out == size_ && framing_ == Framing::kRaw) {  // nothing may follow, and the end checks the CRC
      std::byte more;
      ANEMONE_ASSIGN(const size_t count, Produce(*stream, std::span(&more, 1)));
      if (count != 0) return Wrong("the size in the directory", "more bytes than that");
    }
    if (!stream->done) Return(std::move(stream));
    return {};
  }

  // Gzip: runs through everything once.
  Status Measure(const GzipOptions& options) {
    spacing_ = std::max<uint64_t>(options.restart_bytes, 1);
    std::unique_ptr<Stream> stream = Borrow(0);
    if (stream == nullptr) return Internal("zlib could not start");
    std::vector<std::byte> skipped(kSkipBytes);
    while (true) {
      ANEMONE_ASSIGN(const size_t count, Produce(*stream, skipped));
      if (count == 0) break;
      const uint64_t used = std::max<uint64_t>(stream->used(), 1);
      if (stream->out > options.ratio_free_bytes && stream->out / used >= options.max_ratio) {
        if (options.max_ratio == 0) {
          return LimitExceeded("expected a gzip stream of at most " + std::to_string(options.ratio_free_bytes) +
                               " bytes, found more [GZ-6]");
        }
        return LimitExceeded("expected at most " + std::to_string(options.max_ratio) +
                             " times the bytes of the gzip stream, found " + std::to_string(stream->out) + " in " +
                             std::to_string(used) + " [GZ-6]");
      }
    }
    size_ = stream->out;
    return {};
  }

 private:
  struct Stream {
    z_stream z = {};
    bool open = false;
    bool at_header = true;
    bool done = false;
    bool from_member_start = false;  // CRC and length can be checked
    uint32_t crc = 0;
    uint64_t member_out = 0;  // where the member's output began
    uint64_t in = 0;          // next input byte to fetch
    uint64_t out = 0;
    std::vector<std::byte> input = std::vector<std::byte>(kInputBytes);

    Stream() = default;
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    ~Stream() {
      if (open) inflateEnd(&z);
    }
    uint64_t used() const { return in - z.avail_in; }
  };

  // An idle stream or a new one, standing at or before `offset` and as near as there is. Null when zlib has no memory.
  std::unique_ptr<Stream> Borrow(uint64_t offset) const {
    const std::lock_guard lock(mutex_);
    const auto point = std::prev(std::ranges::upper_bound(points_, offset, {}, &Point::out));
    auto best = idle_.end();
    for (auto it = idle_.begin(); it != idle_.end(); ++it) {
      if ((*it)->out <= offset && (*it)->out >= point->out && (best == idle_.end() || (*it)->out > (*best)->out))
        best = it;
    }
    if (best != idle_.end()) {
      std::unique_ptr<Stream> stream = std::move(*best);
      idle_.erase(best);
      return stream;
    }
    auto stream = std::make_unique<Stream>();
    if (inflateInit2(&stream->z, -15) != Z_OK) return nullptr;
    stream->open = true;
    stream->in = point->in;
    stream->out = point->out;
    stream->at_header = point->at_header;
    if (point->at_header) return stream;
    if (point->bits != 0) {
      std::byte before;
      if (!compressed_.source->ReadAt(compressed_.offset + point->in - 1, std::span(&before, 1)).ok()) return nullptr;
      if (inflatePrime(&stream->z, point->bits, static_cast<int>(before) >> (8 - point->bits)) != Z_OK) return nullptr;
    }
    const auto* window = reinterpret_cast<const Bytef*>(point->window.data());
    if (inflateSetDictionary(&stream->z, window, static_cast<uInt>(point->window.size())) != Z_OK) return nullptr;
    return stream;
  }

  void Return(std::unique_ptr<Stream> stream) const {
    const std::lock_guard lock(mutex_);
    if (idle_.size() == kMaxIdle) idle_.erase(idle_.begin());
    idle_.push_back(std::move(stream));
  }

  void Remember(Stream& stream) const {
    const std::lock_guard lock(mutex_);
    if (stream.out < points_.back().out + spacing_) return;
    Point point{stream.out, stream.used(), stream.z.data_type & 7, stream.at_header, {}};
    if (!stream.at_header) {
      point.window.resize(32768);
      uInt length = 0;
      if (inflateGetDictionary(&stream.z, reinterpret_cast<Bytef*>(point.window.data()), &length) != Z_OK) return;
      point.window.resize(length);
    } else {
      point.bits = 0;
    }
    points_.push_back(std::move(point));
    if (points_.size() <= kMaxPoints) return;
    for (size_t i = 1; 2 * i < points_.size(); ++i) points_[i] = std::move(points_[2 * i]);
    points_.resize((points_.size() + 1) / 2);
    spacing_ *= 2;
  }

  Status Wrong(std::string_view expected, std::string_view found) const {
    const std::string rule = framing_ == Framing::kGzip ? " [GZ-2]" : " [ZIP-8]";
    return Corrupt("expected " + std::string(expected) + ", found " + std::string(found) + rule);
  }
  Status Truncated() const {
    const std::string rule = framing_ == Framing::kGzip ? " [GZ-3]" : " [ZIP-8]";
    return Corrupt("expected more compressed bytes, found the end at byte " + std::to_string(compressed_.size) +
                   ": truncated" + rule);
  }

  Status Fetch(Stream& stream) const {
    const uint64_t count = std::min<uint64_t>(kInputBytes, compressed_.size - stream.in);
    if (count == 0) return Truncated();
    ANEMONE_TRY(compressed_.source->ReadAt(compressed_.offset + stream.in, std::span(stream.input).first(count)));
    stream.in += count;
    stream.z.next_in = reinterpret_cast<Bytef*>(stream.input.data());
    stream.z.avail_in = static_cast<uInt>(count);
    return {};
  }
  Result<uint8_t> Byte(Stream& stream) const {
    if (stream.z.avail_in == 0) ANEMONE_TRY(Fetch(stream));
    --stream.z.avail_in;
    return *stream.z.next_in++;
  }
  Result<uint32_t> Number(Stream& stream, int width) const {
    uint32_t value = 0;
    for (int i = 0; i < width; ++i) {
      ANEMONE_ASSIGN(const uint8_t byte, Byte(stream));
      value |= static_cast<uint32_t>(byte) << (8 * i);
    }
    return value;
  }

  // A member's header [RFC 1952, 2.3].
  Status ReadHeader(Stream& stream) const {
    const uint64_t at = stream.used();
    ANEMONE_ASSIGN(const uint32_t magic, Number(stream, 2));
    if (magic != 0x8b1f) {
      return Corrupt((at == 0 ? "expected a gzip stream" : "expected another gzip member or the end") +
                     (", found other bytes at " + std::to_string(at)) + (at == 0 ? " [GZ-1]" : " [GZ-5]"));
    }
    ANEMONE_ASSIGN(const uint8_t method, Byte(stream));
    ANEMONE_ASSIGN(const uint8_t flags, Byte(stream));
    if (method != 8 || (flags & 0xe0) != 0) {
      return Unsupported("expected method 8 and known flags, found method " + std::to_string(method) + ", flags " +
                         std::to_string(flags) + " [GZ-1]");
    }
    for (int i = 0; i < 6; ++i) ANEMONE_TRY(Byte(stream).status());  // time, extra flags, system
    if ((flags & 4) != 0) {
      ANEMONE_ASSIGN(const uint32_t length, Number(stream, 2));
      for (uint32_t i = 0; i < length; ++i) ANEMONE_TRY(Byte(stream).status());
    }
    for (const int text : {8, 16}) {  // name, comment
      if ((flags & text) == 0) continue;
      uint8_t byte = 1;
      for (int i = 0; byte != 0; ++i) {
        if (i == 1 << 16) return LimitExceeded("expected a name or comment of at most 64 KiB, found more [GZ-1]");
        ANEMONE_ASSIGN(byte, Byte(stream));
      }
    }
    if ((flags & 2) != 0) ANEMONE_TRY(Number(stream, 2).status());
    return {};
  }

  // Behind a deflate stream: gzip's trailer and what follows it.
  Status FinishMember(Stream& stream) const {
    if (framing_ == Framing::kRaw) {
      if (stream.out != size_) return Wrong(std::to_string(size_) + " bytes", std::to_string(stream.out));
      if (stream.from_member_start && stream.crc != crc32_) return Wrong("the directory's CRC", "another: damaged");
      stream.done = true;
      return {};
    }
    ANEMONE_ASSIGN(const uint32_t crc, Number(stream, 4));
    ANEMONE_ASSIGN(const uint32_t length, Number(stream, 4));
    if (stream.from_member_start) {
      if (crc != stream.crc) return Corrupt("expected the member's CRC, found another: damaged [GZ-4]");
      if (length != static_cast<uint32_t>(stream.out - stream.member_out)) {
        return Corrupt("expected a member of " + std::to_string(length) + " bytes modulo 4 GiB, found " +
                       std::to_string(stream.out - stream.member_out) + " [GZ-4]");
      }
    }
    // Zeros may fill the last block of a tape.
    while (true) {
      if (stream.z.avail_in == 0 && stream.in == compressed_.size) {
        stream.done = true;
        return {};
      }
      if (stream.z.avail_in == 0) ANEMONE_TRY(Fetch(stream));
      if (*stream.z.next_in != 0) break;
      ++stream.z.next_in;
      --stream.z.avail_in;
    }
    stream.at_header = true;
    return {};
  }

  // Inflates up to out.size() bytes; 0 only at the end.
  Result<size_t> Produce(Stream& stream, std::span<std::byte> out) const {
    size_t produced = 0;
    while (produced < out.size() && !stream.done) {
      if (stream.at_header) {
        Remember(stream);
        if (framing_ == Framing::kGzip) ANEMONE_TRY(ReadHeader(stream));
        if (inflateReset(&stream.z) != Z_OK) return Internal("zlib could not start");
        stream.at_header = false;
        stream.from_member_start = true;
        stream.crc = 0;
        stream.member_out = stream.out;
      }
      if (stream.z.avail_in == 0 && stream.in < compressed_.size) ANEMONE_TRY(Fetch(stream));
      const std::span<std::byte> room = out.subspan(produced, std::min<size_t>(out.size() - produced, 1 << 30));
      stream.z.next_out = reinterpret_cast<Bytef*>(room.data());
      stream.z.avail_out = static_cast<uInt>(room.size());
      const int code = inflate(&stream.z, Z_BLOCK);
      const size_t count = room.size() - stream.z.avail_out;
      if (stream.from_member_start) stream.crc = Crc32(stream.crc, room.first(count));
      produced += count;
      stream.out += count;
      if (code == Z_STREAM_END) {
        ANEMONE_TRY(FinishMember(stream));
      } else if (code == Z_BUF_ERROR && stream.z.avail_in == 0 && stream.in == compressed_.size && count == 0) {
        return Truncated();
      } else if (code != Z_OK && code != Z_BUF_ERROR) {
        return Wrong("deflated data", stream.z.msg != nullptr ? stream.z.msg : "a damaged stream");
      } else if ((stream.z.data_type & 128) != 0 && (stream.z.data_type & 64) == 0) {
        Remember(stream);
      }
    }
    return produced;
  }

  Status Fill(Stream& stream, std::span<std::byte> out) const {
    ANEMONE_ASSIGN(const size_t count, Produce(stream, out));
    if (count == out.size()) return {};
    return Wrong(std::to_string(size_) + " bytes", std::to_string(stream.out));
  }

  const ByteRange compressed_;
  const Framing framing_;
  uint64_t size_;
  const uint32_t crc32_;
  mutable std::mutex mutex_;
  mutable std::vector<Point> points_;  // ascending; the first is the start
  mutable uint64_t spacing_ = GzipOptions().restart_bytes;
  mutable std::vector<std::unique_ptr<Stream>> idle_;
};

}  // namespace

Result<ByteSourcePtr> OpenGzip(ByteSourcePtr compressed, const GzipOptions& options) {
  auto source = std::make_shared<InflatingSource>(Whole(std::move(compressed)), Framing::kGzip, 0, 0);
  ANEMONE_TRY(source->Measure(options));
  return ByteSourcePtr(std::move(source));
}

ByteSourcePtr internal::InflateMember(ByteRange compressed, uint64_t size, uint32_t crc32) {
  return std::make_shared<InflatingSource>(std::move(compressed), Framing::kRaw, size, crc32);
}

}  // namespace anemone
