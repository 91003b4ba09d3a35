// NeMo's converters of CLIP and SigLIP [NeMo v2.0.0 examples/multimodal/vision_language_foundation,
// scripts/checkpoint_converters].
#ifndef ANEMONE_CLI_NEMO_NEMO_CLIP_H_
#define ANEMONE_CLI_NEMO_NEMO_CLIP_H_

#include <CLI/App.hpp>
#include <functional>

namespace anemone::cli {

std::function<int()> DeclareClipHf(CLI::App& app);
std::function<int()> DeclareExternalClip(CLI::App& app);
std::function<int()> DeclareSiglipHf(CLI::App& app);

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_NEMO_NEMO_CLIP_H_
