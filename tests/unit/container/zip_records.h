// Zip records made by hand, right and wrong.
#ifndef ANEMONE_TESTS_UNIT_CONTAINER_ZIP_RECORDS_H_
#define ANEMONE_TESTS_UNIT_CONTAINER_ZIP_RECORDS_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <zlib.h>

#include "base/crc32.h"

namespace anemone::testing {

inline std::string Deflated(const std::string& text, int window_bits = -15, int mem_level = 8) {
  z_stream z = {};
  deflateInit2(&z, 6, Z_DEFLATED, window_bits, mem_level, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&z, text.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

struct ZipEntry {
  std::string name = {};
  std::string content = {};  // as stored
  uint16_t method = 0;
  uint16_t flags = 0x0800;
  bool descriptor = false;
  std::string local_extra = {}, central_extra = {};
  std::optional<uint64_t> size = {};       // uncompressed, in both headers
  std::optional<std::string> crc_of = {};  // the uncompressed bytes; the content by default
  // Lies:
  std::optional<std::string> local_name = {};
  std::optional<uint32_t> local_size = {}, local_crc = {}, offset = {}, descriptor_crc = {};
  std::optional<uint16_t> local_method = {};
};

struct ZipEnd {
  std::string comment = {};
  std::optional<uint16_t> count = {};
  bool zip64 = false;
  std::optional<uint64_t> count64 = {};
  bool full_offset = false;
};

inline std::string ZipFile(const std::vector<ZipEntry>& entries, const ZipEnd& end) {
  const auto n = [](uint64_t value, int width) {
    std::string text;
    for (int i = 0; i < width; ++i) text += i < 8 ? static_cast<char>(value >> (8 * i)) : '\0';
    return text;
  };
  std::string file, directory;
  for (const ZipEntry& e : entries) {
    const std::string& plain = e.crc_of ? *e.crc_of : e.content;
    const uint32_t crc = Crc32(0, std::as_bytes(std::span(plain)));
    const uint64_t size = e.size.value_or(e.content.size());
    const auto flags = static_cast<uint16_t>(e.flags | (e.descriptor ? 8 : 0));
    const std::string local_name = e.local_name.value_or(e.name);
    const size_t offset = e.offset.value_or(file.size());
    file += "PK\3\4" + n(20, 2) + n(flags, 2) + n(e.local_method.value_or(e.method), 2) + n(0, 4);
    file += n(e.descriptor ? 0 : e.local_crc.value_or(crc), 4) + n(e.descriptor ? 0 : e.content.size(), 4);
    file += n(e.descriptor ? 0 : e.local_size.value_or(static_cast<uint32_t>(size)), 4);
    file += n(local_name.size(), 2) + n(e.local_extra.size(), 2) + local_name + e.local_extra + e.content;
    if (e.descriptor) file += "PK\7\10" + n(e.descriptor_crc.value_or(crc), 4) + n(e.content.size(), 4) + n(size, 4);
    directory += "PK\1\2" + n(20, 2) + n(20, 2) + n(flags, 2) + n(e.method, 2) + n(0, 4) + n(crc, 4) +
                 n(e.content.size(), 4) + n(size, 4);
    directory +=
        n(e.name.size(), 2) + n(e.central_extra.size(), 2) + n(0, 12 - 2) + n(offset, 4) + e.name + e.central_extra;
  }
  const uint64_t at = file.size(), count = end.count.value_or(static_cast<uint16_t>(entries.size()));
  file += directory;
  if (end.zip64) {
    const uint64_t end64 = file.size();
    const uint64_t count64 = end.count64.value_or(count);
    file += "PK\6\6" + n(44, 8) + n(45, 2) + n(45, 2) + n(0, 8) + n(count64, 8) + n(count64, 8) +
            n(directory.size(), 8) + n(at, 8);
    file += "PK\6\7" + n(0, 4) + n(end64, 8) + n(1, 4);
  }
  file += "PK\5\6" + n(0, 4) + n(count, 2) + n(count, 2) + n(directory.size(), 4);
  file += n(end.full_offset ? 0xffffffff : at, 4) + n(end.comment.size(), 2) + end.comment;
  return file;
}

}  // namespace anemone::testing

#endif  // ANEMONE_TESTS_UNIT_CONTAINER_ZIP_RECORDS_H_
