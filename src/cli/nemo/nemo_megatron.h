// The converters beside NeMo's by their own flags: Megatron-Bridge's convert_checkpoints.py [v0.3.1
// examples/conversion] and convert.sh [v0.6.0 scripts/conversion/arguments.py], and Megatron-LM's
// tools/checkpoint/convert.py [core_v0.16.1].
#ifndef ANEMONE_CLI_NEMO_NEMO_MEGATRON_H_
#define ANEMONE_CLI_NEMO_NEMO_MEGATRON_H_

#include <CLI/App.hpp>
#include <functional>

namespace anemone::cli {

std::function<int()> DeclareBridgeImport(CLI::App& app);
std::function<int()> DeclareBridgeExport(CLI::App& app);
std::function<int()> DeclareBridgeRoundtrip(CLI::App& app);
std::function<int()> DeclareMegatronTool(CLI::App& app);

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_NEMO_NEMO_MEGATRON_H_
