// Shared by NeMo's commands: running a conversion that NeMo's flags describe.
#ifndef ANEMONE_CLI_NEMO_NEMO_SCRIPT_H_
#define ANEMONE_CLI_NEMO_NEMO_SCRIPT_H_

#include <CLI/App.hpp>
#include <functional>
#include <optional>
#include <string>

#include "anemone/convert.h"
#include "cli/plan_flags.h"

namespace anemone::cli {

struct Script {
  std::string source;
  ConvertOptions convert;
  PlanFlags plan;
};

// Plans the conversion and carries it out; answers the exit status. `on_planned` may refuse it first.
int RunScript(const std::string& source, const ConvertOptions& convert, const PlanFlags& plan,
              const std::function<Status(const Conversion&)>& on_planned = {});

// The destination as the option `name`, and what every command that writes can be told.
void DeclareWriting(CLI::App& app, PlanFlags& plan, const std::string& name, bool required = true,
                    const std::string& help = "The .nemo to write");

// Flags of NeMo's scripts that say how many processes run them. One process does all ranks' work here.
void DeclareLauncherFlags(CLI::App& app);
void DeclareLayout(CLI::App& app, ConvertOptions& convert);

// "32", "16", "bf16" and PyTorch Lightning's longer words; nullopt for others.
std::optional<DType> PrecisionDType(const std::string& precision);

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_NEMO_NEMO_SCRIPT_H_
