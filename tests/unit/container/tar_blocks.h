// Tar blocks made by hand, right and wrong.
#ifndef ANEMONE_TESTS_UNIT_CONTAINER_TAR_BLOCKS_H_
#define ANEMONE_TESTS_UNIT_CONTAINER_TAR_BLOCKS_H_

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

namespace anemone::testing {

struct TarEntry {
  std::string name;
  std::string content = {};
  std::string prefix = {};
  std::string link = {};
  std::string magic = std::string("ustar\00000", 8);
  bool base256 = false;
  std::optional<uint64_t> size = {};  // what the header says; the content's size by default
  std::string octal_size = {};        // the raw field
};

// A header with a right checksum, the content, and its padding.
inline std::string TarBlock(const TarEntry& entry, char type) {
  std::string block(512, '\0');
  const auto set = [&](size_t at, const std::string& text) { block.replace(at, text.size(), text); };
  const auto octal = [](uint64_t value, int digits) {
    char text[32];
    std::snprintf(text, sizeof text, "%0*llo", digits, static_cast<unsigned long long>(value));
    return std::string(text);
  };
  const uint64_t size = entry.size.value_or(entry.content.size());
  set(0, entry.name.substr(0, 100));
  set(100, octal(0644, 7));
  set(108, octal(0, 7));
  set(116, octal(0, 7));
  set(124, octal(size, 11));
  if (entry.base256) {
    block[124] = '\x80';
    for (size_t i = 0; i < 11; ++i) block[135 - i] = i < 8 ? static_cast<char>(size >> (8 * i)) : '\0';
  }
  if (!entry.octal_size.empty()) set(124, entry.octal_size);
  set(136, octal(0, 11));
  set(148, "        ");
  block[156] = type;
  set(157, entry.link);
  set(257, entry.magic);
  set(345, entry.prefix);
  unsigned sum = 0;
  for (const char c : block) sum += static_cast<unsigned char>(c);
  set(148, octal(sum, 6) + std::string("\0 ", 2));
  return block + entry.content + std::string((512 - entry.content.size() % 512) % 512, '\0');
}

inline std::string TarPax(char type, const std::string& records) {
  return TarBlock({.name = "././@PaxHeader", .content = records}, type);
}

inline std::string TarFile(const std::vector<std::string>& blocks) {
  std::string file;
  for (const std::string& block : blocks) file += block;
  file.append(1024, '\0');
  return file + std::string((10240 - file.size() % 10240) % 10240, '\0');
}

}  // namespace anemone::testing

#endif  // ANEMONE_TESTS_UNIT_CONTAINER_TAR_BLOCKS_H_
