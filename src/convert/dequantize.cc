// Dequantize: multiplies weights by the scales of their blocks.
//
// Before:  the checkpoint is as it was read.
// After:   where it was asked for, no weight has scales beside it: each is their product, in bf16, and the config says
//          nothing of how weights were quantized. Where it was not, a result with other names than the source's has no
//          place for scales: they are refused.
// Notes:   how many weights were multiplied.
//
// Facts: deepseek-ai/DeepSeek-V3 inference/fp8_cast_bf16.py, kernel.py (weight_dequant: products in fp32);
// transformers 5.24 integrations/finegrained_fp8.py, FineGrainedFP8Config.
#include <fmt/format.h>

#include <array>

#include "convert/pass.h"
#include "tensor/product.h"

namespace anemone {
namespace {

constexpr std::string_view kScales = "_scale_inv", kConfigKey = "quantization_config";

const StateDict::Item* FirstScales(const Checkpoint& checkpoint) {
  for (const Shard& shard : checkpoint.shards) {
    for (const StateDict::Item& item : shard.weights.items()) {
      if (item.name.ends_with(".weight_scale_inv")) return &item;
    }
  }
  return nullptr;
}

// The config's block. Errors: Unsupported for weights that are quantized otherwise.
Result<std::array<uint64_t, 2>> BlockOf(const Checkpoint& checkpoint) {
  std::array<uint64_t, 2> block = {128, 128};
  const ConfigNode* config = checkpoint.config ? checkpoint.config->root().Get(kConfigKey) : nullptr;
  if (config == nullptr || !config->is_map()) return block;
  const ConfigNode *method = config->Get("quant_method"), *sizes = config->Get("weight_block_size");
  if (method != nullptr && method->AsString() != "fp8")
    return Unsupported(
        fmt::format("{}.quant_method: expected fp8, found {}", kConfigKey, method->AsString().value_or("another")));
  if (sizes == nullptr) return block;
  const bool is_pair = sizes->is_list() && sizes->list.size() == block.size();
  for (size_t i = 0; i < block.size(); ++i) {
    const auto size = is_pair ? sizes->list[i].AsInt() : std::nullopt;
    if (!size || *size < 1)
      return Corrupt(fmt::format("{}.weight_block_size: expected two numbers above 0, found others", kConfigKey));
    block[i] = static_cast<uint64_t>(*size);
  }
  return block;
}

// Errors: Corrupt naming a weight that its scales do not fit.
Status Multiply(const std::array<uint64_t, 2>& block, StateDict* weights, uint64_t* count) {
  StateDict result;
  for (const StateDict::Item& item : weights->items()) {
    if (item.name.ends_with(kScales) &&
        weights->Find(item.name.substr(0, item.name.size() - kScales.size())) != nullptr)
      continue;
    const StateDict::Item* scales = weights->Find(item.name + std::string(kScales));
    if (scales == nullptr || item.tensor() == nullptr || scales->tensor() == nullptr) {
      ANEMONE_TRY(result.Add(item.name, item.entry));
      continue;
    }
    const Result<Tensor> product = Scaled(*item.tensor(), *scales->tensor(), block[0], block[1]);
    if (!product.ok())
      return Corrupt(fmt::format("{}: expected a scale for each block of {} by {} elements of {}, found {}",
                                 scales->name, block[0], block[1], ToString(item.tensor()->shape()),
                                 ToString(scales->tensor()->shape())));
    ANEMONE_ASSIGN(Tensor weight, product->Cast(DType::kBF16));
    ANEMONE_TRY(result.Add(item.name, std::move(weight)));
    ++*count;
  }
  *weights = std::move(result);
  return {};
}

}  // namespace

Status Dequantize(Work& work) {
  const StateDict::Item* scales = FirstScales(work.result());
  if (scales == nullptr) return {};
  if (!work.options.dequantize) {
    return Unsupported(fmt::format("{}: expected weights as they are, found ones in FP8 with a scale for each block",
                                   scales->name))
        .Use("dequantize", "true", "multiply them out to bf16, as DeepSeek's script does");
  }
  ANEMONE_ASSIGN(const auto block, BlockOf(work.result()));
  uint64_t count = 0;
  for (Shard& shard : work.result().shards) ANEMONE_TRY(Multiply(block, &shard.weights, &count));
  for (Checkpoint* checkpoint : {&work.conversion.source, &work.conversion.result}) {
    if (checkpoint->config) checkpoint->config->root().Erase(kConfigKey);
  }
  work.Note(fmt::format("multiplied {} weights in FP8 by the scales of their blocks, to bf16", count));
  return {};
}

}  // namespace anemone
