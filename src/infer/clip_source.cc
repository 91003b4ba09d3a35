#include "infer/clip_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>

#include "base/cancel.h"
#include "base/nearest.h"
#include "clip/image.h"
#include "clip/sentencepiece.h"
#include "clip/tokenizer.h"
#include "clip/tokenizer_files.h"
#include "clip/workers.h"
#include "family/clip/clip_config.h"
#include "family/clip/clip_preprocess.h"
#include "family/clip/clip_vocabulary.h"
#include "family/families.h"
#include "family/family.h"
#include "source/canonical.h"
#include "source/wrappers.h"

namespace anemone {
namespace {

constexpr uint64_t kMaxTokenizerBytes = uint64_t{64} << 20;

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

// What transformers reads of a tokenizer, as texts that live as long as this.
struct TokenizerTexts {
  std::optional<std::string> whole, vocab, merges, config, added, specials;

  bool is_there() const { return whole || (vocab && merges); }
  TokenizerFiles Files() const {
    const auto view = [](const std::optional<std::string>& text) {
      return text ? std::optional<std::string_view>(*text) : std::nullopt;
    };
    return {view(whole),   view(vocab).value_or(""), view(merges).value_or(""), view(config), view(added),
            view(specials)};
  }
};

Result<TokenizerTexts> ReadTokenizerTexts(const Checkpoint& checkpoint) {
  TokenizerTexts texts;
  for (const auto& [name, text] :
       {std::pair("tokenizer.json", &texts.whole), std::pair("vocab.json", &texts.vocab),
        std::pair("merges.txt", &texts.merges), std::pair("tokenizer_config.json", &texts.config),
        std::pair("added_tokens.json", &texts.added), std::pair("special_tokens_map.json", &texts.specials)}) {
    ANEMONE_ASSIGN(*text, ReadArtifact(checkpoint, name, kMaxTokenizerBytes));
  }
  return texts;
}

// CLIP's public vocabulary stands in where the model has exactly it, NeMo's padding rows apart.
bool HasClipVocabulary(const Checkpoint& checkpoint, uint64_t rows) {
  constexpr uint64_t kMostPadding = uint64_t{128} * 64;
  const bool is_nemo = checkpoint.config && KindOfClipConfig(*checkpoint.config) == ClipConfigKind::kNemo;
  return rows == kClipVocab || (is_nemo && rows > kClipVocab && rows < kClipVocab + kMostPadding);
}

// None are there: CLIP's public vocabulary stands in.
Result<TokenizerTexts> FindTokenizer(const Checkpoint& checkpoint, uint64_t rows) {
  const std::string other = checkpoint.config ? OtherTokenizer(*checkpoint.config) : "";
  const bool is_open = checkpoint.config && KindOfClipConfig(*checkpoint.config) == ClipConfigKind::kOpenClip;
  if (is_open && !other.empty()) {
    return Unsupported(fmt::format("model_cfg.text_cfg.hf_tokenizer_name: expected CLIP's tokenizer, found {}", other),
                       "the features of pictures need no tokenizer")
        .Use("embeddings", "FILE", "write those, without texts");
  }
  ANEMONE_ASSIGN(TokenizerTexts texts, ReadTokenizerTexts(checkpoint));
  if (!texts.is_there() && (texts.vocab || texts.merges)) {
    return NotFound(texts.vocab ? "expected merges.txt beside vocab.json, found none"
                                : "expected vocab.json beside merges.txt, found none",
                    "the copy or download left it out");
  }
  if (!texts.is_there() && (!other.empty() || !HasClipVocabulary(checkpoint, rows))) {
    return NotFound(other.empty() ? fmt::format("expected vocab.json and merges.txt for {} tokens, found none", rows)
                                  : fmt::format("expected the files of the tokenizer {}, found none", other))
        .Use("artifacts", "tokenizer/vocab.json=vocab.json", "store them with the model");
  }
  return texts;
}

Result<Tokenizer> ReadTokenizer(const Checkpoint& checkpoint, uint64_t rows) {
  ANEMONE_ASSIGN(const TokenizerTexts texts, FindTokenizer(checkpoint, rows));
  return texts.is_there() ? Tokenizer::FromFiles(texts.Files())
                          : Tokenizer::FromVocabAndMerges(ClipVocabJson(), ClipMerges());
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
  return NotFound("expected spiece.model beside the weights, found none")
      .Use("artifacts", "tokenizer.model=spiece.model", "store it with the model");
}

PixelRules RulesOf(const Checkpoint& checkpoint, const Dialect& dialect) {
  if (dialect.is_megatron) return PixelRules::kNemo;
  const bool open = checkpoint.config && KindOfClipConfig(*checkpoint.config) == ClipConfigKind::kOpenClip;
  return open || dialect.language == ConfigLanguage::kOpenClip ? PixelRules::kOpenClip : PixelRules::kHuggingFace;
}

Result<ClipSpec> SpecOf(const Checkpoint& checkpoint, const Checkpoint& canonical, const Dialect& dialect,
                        const TranslateOptions& options, std::vector<std::string>* notes) {
  std::string name;
  ANEMONE_ASSIGN(const ClipArchitecture architecture, ClipArchitectureOf(checkpoint, options, &name, notes));
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
  } else if (architecture.eos_token) {
    spec.pooling = TextPooling::kFirstEos;
    spec.eos_id = static_cast<int32_t>(*architecture.eos_token);
  }
  if (spec.has_vision) {
    ANEMONE_ASSIGN(spec.preprocess,
                   ClipPreprocessOf(checkpoint, architecture, RulesOf(checkpoint, dialect), options.strict, notes));
  }
  return spec;
}

// The ways out for a model of no known family are conversions, none of which makes a CLIP of it.
Status WithoutConversions(const Status& status, const Checkpoint& checkpoint) {
  std::string foreign;
  if (status.ok() || DetectFamily(checkpoint, &foreign) != nullptr) return status;
  ANEMONE_ASSIGN(const std::string several, SeveralModels(checkpoint));
  if (!several.empty()) return Status(status.kind(), status.message(), several).Use("key", "NAME", "take one of them");
  if (foreign.empty() && status.error().remedies.empty()) return status;
  return Status(status.kind(), status.message(), "pictures and texts are compared by a CLIP or a SigLIP");
}

}  // namespace

