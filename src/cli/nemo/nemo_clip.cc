#include "cli/nemo/nemo_clip.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "cli/command.h"
#include "cli/describe.h"
#include "cli/nemo/nemo_script.h"

namespace anemone::cli {
namespace {

namespace fs = std::filesystem;

// Of --version: a model of transformers.
constexpr const char* kTransformers = "huggingface";

// OpenCLIP's pretrained tags whose weights lie on the hub as models that say their own configuration
// [open_clip src/open_clip/pretrained.py]. OpenAI's are taken from OpenAI's own repositories.
struct PretrainedTag {
  std::string_view arch, tag, repository;
};
constexpr PretrainedTag kPretrainedTags[] = {
    {"ViT-B-32", "openai", "openai/clip-vit-base-patch32"},
    {"ViT-B-16", "openai", "openai/clip-vit-base-patch16"},
    {"ViT-L-14", "openai", "openai/clip-vit-large-patch14"},
    {"ViT-L-14-336", "openai", "openai/clip-vit-large-patch14-336"},
    {"ViT-B-32", "laion2b_s34b_b79k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"},
    {"ViT-B-32", "datacomp_xl_s13b_b90k", "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K"},
    {"ViT-B-16", "laion2b_s34b_b88k", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K"},
    {"ViT-B-16", "datacomp_xl_s13b_b90k", "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K"},
    {"ViT-L-14", "laion2b_s32b_b82k", "laion/CLIP-ViT-L-14-laion2B-s32B-b82K"},
    {"ViT-L-14", "datacomp_xl_s13b_b90k", "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"},
    {"ViT-H-14", "laion2b_s32b_b79k", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"},
    {"ViT-g-14", "laion2b_s12b_b42k", "laion/CLIP-ViT-g-14-laion2B-s12B-b42K"},
    {"ViT-g-14", "laion2b_s34b_b88k", "laion/CLIP-ViT-g-14-laion2B-s34B-b88K"},
    {"ViT-bigG-14", "laion2b_s39b_b160k", "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k"},
};

std::string RepositoryOf(std::string arch, std::string_view tag) {
  std::replace(arch.begin(), arch.end(), '/', '-');
  if (constexpr std::string_view kQuick = "-quickgelu"; tag == "openai" && arch.ends_with(kQuick)) {
    arch.resize(arch.size() - kQuick.size());
  }
  for (const PretrainedTag& known : kPretrainedTags) {
    if (known.arch == arch && known.tag == tag) return std::string(known.repository);
  }
  return {};
}

}  // namespace

std::function<int()> DeclareClipHf(CLI::App& app) {
  auto script = std::make_shared<Script>();
  script->source = "openai/clip-vit-base-patch32";
  script->convert.to = "nemo";
  script->convert.dialect = "mcore";
  app.add_option("--input_name_or_path", script->source, "A Hugging Face CLIP: directory or hub id");
  app.add_option("--hparams_file", script->convert.hparams, "NeMo's YAML (default here: derived from config.json)");
  DeclareWriting(app, script->plan, "--output_path");
  DeclareLayout(app, script->convert);
  DeclareLauncherFlags(app);
  return [script] { return RunScript(script->source, script->convert, script->plan); };
}

std::function<int()> DeclareExternalClip(CLI::App& app) {
  struct External : Script {
    std::string version = kTransformers;
  };
  auto script = std::make_shared<External>();
  script->source = "openai/clip-vit-base-patch32";
  script->convert.to = "nemo";
  script->convert.dialect = "legacy";
  app.add_option("--arch", script->source,
                 "With --version=huggingface a directory or hub id, else an OpenCLIP architecture");
  app.add_option("--version", script->version,
                 "huggingface, the path of an OpenCLIP checkpoint, or OpenCLIP's pretrained tag");
  app.add_option("--hparams_file", script->convert.hparams, "NeMo's YAML (default here: derived from the source)");
  DeclareWriting(app, script->plan, "--nemo_file_path");
  DeclareLayout(app, script->convert);
  DeclareLauncherFlags(app);
  return [script] {
    std::string source = script->source;
    if (script->version != kTransformers) {
      std::error_code error;
      if (fs::exists(script->version, error)) {
        source = script->version;
        script->convert.preset = script->source;
      } else if (source = RepositoryOf(script->source, script->version); source.empty()) {
        return Report(InvalidArgument(
            fmt::format("--arch {} --version {}: expected huggingface, the path of an OpenCLIP checkpoint or one of "
                        "OpenCLIP's tags",
                        script->source, script->version),
            "a model of the hub: anemone convert laion/CLIP-ViT-… out.nemo --dialect legacy"));
      }
    }
    return RunScript(source, script->convert, script->plan);
  };
}

std::function<int()> DeclareSiglipHf(CLI::App& app) {
  struct Siglip : Script {
    std::string precision = "bf16";
    std::string tokenizer;
  };
  auto script = std::make_shared<Siglip>();
  script->convert.to = "nemo";
  script->convert.dialect = "mcore";
  app.add_option("--input_name_or_path", script->source, "A Hugging Face SigLIP: directory or hub id")->required();
  app.add_option("--tokenizer_path", script->tokenizer, "A SentencePiece model to store as tokenizer.model");
  app.add_option("--hparams_file", script->convert.hparams, "NeMo's YAML (default here: derived from config.json)");
  OneOf(app.add_option("--precision", script->precision, "Precision to write (NeMo's default: bf16)"), {"bf16", "32"});
  DeclareWriting(app, script->plan, "--output_path");
  DeclareLauncherFlags(app);
  return [script] {
    script->convert.dtype = PrecisionDType(script->precision);
    if (!script->tokenizer.empty()) script->convert.artifacts = {{"tokenizer.model", script->tokenizer}};
    return RunScript(script->source, script->convert, script->plan);
  };
}

}  // namespace anemone::cli
