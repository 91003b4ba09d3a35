// What a user of the installed library writes: only public headers.
#include <anemone/check.h>
#include <anemone/convert.h>
#include <anemone/open.h>
#include <anemone/plan.h>
#include <anemone/reshard.h>
#include <anemone/save.h>

#include <cstdio>
#include <span>
#include <string>

namespace {

int Fail(const anemone::Status& status) {
  std::fprintf(stderr, "%s\n", status.message().c_str());
  return 65;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 64;
  const auto conversion = anemone::PlanConversion(argv[1], argv[2], {});
  if (!conversion.ok()) return Fail(conversion.status());
  const anemone::ByteSourcePtr planned = anemone::OpenPlanned(conversion->plan, 0);
  std::string begin(512, '?');
  if (!planned->ReadAt(0, std::as_writable_bytes(std::span(begin))).ok()) return 65;
  if (anemone::PlanJson(*conversion->plan, argv[2]).find("bytes_written") == std::string::npos) return 65;
  const anemone::Status status = anemone::RunConversion(*conversion, {.force = true});
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.message().c_str());
  const auto copy = anemone::Open(argv[2]);
  if (!copy.ok() || anemone::ListFormats().empty()) return 65;
  const auto pair = anemone::SplitRanks(*copy, {.pp = 2});
  if (!pair.ok() || pair->shards.size() != 2) return Fail(pair.status());
  const auto whole = anemone::MergeRanks(*pair);
  if (!whole.ok() || whole->weights().size() != copy->weights().size()) return Fail(whole.status());
  const auto found = anemone::Verify(argv[2]);
  if (!found.ok() || !found->problems.empty()) return 65;
  anemone::Checkpoint own;
  own.shards.emplace_back();
  const auto tensor = anemone::Tensor::FromBytes(anemone::DType::kF32, {2}, std::string(8, '\0'));
  if (!tensor.ok() || !own.weights().Add("w", *tensor).ok()) return 65;
  const auto saved = anemone::PlanSave(own, std::string(argv[2]) + ".safetensors", {});
  if (!saved.ok() || !anemone::RunConversion(*saved, {.force = true}).ok()) return 74;
  std::printf("%zu tensors\n", conversion->result.weights().size());
  return status.ok() ? 0 : 74;
}