Result<ClipModel> LoadClip(const Checkpoint& checkpoint, const ClipOptions& options, const ClipLoad& load) {
  TranslateOptions translate = {.family = load.model.family, .dialect = load.model.dialect};
  const Result<ModelIdentity> identified = IdentifyModel(checkpoint, translate);
  ANEMONE_TRY(WithoutConversions(identified.status(), checkpoint));
  const ModelIdentity& model = *identified;
  if (model.family->name != "clip" && model.family->name != "siglip") {
    return Unsupported(fmt::format("expected a CLIP, found {}", model.family->title));
  }
  translate.family = model.family;
  translate.dialect = model.dialect;
  translate.preset = load.preset;
  translate.hparams = load.hparams;
  translate.hparams_name = load.hparams_name;
  translate.strict = load.strict;
  ANEMONE_ASSIGN(Checkpoint canonical, Canonical(checkpoint, translate));
  ANEMONE_ASSIGN(const ClipSpec spec, SpecOf(checkpoint, canonical, *model.dialect, translate, load.notes));
  if (load.notes != nullptr && !spec.siglip && HasName(checkpoint, "logit_bias")) {
    load.notes->push_back("logit_bias: left out of account: a softmax over texts is the same with and without it");
  }
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
    ANEMONE_ASSIGN(const TokenizerTexts texts, ReadTokenizerTexts(checkpoint));
    ANEMONE_TRY(CheckSiglipTokenizer(texts.Files(), pieces.vocab_size()));
    return encoder(std::move(pieces), "spiece.model");
  }
  ANEMONE_ASSIGN(Tokenizer tokenizer, ReadTokenizer(checkpoint, spec.vocab));
  return encoder(std::move(tokenizer), "vocab.json and merges.txt");
}

