#include "family/nemo2_checkpoint.h"

#include <optional>
#include <utility>

#include <fmt/format.h>

#include "family/families.h"
#include "family/megatron/megatron_layer.h"
#include "family/tokenizer/nemo_artifact.h"
#include "family/words/kept_config.h"
#include "family/words/model_words.h"
#include "family/words/neva_config.h"

namespace anemone {

Status CheckNemo1Words(const Config& config) {
  if (IsLlavaNextConfig(config)) {
    return Unsupported("image_newline: expected a LLaVA, which NeMo 1 has, found a LLaVA-NeXT")
        .Use("to", "nemo2", "write it for NeMo 2, which has it");
  }
  if (!WordAt(ModelNode(config), fmt::format("mm_cfg.vision_encoder.{}", kIsMegatronTower)).is_null())
    return Unsupported(
        "mm_cfg.vision_encoder: expected a tower of transformers', as NeMo 1 builds, found Megatron-core's");
  return CheckNemo1Factors(config.root());
}

Result<ConfigNode> Nemo1ConfigOf(const Checkpoint& checkpoint) {
  ANEMONE_ASSIGN(ConfigNode config, ToNemo1Config(checkpoint.config->root()));
  ANEMONE_ASSIGN(const std::optional<Config> kept, KeptHfConfig(checkpoint, IsLlavaJson));
  ConfigNode* seeing = config.Get("mm_cfg");
  if (!kept || seeing == nullptr) return config;
  ConfigNode& encoder = (*seeing)["vision_encoder"];
  const ConfigNode& vision = WordAt(kept->root(), "vision_config");
  if (encoder.Get(kTowerConfigKey) == nullptr && vision.is_map()) {
    const ConfigNode name = encoder["from_pretrained"];
    SetTower(WholeTower(vision), vision, nullptr, &encoder);
    if (!name.is_null()) encoder["from_pretrained"] = name;
  }
  if (const ConfigNode& image = WordAt(kept->root(), kImageTokenKey); image.AsInt()) (*seeing)[kImageTokenKey] = image;
  return config;
}

Status TakeNemo1Config(ConfigNode config, Checkpoint* checkpoint) {
  // A SentencePiece model is all that NeMo 1 needs of a tokenizer [NeMo scripts/checkpoint_converters/
  // convert_llama_hf_to_nemo.py].
  ConfigNode& tokenizer = config["tokenizer"];
  for (const char* key : {"model", "type"}) {
    const std::string name = tokenizer[key].AsString().value_or("");
    if (name.empty()) continue;
    const Artifact* file = checkpoint->FindArtifact("context/" + name + (key[0] == 't' ? "/tokenizer.model" : ""));
    if (file == nullptr) continue;
    const ByteRange content = file->content;
    ANEMONE_ASSIGN(const std::string member, MemberName(content, file->name));
    if (checkpoint->FindArtifact(member) == nullptr) checkpoint->artifacts.push_back({member, content});
    tokenizer["library"] = ConfigNode::String("sentencepiece");
    tokenizer["type"] = ConfigNode::Null();
    tokenizer["model"] = ConfigNode::String("nemo:" + member);
    break;
  }
  // It describes the objects that the old config built.
  std::erase_if(checkpoint->artifacts, [](const Artifact& artifact) { return artifact.name == "context/io.json"; });
  checkpoint->config = Config(std::move(config));
  checkpoint->config_name = "model_config.yaml";
  return {};
}

Status TakeNemo2Config(Nemo2Request request, const TranslateOptions& options, Checkpoint* checkpoint,
                       std::vector<std::string>* notes) {
  const ConfigNode& root = checkpoint->config->root();
  const ConfigNode* tokenizer = root.Get("tokenizer");
  if (const Artifact* model =
          tokenizer == nullptr ? nullptr : FollowReference(tokenizer->Get("model"), checkpoint->artifacts)) {
    request.tokenizer = model->name;
  }
  if (root.Get("mm_cfg") != nullptr && !HasName(*checkpoint, ".vision_encoder.")) {
    notes->push_back(
        "its image tower is not stored, as NeMo 1 leaves frozen ones out; NeMo 2 loads it from the checkpoint and from "
        "nowhere else: before it can load this output, convert again with a tower");
  }
  if (options.dialect != nullptr) {
    ANEMONE_ASSIGN(const ResolvedModel model, ResolveModel(*checkpoint, options));
    ANEMONE_ASSIGN(const std::optional<uint64_t> rows, model.symbols.Find("", "padded_vocab"));
    request.vocab_rows = rows.value_or(0);
  }
  ANEMONE_ASSIGN(ConfigNode config, ToNemo2Config(root, request, notes));
  checkpoint->config = Config(std::move(config));
  checkpoint->config_name = "context/model.yaml";
  return {};
}

}  // namespace anemone
