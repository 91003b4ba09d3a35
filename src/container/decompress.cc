#include "container/decompress.h"

#include <bzlib.h>
#include <lzma.h>
#include <zlib.h>

#include <algorithm>
#include <memory>

#include "base/little_endian.h"
#include "base/shared_library.h"

namespace anemone {
namespace {

constexpr uint64_t kInput = 64 << 10;
constexpr size_t kOutput = 64 << 10;
constexpr uint64_t kXzMemory = 80 << 20;  // a dictionary of 64 MiB, as `xz -9` has

// One library's stream. `Run` consumes from `in` and fills `out`; both are shortened to what is left.
enum class Step : uint8_t { kMore, kEnd, kDamaged, kNeedsMemory };
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
    if (code == LZMA_MEMLIMIT_ERROR) return Step::kNeedsMemory;
    return code == LZMA_STREAM_END ? Step::kEnd : code == LZMA_OK ? Step::kMore : Step::kDamaged;
  }
};

Result<std::unique_ptr<Stream>> Start(Codec codec) {
  switch (codec) {
    case Codec::kBzip2: {
      ANEMONE_ASSIGN(const Bzip2Library* const library, LoadedOnce<Bzip2Library::Load>());
      return std::unique_ptr<Stream>(std::make_unique<Bzip2>(*library));
    }
    case Codec::kXz:
    case Codec::kLzma: {
      ANEMONE_ASSIGN(const XzLibrary* const library, LoadedOnce<XzLibrary::Load>());
      return std::unique_ptr<Stream>(std::make_unique<Xz>(*library));
    }
    case Codec::kZlib:
    case Codec::kNone:
      break;
  }
  return std::unique_ptr<Stream>(std::make_unique<Zlib>());
}

// True for what lzma_auto_decoder takes for bare LZMA [liblzma alone_decoder.c, picky]: properties, a dictionary of 2^n
// or 2^n + 2^(n-1), a size that is unknown or below 256 GiB.
bool IsLzma(std::string_view head) {
  if (head.size() < 13) return false;
  const unsigned properties = static_cast<uint8_t>(head[0]);
  if (properties >= 225 || properties % 9 + properties / 9 % 5 > 4) return false;
  const uint64_t dictionary = internal::LittleEndian(head.substr(1, 4));
  const uint64_t size = internal::LittleEndian(head.substr(5, 8));
  const uint64_t rest = dictionary & (dictionary - 1);  // without the lowest bit
  const bool is_round = dictionary == UINT32_MAX || rest == 0 || rest == 2 * (dictionary & ~rest);
  return is_round && (size == UINT64_MAX || size < uint64_t{1} << 38);
}

}  // namespace

size_t JoblibHead(std::string_view head) {
  constexpr size_t kSize = 2 + 19;  // "ZF", a number in hexadecimal, blanks; Python 2 wrote another blank
  if (head.size() < kSize + 3 || !head.starts_with("ZF")) return 0;
  return head[kSize] == ' ' ? kSize + 1 : kSize;
}

Codec CodecOf(std::string_view head) {
  const auto byte = [&](size_t at) { return static_cast<unsigned>(static_cast<uint8_t>(head[at])); };
  if (head.starts_with(std::string_view("\xfd"
                                        "7zXZ\0",
                                        6)))
    return Codec::kXz;
  if (IsLzma(head)) return Codec::kLzma;
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
    if (step == Step::kNeedsMemory) {
      result.status = LimitExceeded("expected a stream that 80 MiB of memory unpack, found one that needs more");
      return result;
    }
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
