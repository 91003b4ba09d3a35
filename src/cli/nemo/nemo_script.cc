#include "cli/nemo/nemo_script.h"

#include <map>

#include "cli/command.h"
#include "format/format.h"

namespace anemone::cli {

int RunScript(const std::string& source, const ConvertOptions& convert, const PlanFlags& plan,
              const std::function<Status(const Conversion&)>& on_planned) {
  ConvertOptions options = convert;
  options.progress = MakeProgress();
  options.keep_source = false;
  const Result<Conversion> conversion = PlanConversion(source, plan.destination, options);
  Status status = conversion.status();
  if (status.ok() && on_planned) status = on_planned(*conversion);
  if (const Status all = globals().cluster->Agree(status); !all.ok()) return Report(all);
  Notes(conversion->notes);
  return plan.Run(*conversion->plan, InBrief(conversion->result, *FindFormat(conversion->format)));
}

void DeclareWriting(CLI::App& app, PlanFlags& plan, const std::string& name, bool required, const std::string& help) {
  app.add_option(name, plan.destination, help)->required(required);
  plan.DeclareShared(app);
  plan.DeclareResume(app);
}

std::optional<DType> PrecisionDType(const std::string& precision) {
  static const std::map<std::string, DType> kPrecisions = {
      {"32", DType::kF32},          {"fp32", DType::kF32},      {"32-true", DType::kF32}, {"16", DType::kF16},
      {"fp16", DType::kF16},        {"16-mixed", DType::kF16},  {"16-true", DType::kF16}, {"bf16", DType::kBF16},
      {"bf16-mixed", DType::kBF16}, {"bf16-true", DType::kBF16}};
  const auto found = kPrecisions.find(precision);
  return found == kPrecisions.end() ? std::nullopt : std::optional(found->second);
}

void DeclareLauncherFlags(CLI::App& app) {
  for (const char* name :
       {"--gpus_per_node", "--num_gpu_per_node", "--local_rank,--local-rank", "--pipeline_model_parallel_split_rank"}) {
    app.add_option_function<std::string>(
        name, [](const std::string&) {}, "Accepted for compatibility; ignored: one process does all ranks' work");
  }
  app.add_flag_function(
      "--bcp", [](int64_t) {}, "Accepted for compatibility; ignored");
}

void DeclareLayout(CLI::App& app, ConvertOptions& convert) {
  app.add_option("--tensor_model_parallel_size", convert.tp, "Tensor-parallel size of the result");
  app.add_option("--pipeline_model_parallel_size", convert.pp, "Pipeline-parallel size of the result");
}

}  // namespace anemone::cli
