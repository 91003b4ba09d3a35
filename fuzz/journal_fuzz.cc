// The journal of an earlier run, and its work folder, with any content. A run with --resume either continues from them
// or refuses them; when it succeeds, the output has all its files. In the input, `@JOURNAL@` stands for the journal of
// the plan itself, and "@ …" in the line of a finished file for one with its checksum, which no mutation would find.
#include "folder.h"

#include <span>

#include "base/crc32.h"
#include "base/sys.h"
#include "engine/execute.h"

namespace {

using namespace anemone;

constexpr const char* kWorkFolder = "/.out.anemone-resume";

Plan SomePlan() {
  Plan plan;
  plan.is_directory = true;
  for (const char* name : {"a", "weights/b"}) {
    PlanFile& file = plan.files.emplace_back();
    file.path = name;
    file.Append(std::string("head\0\0\0\0", 8));
    file.Append(*Tensor::Fill(DType::kF32, {5000}, 1.5)->Cast(DType::kF16));
    file.crcs.push_back({8, file.size - 8, {4}});
  }
  return plan;
}

ExecuteOptions Options() {
  ExecuteOptions options;
  options.threads = 1;
  options.window_bytes = 4096;
  options.resume = true;
  return options;
}

// Of a run that is stopped before its end.
std::string JournalOf(const Plan& plan) {
  const fuzz::FuzzFolder folder({});
  ExecuteOptions options = Options();
  options.progress = [](std::string_view, uint64_t done, uint64_t total) { return done == 0 || done < total; };
  if (Execute(plan, folder.path() + "/out", options).ok()) std::abort();
  std::ifstream in(folder.path() + kWorkFolder + "/journal");
  return {std::istreambuf_iterator<char>(in), {}};
}

void FillIn(const std::string& journal, std::string& content) {
  constexpr std::string_view kJournal = "@JOURNAL@";
  if (const size_t at = content.find(kJournal); at != content.npos) content.replace(at, kJournal.size(), journal);
  for (size_t at = 0; at < content.size();) {
    const size_t end = std::min(content.find('\n', at), content.size());
    if (std::string_view(content).substr(at).starts_with("@ ")) {
      char crc[16];
      const std::span line = std::span(content).subspan(at + 2, end - std::min(end, at + 2));
      std::snprintf(crc, sizeof crc, "%08x", Crc32(0, std::as_bytes(line)));
      content.replace(at, 1, crc);
      at = end + 8;
    } else {
      at = end + 1;
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sys.fsync = [](int) { return 0; };
  const Plan plan = SomePlan();
  static const std::string journal = JournalOf(plan);
  std::vector<fuzz::File> files = fuzz::FilesOf(data, size);
  if (files.empty()) return 0;
  for (fuzz::File& file : files) FillIn(journal, file.content);
  const fuzz::FuzzFolder folder(files);
  std::error_code ignored;
  std::filesystem::permissions(folder.path() + kWorkFolder, std::filesystem::perms::owner_all, ignored);
  const Status status = Execute(plan, folder.path() + "/out", Options());
  fuzz::Expect(status);
  for (const PlanFile& file : plan.files) {
    const std::string path = folder.path() + "/out/" + file.path;
    if (status.ok() && std::filesystem::file_size(path, ignored) != file.size) std::abort();
  }
  return 0;
}