Status CheckTokenizer(const Checkpoint& checkpoint, const ClipSpec& spec) {
  if (spec.has_text && !spec.siglip) {
    ANEMONE_ASSIGN(const TokenizerTexts texts, FindTokenizer(checkpoint, spec.vocab));
    if (!texts.is_there()) return {};
  }
  return LoadTokenizer(checkpoint, spec).status();
}

Result<std::vector<float>> LoadPixels(const std::string& path, const ClipSpec& spec) {
  ANEMONE_ASSIGN(ByteSourcePtr file, OpenGivenFile(path));
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
    return Normalize(resized, spec.preprocess);
  }();
  if (!pixels.ok()) return pixels.status().In(path);
  return pixels;
}

Result<Pictures> LoadPictures(const std::vector<std::string>& paths, const ClipSpec& spec) {
  const CancelScope* const scope = CancelScope::Current();
  internal::Workers workers(0, [scope] { return scope != nullptr && scope->IsCancelled(); });
  const size_t one = size_t{3} * spec.image_size * spec.image_size;
  std::vector<Result<std::vector<float>>> all(paths.size(), Internal("not read"));
  workers.Parallel(paths.size(), [&](size_t i) {
    all[i] = LoadPixels(paths[i], spec);
    if (!all[i].ok() || all[i]->size() == one) return;
    all[i] = Corrupt(fmt::format("expected {} values after preprocessing, found {}", one, all[i]->size()),
                     "the preprocessing's crop is not the model's image size")
                 .In(paths[i]);
  });
  if (workers.Stops()) return Interrupted();
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

PictureReader::PictureReader(std::vector<std::string> paths, size_t batch, const ClipSpec& spec)
    : paths_(std::move(paths)), batch_(batch), spec_(spec), scope_of_caller_(CancelScope::Current()) {
  constexpr uint64_t kMaxAhead = uint64_t{256} << 20;  // two batches at once would take much memory
  const uint64_t size = sizeof(float) * 3 * spec.image_size * spec.image_size * std::min(batch, paths_.size());
  if (size > 0 && size <= kMaxAhead) {
    try {
      thread_ = std::thread([this] { ReadBatches(); });
    } catch (const std::system_error&) {  // there is no further thread
    }
  }
  ReadAhead();
}

PictureReader::~PictureReader() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  is_due_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void PictureReader::ReadBatches() {
  for (;;) {
    std::unique_lock lock(mutex_);
    is_due_.wait(lock, [this] { return stop_ || batch_to_read_.valid(); });
    if (stop_) return;
    auto read = std::move(batch_to_read_);
    lock.unlock();
    read();
  }
}

void PictureReader::ReadAhead() {
  const size_t count = std::min(batch_, paths_.size() - read_);
  if (count == 0) return;
  const auto first = paths_.begin() + static_cast<ptrdiff_t>(read_);
  read_ += count;
  const std::lock_guard lock(mutex_);
  batch_to_read_ = std::packaged_task<Result<Pictures>()>(
      [this, next = std::vector<std::string>(first, first + static_cast<ptrdiff_t>(count))] {
        const CancelScope scope([this] { return stop_.load(); }, scope_of_caller_);
        return LoadPictures(next, spec_);
      });
  ahead_ = batch_to_read_.get_future();
  is_due_.notify_one();
}

Result<Pictures> PictureReader::Next() {
  if (!thread_.joinable()) batch_to_read_();
  Result<Pictures> pictures = ahead_.get();
  ReadAhead();
  return pictures;
}

}  // namespace anemone
