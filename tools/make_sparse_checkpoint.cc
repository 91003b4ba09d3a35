// Writes a training checkpoint of any size whose tensors are holes: real files, real headers, no bytes on the disk. For
// planning models that fit no laptop.
//
//   make_sparse_checkpoint CONFIG.yaml DIR TP PP     a GPT's, bf16 with fp32 masters and Adam's moments
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <variant>

#include "engine/plan.h"
#include "format/format.h"
#include "inspect/hollow.h"
#include "parallel/reshard.h"

namespace {

using anemone::Status;

Status WriteSparse(const anemone::PlanFile& file, const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return anemone::ErrnoStatus(errno, "creating").In(path);
  bool ok = ftruncate(fd, static_cast<off_t>(file.size)) == 0;
  for (const anemone::Segment& segment : file.segments) {
    const auto* literal = std::get_if<std::string>(&segment.content);
    if (literal == nullptr) continue;
    const ssize_t written = pwrite(fd, literal->data(), literal->size(), static_cast<off_t>(segment.offset));
    ok = ok && written == static_cast<ssize_t>(literal->size());
  }
  ok = close(fd) == 0 && ok;
  return ok ? Status() : anemone::ErrnoStatus(errno, "writing").In(path);
}

Status Make(const std::string& config, const std::string& folder, int tp, int pp) {
  const anemone::HollowOptions options{
      .family = "gpt", .config = config, .dtype = anemone::DType::kBF16, .optimizer = true};
  ANEMONE_ASSIGN(const anemone::Hollow hollow, anemone::HollowCheckpoint(options));
  ANEMONE_ASSIGN(const anemone::Checkpoint ranks, anemone::SplitShards(hollow.checkpoint, {.tp = tp, .pp = pp}));
  const anemone::Format* format = anemone::FindFormat("ckpt");
  ANEMONE_ASSIGN(const anemone::Plan plan, format->lay_out(ranks, {}));
  for (const anemone::PlanFile& file : plan.files) {
    const std::filesystem::path path = std::filesystem::path(folder) / (file.path.empty() ? "model.ckpt" : file.path);
    std::error_code error;
    std::filesystem::create_directories(path.parent_path(), error);
    ANEMONE_TRY(WriteSparse(file, path));
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fputs("usage: make_sparse_checkpoint CONFIG.yaml DIR TP PP\n", stderr);
    return 64;
  }
  const Status status = Make(argv[1], argv[2], std::atoi(argv[3]), std::atoi(argv[4]));
  if (!status.ok()) std::fprintf(stderr, "make_sparse_checkpoint: %s\n", status.message().c_str());
  return status.ok() ? 0 : 74;
}
