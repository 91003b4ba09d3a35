// Any few files as a checkpoint's folder (Hugging Face, torch_dist, zarr, NeMo 2, ranks, an unpacked .nemo): opened,
// verified and planned as another format, or refused with a reason; what was planned obeys the law and can be read.
#include "folder.h"

#include "anemone/check.h"
#include "anemone/convert.h"
#include "engine/execute.h"
#include "format/format.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace anemone;
  const std::vector<fuzz::File> files = fuzz::FilesOf(data, size);
  if (files.empty()) return 0;
  const fuzz::FuzzFolder folder(files);
  const Result<Checkpoint> checkpoint = OpenCheckpoint(folder.path());
  fuzz::Expect(checkpoint.status());
  if (!checkpoint.ok()) return 0;
  for (const Shard& shard : checkpoint->shards) {
    for (const StateDict::Item& item : shard.weights.items()) {
      if (item.tensor() != nullptr) fuzz::Expect(item.tensor()->Read(1 << 20).status());
    }
  }
  fuzz::Expect(Verify(folder.path(), nullptr).status());

  std::vector<const Format*> writers;
  for (const Format* format : Formats()) {
    if (format->lay_out != nullptr) writers.push_back(format);
  }
  ConvertOptions options;
  options.to = writers[size % writers.size()]->name;
  if (size / writers.size() % 2 == 1) options.tp = 2;
  const Result<Conversion> conversion = PlanConversion(folder.path(), folder.path() + ".out", options);
  fuzz::Expect(conversion.status());
  if (!conversion.ok()) return 0;
  fuzz::Expect(Check(*conversion->plan));
  constexpr uint64_t kMaxRead = 64 << 20;  // a deflated or broadcast tensor is larger than its file
  if (conversion->plan->bytes_written() < kMaxRead) fuzz::Expect(ReadThrough(*conversion->plan, {.threads = 1}));
  return 0;
}
