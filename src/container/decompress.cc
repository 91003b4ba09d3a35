#include "container/decompress.h"

#include <bzlib.h>
#include <lzma.h>
#include <zlib.h>

#include <algorithm>
#include <memory>

#include "base/shared_library.h"

namespace anemone {
namespace {

constexpr uint64_t kInput = 64 << 10;
constexpr size_t kOutput = 64 << 10;
constexpr uint64_t kXzMemory = 64 << 20;

// One library's stream. `Run` consumes from `in` and fills `out`; both are shortened to what is left.
enum class Step : uint8_t { kMore, kEnd, kDamaged };
struct Stream {
  virtual ~Stream() = default;
  virtual Step Run(std::string_view& in, char*& out, size_t& room, bool at_end) = 0;
};

struct Zlib final : Stream {
  z_stream z = {};
  Zlib() { (void)inflateInit(&z); }
  ~Zlib() override { inflateEnd(&z); }
  Step Run(std::string_view& in, char*& out, size_t& room, bool) override {
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
    z.avail_in = static_cast<uInt>(in.size());
    z.next_out = reinterpret_cast<Bytef*>(out);
    z.avail_out = static_cast<uInt>(room);
    const int code = inflate(&z, Z_NO_FLUSH);
    in.remove_prefix(in.size() - z.avail_in);
    out = reinterpret_cast<char*>(z.next_out);
    room = z.avail_out;
    return code == Z_STREAM_END ? Step::kEnd : code == Z_OK || code == Z_BUF_ERROR ? Step::kMore : Step::kDamaged;
  }
};

// Few files are packed by bzip2 or xz: their libraries are loaded at first use.
struct Bzip2Library {
  decltype(&BZ2_bzDecompressInit) init;
  decltype(&BZ2_bzDecompress) run;
  decltype(&BZ2_bzDecompressEnd) end;

  static Result<Bzip2Library> Load() {
    ANEMONE_ASSIGN(const SharedLibrary library, SharedLibrary::Open({"libbz2.so.1.0", "libbz2.so.1"}));
    Bzip2Library bzip2{};
    ANEMONE_TRY(library.Find("BZ2_bzDecompressInit", bzip2.init));
    ANEMONE_TRY(library.Find("BZ2_bzDecompress", bzip2.run));
    ANEMONE_TRY(library.Find("BZ2_bzDecompressEnd", bzip2.end));
    return bzip2;
  }
};

struct Bzip2 final : Stream {
  const Bzip2Library& lib;
  bz_stream z = {};
  explicit Bzip2(const Bzip2Library& library) : lib(library) { (void)lib.init(&z, 0, 0); }
  ~Bzip2() override { lib.end(&z); }
  Step Run(std::string_view& in, char*& out, size_t& room, bool) override {
    z.next_in = const_cast<char*>(in.data());
    z.avail_in = static_cast<unsigned>(in.size());
    z.next_out = out;
    z.avail_out = static_cast<unsigned>(room);
    const int code = lib.run(&z);
    in.remove_prefix(in.size() - z.avail_in);
    out = z.next_out;
    room = z.avail_out;
    return code == BZ_STREAM_END ? Step::kEnd : code == BZ_OK ? Step::kMore : Step::kDamaged;
  }
};

struct XzLibrary {
  decltype(&lzma_auto_decoder) decoder;
  decltype(&lzma_code) run;
  decltype(&lzma_end) end;

