// NeMo's command lines: each line of `words` is a word behind `anemone nemo`, the other files are in the folder where
// it runs. Whatever they say, it ends with a status of sysexits.h and writes nothing outside that folder.
#include "folder.h"

#include <unistd.h>

#include <cerrno>

#include "base/sys.h"
#include "cli/program.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace anemone;
  // Nothing is fetched and nothing is written: the words may name any place.
  static const bool once = [] {
    ::setenv("HF_HUB_OFFLINE", "1", 1);
    ::setenv("HF_HOME", "/nowhere", 1);
    sys.mkdir = [](const char*, mode_t) { return errno = EROFS, -1; };
    sys.mkdirat = [](int, const char*, mode_t) { return errno = EROFS, -1; };
    sys.rename = [](const char*, const char*, unsigned) { return errno = EROFS, -1; };
    sys.remove_all = [](const char*) { return errno = EROFS, -1; };
    return true;
  }();
  static_cast<void>(once);
  const std::vector<fuzz::File> files = fuzz::FilesOf(data, size);
  const fuzz::File* lines = fuzz::FindFile(files, "words");
  if (lines == nullptr) return 0;
  std::vector<std::string> words = {"anemone", "nemo"};
  std::string_view rest = lines->content;
  while (!rest.empty() && words.size() < 40) {
    const std::string_view word = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(word.size() + 1, rest.size()));
    // A path may lead to what is not ours, an address away from here.
    if (word.find("..") != word.npos || word.find("=/") != word.npos || word.starts_with('/') ||
        word.find("://") != word.npos)
      return 0;
    words.emplace_back(word.substr(0, word.find('\0')));
  }
  const fuzz::FuzzFolder folder(files);
  if (::chdir(folder.path().c_str()) != 0) return 0;
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const int status = cli::RunProgram(static_cast<int>(words.size()), argv.data(), cli::Host::kGuest);
  if (status < 0 || status > 78 || status == 70) std::abort();
  return ::chdir("/") == 0 ? 0 : 0;
}
