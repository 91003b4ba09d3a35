// Writes a training checkpoint of any size whose tensors are holes: real files, real headers, no bytes on the disk. For
// planning models that fit no laptop.
//
//   make_sparse_checkpoint CONFIG.yaml DIR TP PP     a GPT's, bf16 with fp32 masters and Adam's moments
//   make_sparse_checkpoint CONFIG.yaml DIR RANKS     a distributed one (torch_dist), cut for so many ranks, without
//   them
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
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
    const auto* literal = std::get_if<std::string_view>(&segment.content);
    if (literal == nullptr) continue;
    const ssize_t written = pwrite(fd, literal->data(), literal->size(), static_cast<off_t>(segment.offset));
    ok = ok && written == static_cast<ssize_t>(literal->size());
  }
  ok = close(fd) == 0 && ok;
  return ok ? Status() : anemone::ErrnoStatus(errno, "writing").In(path);
}

Status Make(const std::string& config, const std::string& folder, const std::optional<anemone::Layout>& layout,
            uint32_t ranks) {
  const anemone::HollowOptions options{
      .family = "gpt", .config = config, .dtype = anemone::DType::kBF16, .optimizer = layout.has_value()};
  ANEMONE_ASSIGN(const anemone::Hollow hollow, anemone::HollowCheckpoint(options));
  anemone::Checkpoint checkpoint = hollow.checkpoint;
  if (layout) {
    ANEMONE_ASSIGN(checkpoint, anemone::SplitShards(hollow.checkpoint, *layout));
  }
  const anemone::Format* format = anemone::FindFormat(layout ? "ckpt" : "torch_dist");
  ANEMONE_ASSIGN(const anemone::Plan plan, format->lay_out(checkpoint, {.shard_grid = ranks}));
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
  if (argc != 5 && argc != 4) {
    std::fputs("usage: make_sparse_checkpoint CONFIG.yaml DIR RANKS|TP PP\n", stderr);
    return 64;
  }
  std::optional<anemone::Layout> layout;
  if (argc == 5) layout = anemone::Layout{.tp = std::atoi(argv[3]), .pp = std::atoi(argv[4])};
  const Status status = Make(argv[1], argv[2], layout, layout ? 1 : static_cast<uint32_t>(std::atoi(argv[3])));
  if (!status.ok()) std::fprintf(stderr, "make_sparse_checkpoint: %s\n", status.message().c_str());
  return status.ok() ? 0 : 74;
}