  static Result<XzLibrary> Load() {
    ANEMONE_ASSIGN(const SharedLibrary library, SharedLibrary::Open({"liblzma.so.5"}));
    XzLibrary xz{};
    ANEMONE_TRY(library.Find("lzma_auto_decoder", xz.decoder));
    ANEMONE_TRY(library.Find("lzma_code", xz.run));
    ANEMONE_TRY(library.Find("lzma_end", xz.end));
    return xz;
  }
};

// xz, and the bare LZMA format that Python's lzma and joblib write as well.
struct Xz final : Stream {
  const XzLibrary& lib;
  lzma_stream z = LZMA_STREAM_INIT;
  // Without a decoder lzma_code answers that it was misused.
  explicit Xz(const XzLibrary& library) : lib(library) {
    [[maybe_unused]] const lzma_ret code = lib.decoder(&z, kXzMemory, 0);
  }
  ~Xz() override { lib.end(&z); }
  Step Run(std::string_view& in, char*& out, size_t& room, bool at_end) override {
    z.next_in = reinterpret_cast<const uint8_t*>(in.data());
    z.avail_in = in.size();
    z.next_out = reinterpret_cast<uint8_t*>(out);
    z.avail_out = room;
    const lzma_ret code = lib.run(&z, at_end ? LZMA_FINISH : LZMA_RUN);
    in.remove_prefix(in.size() - z.avail_in);
    out = reinterpret_cast<char*>(z.next_out);
    room = z.avail_out;
    return code == LZMA_STREAM_END ? Step::kEnd : code == LZMA_OK ? Step::kMore : Step::kDamaged;
  }
};

Result<std::unique_ptr<Stream>> Start(Codec codec) {
  switch (codec) {
    case Codec::kBzip2: {
      ANEMONE_ASSIGN(const Bzip2Library* const library, LoadedOnce<Bzip2Library::Load>());
      return std::unique_ptr<Stream>(std::make_unique<Bzip2>(*library));
    }
    case Codec::kXz: {
      ANEMONE_ASSIGN(const XzLibrary* const library, LoadedOnce<XzLibrary::Load>());
      return std::unique_ptr<Stream>(std::make_unique<Xz>(*library));
    }
    case Codec::kZlib:
    case Codec::kNone:
      break;
  }
  return std::unique_ptr<Stream>(std::make_unique<Zlib>());
}

}  // namespace

Codec CodecOf(std::string_view head) {
  const auto byte = [&](size_t at) { return static_cast<unsigned>(static_cast<uint8_t>(head[at])); };
  if (head.starts_with(std::string_view("\xfd"
                                        "7zXZ\0",
                                        6)))
    return Codec::kXz;
  // Properties 5d, a dictionary of a power of two, a size that is unknown or below 2^40 [LZMA SDK, lzma-file-format].
  if (head.size() >= 13 && head.starts_with(std::string_view("\x5d\0\0", 3)) &&
      (head.substr(5, 8) == "\xff\xff\xff\xff\xff\xff\xff\xff" || head.substr(10, 3) == std::string_view("\0\0\0", 3)))
    return Codec::kXz;
  if (head.size() >= 10 && head.starts_with("BZh") && head[3] >= '1' && head[3] <= '9' &&
      (head.substr(4, 6) == "1AY&SY" || head.substr(4, 6) == "\x17\x72\x45\x38\x50\x90"))
    return Codec::kBzip2;
  // Deflate, a window of at most 32 KiB, no dictionary, the check bits right [RFC 1950, 2.2].
  if (head.size() >= 2 && (byte(0) & 0x8f) == 0x08 && (byte(1) & 0x20) == 0 && (byte(0) << 8 | byte(1)) % 31 == 0)
    return Codec::kZlib;
  return Codec::kNone;
}

Decompressed Decompress(Codec codec, const ByteRange& compressed, uint64_t max_bytes) {
  Decompressed result;
  Result<std::unique_ptr<Stream>> stream = Start(codec);
  if (!stream.ok()) return result.status = stream.status(), std::move(result);
  std::string input;
  std::string_view in;
  uint64_t at = 0;
  bool fresh = true;  // nothing of this stream has been read
  bool has_whole = false;
  std::string chunk(kOutput, '\0');
  while (true) {
    if (in.empty() && at < compressed.size) {
      const Result<ByteRange> part = compressed.Sub(at, std::min(kInput, compressed.size - at));
      Result<std::string> bytes = part.ok() ? part->ReadAll(kInput) : part.status();
      if (!bytes.ok()) return result.status = bytes.status(), std::move(result);
      input = *std::move(bytes);
      in = input;
      at += input.size();
    }
    const bool at_end = at == compressed.size;
    if (fresh && in.empty() && at_end) return result;
    char* out = chunk.data();
    size_t room = chunk.size();
    const size_t before = in.size();
    const Step step = (*stream)->Run(in, out, room, at_end);
    const size_t count = chunk.size() - room;
    if (result.bytes.size() + count > max_bytes) {
      result.status = LimitExceeded("expected a stream of at most " + std::to_string(max_bytes) + " bytes, found more");
      return result;
    }
    result.bytes.append(chunk, 0, count);
    if (step == Step::kEnd) {
      stream = Start(codec);
      fresh = has_whole = true;
      continue;
    }
    if (step == Step::kDamaged) {
      // Other bytes behind a stream are nobody's.
      if (!fresh || !has_whole || count > 0) result.status = Corrupt("expected a compressed stream, found it damaged");
      return result;
    }
    fresh = fresh && before == in.size() && count == 0;
    if (count == 0 && in.empty() && at_end) {
      result.status = Corrupt("expected more compressed bytes, found the end: truncated");
      return result;
    }
  }
}

}  // namespace anemone
