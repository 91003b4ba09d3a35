// infer MODEL --image F… --text T…: CLIP zero-shot classification on the CPU.
#include "cli/infer.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <system_error>

#include "anemone/config.h"
#include "cli/command.h"
#include "cli/commands.h"
#include "clip/python_repr.h"
#include "ops/clip_source.h"
#include "ops/embeddings.h"
#include "ops/source.h"

namespace anemone::cli {
namespace {

namespace fs = std::filesystem;

// Each line as it stands; an empty line is the empty text.
Status ReadLabels(const std::string& path, std::vector<std::string>* texts) {
  constexpr uint64_t kMaxBytes = uint64_t{64} << 20;
  ANEMONE_ASSIGN(ByteSourcePtr file, OpenFile(path));
  ANEMONE_ASSIGN(const std::string all, Whole(std::move(file)).ReadAll(kMaxBytes));
  std::string_view rest = all;
  while (!rest.empty()) {
    const size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    texts->emplace_back(line);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  return {};
}

// A directory stands for the pictures in it, sorted by name.
Status ExpandImages(std::vector<std::string>* images) {
  std::vector<std::string> expanded;
  for (const std::string& image : *images) {
    std::error_code error;
    if (!fs::is_directory(image, error)) {
      expanded.push_back(image);
      continue;
    }
    std::vector<std::string> found;
    for (const fs::directory_entry& entry : fs::directory_iterator(image, error)) {
      std::string extension = entry.path().extension().string();
      std::transform(extension.begin(), extension.end(), extension.begin(),
                     [](unsigned char c) { return std::tolower(c); });
      if (extension == ".jpg" || extension == ".jpeg" || extension == ".png" || extension == ".webp") {
        found.push_back(entry.path().string());
      }
    }
    if (found.empty()) return NotFound("it holds no .jpg, .png or .webp").In(image);
    std::sort(found.begin(), found.end());
    expanded.insert(expanded.end(), found.begin(), found.end());
  }
  *images = std::move(expanded);
  return {};
}

std::string JsonLine(const std::string& image, const std::vector<std::string>& texts,
                     std::span<const float> probabilities, double scale) {
  ConfigNode node = ConfigNode::Map();
  node["image"] = ConfigNode::String(image);
  ConfigNode& text_list = node["texts"] = ConfigNode::List();
  for (const std::string& text : texts) text_list.list.push_back(ConfigNode::String(text));
  ConfigNode& probability_list = node["probabilities"] = ConfigNode::List();
  for (const float p : probabilities) probability_list.list.push_back(ConfigNode::Float(p));
  node["logit_scale"] = ConfigNode::Float(scale);
  return Config(node).ToJson(-1) + "\n";
}

}  // namespace

Status Infer(InferOptions options) {
  if (!options.labels.empty()) ANEMONE_TRY(ReadLabels(options.labels, &options.texts));
  ANEMONE_TRY(ExpandImages(&options.images));
  if (options.logit_scale && !std::isfinite(*options.logit_scale)) {
    return InvalidArgument(fmt::format("--logit-scale: expected a finite number, found {}", *options.logit_scale));
  }
  if (!options.embeddings.empty()) ANEMONE_TRY(CheckEmbeddingsPath(options.embeddings, options.force));
  if (options.images.empty() && options.embeddings.empty())
    return InvalidArgument("expected --image", "see: anemone infer --help");
  if (options.texts.empty() && options.embeddings.empty()) {
    return InvalidArgument("expected --text or --labels", "see: anemone infer --help");
  }
  const ProgressFn progress = MakeProgress();
  ANEMONE_ASSIGN(const Checkpoint checkpoint, OpenSource(options.model, progress));
  ClipOptions clip_options;
  clip_options.threads = static_cast<int>(globals().threads);
  clip_options.keep_weights = options.images.size() > options.batch;
  Result<ClipModel> loaded = LoadClip(checkpoint, clip_options);
  if (!loaded.ok()) return loaded.status().In(options.model);
  ClipModel& model = *loaded;

  ClipFeatures texts;
  if (!options.texts.empty()) {
    const Result<Tokenizer> tokenizer = LoadTokenizer(checkpoint, model.spec());
    if (!tokenizer.ok()) return tokenizer.status().In(options.model);
    std::vector<std::vector<int32_t>> ids;
    for (const std::string& text : options.texts) {
      Result<std::vector<int32_t>> encoded = tokenizer->Encode(text, model.spec().context);
      if (!encoded.ok()) return encoded.status().In(fmt::format("text '{}'", text));
      ids.push_back(*std::move(encoded));
    }
    ANEMONE_ASSIGN(texts, model.EncodeTexts(ids));
    texts.Normalize();
  }
  ANEMONE_ASSIGN(const double own_scale, model.LogitScale());
  const double scale = options.logit_scale.value_or(own_scale);
  ANEMONE_ASSIGN(const double bias, model.LogitBias());

  ClipFeatures all_images;
  for (size_t at = 0; at < options.images.size(); at += options.batch) {
    const size_t count = std::min<size_t>(options.batch, options.images.size() - at);
    std::vector<float> pixels;
    for (size_t i = at; i < at + count; ++i) {
      ANEMONE_ASSIGN(const std::vector<float> picture, LoadPixels(options.images[i], model.spec()));
      pixels.insert(pixels.end(), picture.begin(), picture.end());
    }
    ANEMONE_ASSIGN(ClipFeatures features, model.EncodeImages(pixels));
    features.Normalize();
    if (texts.count > 0) {
      ANEMONE_ASSIGN(const std::vector<float> probabilities,
                     ClipProbabilities(features, texts, scale, model.spec().siglip, bias));
      for (size_t i = 0; i < count; ++i) {
        const std::span<const float> row(probabilities.data() + i * texts.count, texts.count);
        const std::string& image = options.images[at + i];
        if (options.json) {
          Print(JsonLine(image, options.texts, row, scale));
        } else {
          Print((options.images.size() > 1 ? image + ": " : "") + ProbabilityLine(options.texts, row) + "\n");
        }
      }
    }
    if (!options.embeddings.empty()) {
      all_images.width = features.width;
      all_images.count += features.count;
      all_images.values.insert(all_images.values.end(), features.values.begin(), features.values.end());
    }
    if (progress && !progress("images", at + count, options.images.size()))
      return {ErrorKind::kInterrupted, "interrupted"};
  }
  if (!options.embeddings.empty()) return WriteEmbeddings(options.embeddings, all_images, texts, options.force);
  return {};
}

std::function<int()> DeclareInfer(CLI::App& app) {
  auto options = std::make_shared<InferOptions>();
  app.add_option("MODEL", options->model, "A CLIP: anything that convert reads")->required();
  app.add_option("--image", options->images, "A JPEG, PNG or WebP file, or a directory of them; may be repeated")
      ->type_name("FILE")
      ->allow_extra_args(false);
  app.add_option("--text", options->texts, "A label; may be repeated")->type_name("TEXT")->allow_extra_args(false);
  app.add_option("--labels", options->labels, "Labels, one a line")->type_name("FILE");
  app.add_option("--logit-scale", options->logit_scale, "Instead of the checkpoint's own (NeMo's script uses 100)")
      ->type_name("X");
  app.add_option("--embeddings", options->embeddings, "Write the normalised features, tensors `image` and `text`")
      ->type_name("FILE.safetensors");
  app.add_flag("--force", options->force, "Replace an existing --embeddings file");
  app.add_option("--batch", options->batch, "Images encoded at once (default 16)")
      ->check(CLI::Range(1, 4096).description(""))
      ->type_name("N");
  app.add_flag("--json", options->json, "One object a line");
  return [options] {
    const Status status = Infer(*options);
    return status.ok() ? static_cast<int>(kDone) : Report(status);
  };
}

}  // namespace anemone::cli
