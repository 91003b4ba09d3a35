#include "ops/clip_source.h"

#include <fmt/format.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <array>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "clip/clip_vocabulary.h"
#include "clip/image.h"
#include "clip/sentencepiece.h"
#include "clip/tokenizer.h"
#include "family/clip_config.h"
#include "family/family.h"
#include "ops/canonical.h"

namespace anemone {
namespace {

constexpr uint64_t kMaxTokenizerBytes = uint64_t{64} << 20;
constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20;

Result<Activation> ActivationOf(const std::string& name) {
  if (name == "quick_gelu") return Activation::kQuickGelu;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_tanh") return Activation::kGeluTanh;
  return Unsupported(fmt::format("expected the activation quick_gelu, gelu or gelu_tanh, found {}", name));
}

Result<ClipTower> TowerOf(const TowerArchitecture& tower) {
  ClipTower result;
  result.layers = tower.layers;
  result.width = tower.width;
  result.ffn = tower.ffn;
  result.heads = tower.heads;
  result.norm_epsilon = tower.epsilon;
  ANEMONE_ASSIGN(result.activation, ActivationOf(tower.activation));
  return result;
}

// A file that travels with the model, by its base name: "vocab.json", "tokenizer/vocab.json", "0123…_vocab.json".
Result<std::optional<std::string>> ReadArtifact(const Checkpoint& checkpoint, std::string_view base_name,
                                                uint64_t limit) {
  for (const Artifact& artifact : checkpoint.artifacts) {
    const std::string_view name = artifact.name;
    if (name != base_name && !name.ends_with("/" + std::string(base_name)) &&
        !name.ends_with("_" + std::string(base_name)))
      continue;
    Result<std::string> text = artifact.content.ReadAll(limit);
    if (!text.ok()) return text.status().In(artifact.name);
    return std::optional<std::string>(*std::move(text));
  }
  return std::optional<std::string>();
}

Result<Tokenizer> ReadTokenizer(const Checkpoint& checkpoint) {
  ANEMONE_ASSIGN(const auto vocab, ReadArtifact(checkpoint, "vocab.json", kMaxTokenizerBytes));
  ANEMONE_ASSIGN(const auto merges, ReadArtifact(checkpoint, "merges.txt", kMaxTokenizerBytes));
  ANEMONE_ASSIGN(const auto config, ReadArtifact(checkpoint, "tokenizer_config.json", kMaxTokenizerBytes));
  if (vocab && merges) return Tokenizer::FromVocabAndMerges(*vocab, *merges, config.value_or(""));
  ANEMONE_ASSIGN(const auto whole, ReadArtifact(checkpoint, "tokenizer.json", kMaxTokenizerBytes));
  if (whole) return Tokenizer::FromTokenizerJson(*whole);
  return Tokenizer::FromVocabAndMerges(ClipVocabJson(), ClipMerges());
}

Result<SentencePiece> ReadSentencePiece(const Checkpoint& checkpoint) {
  for (const std::string_view name : {"spiece.model", "tokenizer.model"}) {
    ANEMONE_ASSIGN(const auto model, ReadArtifact(checkpoint, name, kMaxTokenizerBytes));
    if (!model) continue;
    auto pieces = SentencePiece::FromModel(*model);
    return pieces.ok() ? std::move(pieces) : Result<SentencePiece>(pieces.status().In(name));
  }
  ANEMONE_ASSIGN(const auto json, ReadArtifact(checkpoint, "tokenizer.json", kMaxTokenizerBytes));
  if (json) return SentencePiece::FromTokenizerJson(*json);
  return NotFound("expected spiece.model beside the weights, found none",
                  "store it with the model: --artifact tokenizer.model=spiece.model");
}

uint32_t ReadSize(const ConfigNode* node, uint32_t otherwise) {
  const std::optional<int64_t> value = node != nullptr ? node->AsInt() : std::nullopt;
  return value && *value > 0 && *value < 65536 ? static_cast<uint32_t>(*value) : otherwise;
}

// [transformers models/clip/image_processing_clip.py, models/siglip/image_processing_siglip.py]
Status ReadPreprocessor(const std::string& text, ClipPreprocess* out) {
  ANEMONE_ASSIGN(const Config config, Config::ParseJson(text, "preprocessor_config.json"));
  const ConfigNode& root = config.root();
  const auto flag = [&root](const char* key, bool otherwise) {
    const ConfigNode* node = root.Get(key);
    return node != nullptr ? node->AsBool().value_or(otherwise) : otherwise;
  };
  if (const ConfigNode* size = root.Get("size")) {
    if (const ConfigNode* edge = size->is_map() ? size->Get("shortest_edge") : size; edge != nullptr) {
      out->shortest_edge = ReadSize(edge, out->shortest_edge);
    } else {
      out->shortest_edge = 0;
      out->resize_height = ReadSize(size->Get("height"), 0);
      out->resize_width = ReadSize(size->Get("width"), 0);
    }
  }
  if (const ConfigNode* crop = root.Get("crop_size")) {
    out->crop_height = ReadSize(crop->is_map() ? crop->Get("height") : crop, out->crop_height);
    out->crop_width = ReadSize(crop->is_map() ? crop->Get("width") : crop, out->crop_width);
  }
  if (!flag("do_resize", true)) out->shortest_edge = out->resize_height = out->resize_width = 0;
  // SigLIP's processor squashes and does not crop.
  const bool squashes = out->shortest_edge == 0 && out->resize_height != 0;
  if (!flag("do_center_crop", !squashes)) out->crop_height = out->crop_width = 0;
  if (const ConfigNode* resample = root.Get("resample"); resample != nullptr && resample->AsInt()) {
    const int64_t filter = *resample->AsInt();
    if (filter != static_cast<int64_t>(Resample::kBicubic) && filter != static_cast<int64_t>(Resample::kBilinear)) {
      return Unsupported(fmt::format("resample: expected 2 (bilinear) or 3 (bicubic), found {}", filter));
    }
    out->resample = static_cast<Resample>(filter);
  }
  if (const ConfigNode* factor = root.Get("rescale_factor"))
    out->rescale_factor = factor->AsDouble().value_or(out->rescale_factor);
  out->mean = ReadRgb(root.Get("image_mean")).value_or(out->mean);
  out->std = ReadRgb(root.Get("image_std")).value_or(out->std);
  return {};
}

Status ReadPreprocess(const Checkpoint& checkpoint, const ClipArchitecture& architecture, std::string_view dialect,
                      ClipSpec* spec) {
  ClipPreprocess& out = spec->preprocess;
  const auto side = static_cast<uint32_t>(spec->image_size);
  out.shortest_edge = out.crop_height = out.crop_width = side;
  if (spec->siglip) {
    // [transformers models/siglip/image_processing_siglip.py]: squash, no crop, mean and deviation 0.5.
    out.shortest_edge = out.crop_height = out.crop_width = 0;
    out.resize_height = out.resize_width = side;
    out.mean = out.std = {0.5, 0.5, 0.5};
  }
  // A .nemo is judged as NeMo judges pictures, so that the two agree; preprocessor files in it serve the way back.
  const bool is_nemo = dialect == "mcore" || dialect == "legacy";
  if (!is_nemo || spec->siglip) {
    ANEMONE_ASSIGN(const auto text, ReadArtifact(checkpoint, "preprocessor_config.json", kMaxConfigBytes));
    if (text) ANEMONE_TRY(ReadPreprocessor(*text, &out).In("preprocessor_config.json"));
  }
  if (!spec->siglip) {
    if (is_nemo || dialect == "openclip") out.crop_rule = CropRule::kRoundHalfEven;
    out.mean = architecture.mean.value_or(out.mean);
    out.std = architecture.deviation.value_or(out.std);
  }
  return {};
}

Result<ClipSpec> SpecOf(const Checkpoint& checkpoint, const Checkpoint& canonical, std::string_view dialect,
                        const TranslateOptions& options) {
  std::string name;
  ANEMONE_ASSIGN(const ClipArchitecture architecture, ClipArchitectureOf(checkpoint, options, &name));
  ClipSpec spec;
  spec.has_text = architecture.has_text;
  spec.has_vision = architecture.has_vision;
  spec.projects = architecture.projects;
  ANEMONE_ASSIGN(spec.text, TowerOf(architecture.text));
  ANEMONE_ASSIGN(spec.vision, TowerOf(architecture.vision));
  spec.projection = architecture.projection;
  spec.context = architecture.context;
  spec.image_size = architecture.image_height;
  spec.patch_size = architecture.patch;
  spec.siglip = architecture.siglip;
  if (architecture.image_height != architecture.image_width) return Unsupported("expected a square image size");
  if (spec.has_text) {
    const StateDict::Item* table = canonical.weights().Find("text.token_embedding.weight");
    if (table == nullptr || table->tensor() == nullptr) return Corrupt("expected a token embedding, found none");
    spec.vocab = table->tensor()->shape().front();
  }
  if (spec.siglip) {
    spec.pooling = TextPooling::kLast;
    spec.eos_id = 1;  // </s>, which also pads [transformers models/siglip/tokenization_siglip.py; NeMo the same]
  } else if (architecture.eos_token != 2 && dialect == "hf") {
    spec.pooling = TextPooling::kFirstEos;
    spec.eos_id = static_cast<int32_t>(architecture.eos_token);
  }
  ANEMONE_TRY(ReadPreprocess(checkpoint, architecture, dialect, &spec));
  return spec;
}

}  // namespace

Result<ClipModel> LoadClip(const Checkpoint& checkpoint, const ClipOptions& options, const ClipLoad& load) {
  ANEMONE_ASSIGN(const ModelIdentity model, IdentifyModel(checkpoint));
  if (model.family->name != "clip" && model.family->name != "siglip") {
    return Unsupported(fmt::format("expected a CLIP, found {}", model.family->title));
  }
  TranslateOptions translate;
  translate.preset = load.preset;
  translate.hparams = load.hparams;
  translate.hparams_name = load.hparams_name;
  ANEMONE_ASSIGN(Checkpoint canonical, Canonical(checkpoint, translate));
  ANEMONE_ASSIGN(const ClipSpec spec, SpecOf(checkpoint, canonical, model.dialect->name, translate));
  auto weights = std::make_shared<const StateDict>(std::move(canonical.weights()));
  ClipWeights find = [weights](const std::string& name) -> Result<Tensor> {
    const StateDict::Item* item = weights->Find(name);
    if (item == nullptr || item->tensor() == nullptr) return NotFound("the checkpoint has no " + name);
    return *item->tensor();
  };
  return ClipModel::Create(spec, std::move(find), options);
}

Result<TextEncoder> LoadTokenizer(const Checkpoint& checkpoint, const ClipSpec& spec) {
  const auto encoder = [&spec](auto tokenizer, std::string_view files) -> Result<TextEncoder> {
    if (tokenizer.vocab_size() > spec.vocab) {
      return Corrupt(fmt::format("expected a tokenizer of at most {} ids, as the embedding has rows, found {}",
                                 spec.vocab, tokenizer.vocab_size()),
                     fmt::format("store the model's own {} with it", files));
    }
    auto shared = std::make_shared<const decltype(tokenizer)>(std::move(tokenizer));
    return TextEncoder(
        [shared, context = spec.context](std::string_view text) { return shared->Encode(text, context); });
  };
  if (!spec.has_text) {
    return TextEncoder([](std::string_view) -> Result<std::vector<int32_t>> {
      return InvalidArgument("expected a text tower, found the image tower alone");
    });
  }
  if (spec.siglip) {
    ANEMONE_ASSIGN(SentencePiece pieces, ReadSentencePiece(checkpoint));
    return encoder(std::move(pieces), "spiece.model");
  }
  ANEMONE_ASSIGN(Tokenizer tokenizer, ReadTokenizer(checkpoint));
  return encoder(std::move(tokenizer), "vocab.json and merges.txt");
}

Result<std::vector<float>> LoadPixels(const std::string& path, const ClipSpec& spec) {
  ANEMONE_ASSIGN(ByteSourcePtr file, OpenFile(path));
  auto pixels = [&]() -> Result<std::vector<float>> {
    ANEMONE_ASSIGN(const std::string bytes, Whole(file).ReadAll(ImageLimits{}.max_bytes));
    // Pictures are read side by side, but large ones one at a time, so that memory stays that of one.
    static std::mutex large;
    std::unique_lock<std::mutex> alone(large, std::defer_lock);
    constexpr uint64_t kSmall = uint64_t{32} << 20;
    Result<Image> decoded = DecodeImage(bytes, spec.preprocess.alpha, {.max_memory = kSmall});
    if (!decoded.ok() && decoded.status().kind() == ErrorKind::kLimitExceeded) {
      alone.lock();
      decoded = DecodeImage(bytes, spec.preprocess.alpha);
    }
    if (!decoded.ok()) return decoded.status();
    ANEMONE_ASSIGN(const Image resized, ResizeAndCrop(*decoded, spec.preprocess));
    std::vector<float> out(resized.rgb.size());
    Normalize(resized, spec.preprocess, out);
    return out;
  }();
  if (!pixels.ok()) return pixels.status().In(path);
  return pixels;
}

Pictures LoadPictures(const std::vector<std::string>& paths, const ClipSpec& spec) {
  const size_t one = size_t{3} * spec.image_size * spec.image_size;
  std::vector<Result<std::vector<float>>> all(paths.size(), Internal("not read"));
  tbb::parallel_for(size_t{0}, paths.size(), [&](size_t i) {
    all[i] = LoadPixels(paths[i], spec);
    if (!all[i].ok() || all[i]->size() == one) return;
    all[i] = Corrupt(fmt::format("expected {} values after preprocessing, found {}", one, all[i]->size()),
                     "the preprocessing's crop is not the model's image size")
                 .In(paths[i]);
  });
  Pictures pictures;
  pictures.pixels.reserve(paths.size() * one);
  for (size_t i = 0; i < paths.size(); ++i) {
    if (!all[i].ok()) {
      pictures.failures.push_back(all[i].status());
      continue;
    }
    pictures.loaded.push_back(i);
    pictures.pixels.insert(pictures.pixels.end(), all[i]->begin(), all[i]->end());
  }
  return pictures;
}

}  // namespace anemone
