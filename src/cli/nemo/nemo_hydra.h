// NeMo's scripts that Hydra configures [NeMo v2.0.0 examples/multimodal/vision_language_foundation/clip,
// scripts/nlp_language_modeling/merge_lora_weights].
#ifndef ANEMONE_CLI_NEMO_NEMO_HYDRA_H_
#define ANEMONE_CLI_NEMO_NEMO_HYDRA_H_

#include <CLI/App.hpp>
#include <functional>

namespace anemone::cli {

std::function<int()> DeclareClipInfer(CLI::App& app);
std::function<int()> DeclareZeroShot(CLI::App& app);
std::function<int()> DeclareMergeLora(CLI::App& app);

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_NEMO_NEMO_HYDRA_H_
