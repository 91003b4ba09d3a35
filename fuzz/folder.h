// A folder as one input of a fuzzer: files one behind another, each below a line `--- NAME`. A mutation of a content
// changes that file and no other. `@0:N;` in a content is N zeros, so that weights take no room in a corpus. FuzzFolder
// writes the files to a folder in memory.
#ifndef ANEMONE_FUZZ_FOLDER_H_
#define ANEMONE_FUZZ_FOLDER_H_

#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/status.h"

namespace anemone::fuzz {

struct File {
  std::string name;
  std::string content;
};

constexpr std::string_view kMark = "--- ";
constexpr size_t kMaxFiles = 24, kMaxBytes = 1 << 20;

// Relative, of plain parts.
inline bool IsPlainName(std::string_view name) {
  if (name.size() > 200 || name.empty() || name.find('\0') != name.npos) return false;
  for (size_t at = 0; at <= name.size();) {
    const size_t end = std::min(name.find('/', at), name.size());
    const std::string_view part = name.substr(at, end - at);
    if (part.empty() || part == "." || part == "..") return false;
    at = end + 1;
  }
  return true;
}

inline std::string WithZeros(std::string_view text) {
  constexpr std::string_view kZeros = "@0:";
  std::string content;
  for (size_t at = text.find(kZeros); at != text.npos; at = text.find(kZeros)) {
    content += text.substr(0, at);
    text.remove_prefix(at + kZeros.size());
    size_t zeros = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), zeros);
    const bool is_count = error == std::errc() && end != text.data() + text.size() && *end == ';';
    if (is_count) text.remove_prefix(static_cast<size_t>(end - text.data()) + 1);
    content.append(is_count ? std::min(zeros, kMaxBytes - std::min(kMaxBytes, content.size())) : 0, '\0');
  }
  return content += text;
}

inline std::vector<File> FilesOf(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  std::vector<File> files;
  while (rest.starts_with(kMark) && files.size() < kMaxFiles) {
    rest.remove_prefix(kMark.size());
    const std::string_view name = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(name.size() + 1, rest.size()));
    const size_t end = rest.starts_with(kMark) ? 0 : std::min(rest.find("\n--- "), rest.size());
    if (IsPlainName(name)) files.push_back({std::string(name), WithZeros(rest.substr(0, end))});
    rest.remove_prefix(rest.starts_with(kMark) ? 0 : std::min(end + 1, rest.size()));
  }
  return files;
}

inline const File* FindFile(const std::vector<File>& files, std::string_view name) {
  const auto found = std::ranges::find(files, name, &File::name);
  return found == files.end() ? nullptr : &*found;
}

class FuzzFolder {
 public:
  explicit FuzzFolder(const std::vector<File>& files) {
    std::string pattern = "/dev/shm/anemone-fuzz-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
    std::error_code ignored;  // a name that is a file and a folder
    for (const File& file : files) {
      const std::filesystem::path path = std::filesystem::path(path_) / file.name;
      std::filesystem::create_directories(path.parent_path(), ignored);
      std::ofstream(path, std::ios::binary) << file.content;
    }
  }
  ~FuzzFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  FuzzFolder(const FuzzFolder&) = delete;
  FuzzFolder& operator=(const FuzzFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Whatever the input: an error says what is wrong with it, and is none of ours.
inline void Expect(const Status& status) {
  if (!status.ok() && (status.message().empty() || status.kind() == ErrorKind::kInternal)) {
    std::fprintf(stderr, "%s\n", status.message().c_str());
    std::abort();
  }
}

}  // namespace anemone::fuzz

#endif  // ANEMONE_FUZZ_FOLDER_H_
