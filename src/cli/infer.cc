// infer MODEL --image F… --text T…: CLIP zero-shot classification on the CPU.
#include "cli/infer.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <memory>
#include <system_error>

#include "anemone/config.h"
#include "cli/command.h"
#include "cli/commands.h"
#include "cli/page.h"
#include "clip/imagenet.h"
#include "clip/python_repr.h"
#include "ops/clip_source.h"
#include "ops/embeddings.h"
#include "ops/json_nodes.h"
#include "ops/source.h"
#include "ops/zero_shot.h"

namespace anemone::cli {
namespace {

namespace fs = std::filesystem;

// A directory stands for the pictures in it, sorted by name.
Status ExpandImages(std::vector<std::string>* images) {
  std::vector<std::string> expanded;
  for (const std::string& image : *images) {
    std::error_code error;
    if (!fs::is_directory(image, error)) {
      expanded.push_back(image);
      continue;
    }
    ANEMONE_ASSIGN(const std::vector<std::string> found, FindImages(image));
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

std::string AccuracyJson(const ImageFolder& folder, const std::vector<std::string>& labels, const Accuracy& accuracy) {
  const auto counts = [](ConfigNode node, const Accuracy::Class& c) {
    const auto images = static_cast<double>(c.images);
    node["images"] = CountNode(c.images);
    node["top1"] = ConfigNode::Float(static_cast<double>(c.top1) / images);
    node["top5"] = ConfigNode::Float(static_cast<double>(c.top5) / images);
    return node;
  };
  ConfigNode node = counts(ConfigNode::Map(), accuracy.total);
  ConfigNode& classes = node["classes"] = ConfigNode::List();
  for (size_t i = 0; i < folder.classes.size(); ++i) {
    ConfigNode entry = ConfigNode::Map();
    entry["folder"] = ConfigNode::String(folder.classes[i]);
    entry["label"] = ConfigNode::String(labels[i]);
    classes.list.push_back(counts(std::move(entry), accuracy.classes[i]));
  }
  return Config(node).ToJson() + "\n";
}

// A folder's name, as a person writes it: "ankle_boot" is an ankle boot.
std::string LabelOfFolder(std::string name) {
  std::replace(name.begin(), name.end(), '_', ' ');
  return name;
}

// A picture and its probabilities, for the page.
Result<ConfigNode> PictureNode(const std::string& image, std::span<const float> probabilities) {
  ConfigNode node = ConfigNode::Map();
  node["path"] = ConfigNode::String(image);
  ANEMONE_ASSIGN(std::string uri, PictureUri(image));
  node["uri"] = ConfigNode::String(std::move(uri));
  ConfigNode& list = node["probabilities"] = ConfigNode::List();
  for (const float p : probabilities) list.list.push_back(ConfigNode::Float(p));
  return node;
}

Status WriteInferPage(const InferOptions& options, const std::vector<std::string>& labels, double scale,
                      ConfigNode pictures) {
  ConfigNode data = ConfigNode::Map();
  data["model"] = ConfigNode::String(options.model);
  data["logit_scale"] = ConfigNode::Float(scale);
  ConfigNode& texts = data["texts"] = ConfigNode::List();
  for (const std::string& label : labels) texts.list.push_back(ConfigNode::String(label));
  data["images"] = std::move(pictures);
  return WritePage(kInferPage, std::move(data), options.html, options.force);
}

Status CheckOptions(const InferOptions& options) {
  if (options.logit_scale && !std::isfinite(*options.logit_scale)) {
    return InvalidArgument(fmt::format("--logit-scale: expected a finite number, found {}", *options.logit_scale));
  }
  if (!options.embeddings.empty()) ANEMONE_TRY(CheckEmbeddingsPath(options.embeddings, options.force));
  if (!options.html.empty()) {
    ANEMONE_TRY(CheckPagePath(options.html, options.force));
    if (options.images.empty() || options.texts.empty()) {
      return InvalidArgument("--html: expected --image and --text, which the page shows", "see: anemone infer --help");
    }
  }
  if (!options.dataset.empty()) {
    if (options.images.empty() && options.texts.empty() && options.embeddings.empty()) return {};
    return InvalidArgument("expected --dataset or --image, --text and --embeddings, found both",
                           "a data set's labels are its folders' names, or --labels FILE");
  }
  if (options.images.empty() && options.embeddings.empty())
    return InvalidArgument("expected --image", "see: anemone infer --help");
  if (options.texts.empty() && options.embeddings.empty()) {
    return InvalidArgument("expected --text or --labels", "see: anemone infer --help");
  }
  return {};
}

// A tower alone answers with its features.
Status HasTowersFor(const InferOptions& options, bool compares, const ClipSpec& spec) {
  if (spec.has_text && spec.has_vision) return {};
  const char* const there = spec.has_vision ? "image" : "text";
  const char* const lacks = spec.has_vision ? "text" : "image";
  const std::string hint = fmt::format("--embeddings FILE writes the features of --{}", there);
  if (compares) {
    return InvalidArgument(
        fmt::format("expected both towers to compare pictures with texts, found the {} tower alone", there), hint);
  }
  if (spec.has_vision ? options.texts.empty() : options.images.empty()) return {};
  return InvalidArgument(fmt::format("expected a model with {} tower for --{}, found the {} tower alone",
                                     spec.has_vision ? "a text" : "an image", lacks, there),
                         hint);
}

// NeMo's line [megatron_clip_imagenet_zeroshot.py], or JSON.
Status RunDataset(ClipModel& model, const TextEncoder& encode, const InferOptions& options, const ImageFolder& folder,
                  const std::vector<std::string>& labels, const std::vector<std::string>& templates,
                  const ProgressFn& progress) {
  ANEMONE_ASSIGN(const ClipFeatures classifier, EncodeLabels(model, encode, labels, templates, progress));
  ANEMONE_ASSIGN(const Accuracy accuracy, ZeroShotAccuracy(model, folder, classifier, options.batch, progress));
  if (options.json) {
    Print(AccuracyJson(folder, labels, accuracy));
    return {};
  }
  const auto images = static_cast<double>(accuracy.total.images);
  Print(fmt::format("Zero-shot CLIP accuracy Top-1: {:.4f}; Top-5: {:.4f}\n",
                    static_cast<double>(accuracy.total.top1) / images,
                    static_cast<double>(accuracy.total.top5) / images));
  return {};
}

}  // namespace

Status Infer(InferOptions options) {
  std::vector<std::string> labels;
  if (!options.labels.empty()) {
    ANEMONE_ASSIGN(labels, ReadLines(options.labels));
  }
  if (options.dataset.empty()) {
    options.texts.insert(options.texts.end(), labels.begin(), labels.end());
    labels = options.texts;
  }
  if (!options.image_list.empty()) {
    ANEMONE_ASSIGN(const std::vector<std::string> listed, ReadLines(options.image_list));
    std::copy_if(listed.begin(), listed.end(), std::back_inserter(options.images),
                 [](const std::string& line) { return !line.empty(); });
  }
  ANEMONE_TRY(ExpandImages(&options.images));
  ANEMONE_TRY(CheckOptions(options));
  std::vector<std::string> templates;
  if (!options.templates.empty()) {
    ANEMONE_ASSIGN(templates, ReadLines(options.templates));
    if (templates.empty()) return InvalidArgument("expected a template a line, found none").In(options.templates);
    for (const std::string& line : templates) ANEMONE_TRY(FillTemplate(line, "").status().In(options.templates));
  } else if (options.imagenet) {
    templates = Lines(ImagenetTemplates());
  }
  ImageFolder folder;
  if (!options.dataset.empty()) {
    ANEMONE_ASSIGN(folder, OpenImageFolder(options.dataset));
    if (options.labels.empty() && options.imagenet) {
      labels = Lines(ImagenetClassNames());
    } else if (options.labels.empty()) {
      std::transform(folder.classes.begin(), folder.classes.end(), std::back_inserter(labels), LabelOfFolder);
    }
    if (labels.size() != folder.classes.size()) {
      return InvalidArgument(fmt::format("{}: expected {} folders, one a label, found {}", options.dataset,
                                         labels.size(), folder.classes.size()),
                             options.labels.empty()
                                 ? "--labels FILE names the classes, one a line, in the order of the folders' names"
                                 : "");
    }
  }

  const ProgressFn progress = MakeProgress();
  ANEMONE_ASSIGN(const Checkpoint checkpoint, OpenSource(options.model, progress));
  ClipOptions clip_options;
  clip_options.threads = static_cast<int>(globals().threads);
  if (options.compute == "bf16") {
    clip_options.compute = ClipCompute::kBf16;
    if (!ClipHasBf16()) Note("this processor multiplies no bf16: rounded values are multiplied in fp32, no faster");
  }
  clip_options.keep_weights = std::max(options.images.size(), folder.items.size()) > options.batch;
  ClipLoad load;
  load.preset = options.preset;
  Result<ClipModel> loaded = LoadClip(checkpoint, clip_options, load);
  if (!loaded.ok()) return loaded.status().In(options.model);
  ClipModel& model = *loaded;
  const bool compares = !options.dataset.empty() || (!options.images.empty() && !options.texts.empty());
  ANEMONE_TRY(HasTowersFor(options, compares, model.spec()).In(options.model));

  ClipFeatures texts;
  if (!labels.empty()) {
    const Result<TextEncoder> tokenizer = LoadTokenizer(checkpoint, model.spec());
    if (!tokenizer.ok()) return tokenizer.status().In(options.model);
    if (!options.dataset.empty()) return RunDataset(model, *tokenizer, options, folder, labels, templates, progress);
    ANEMONE_ASSIGN(texts, EncodeLabels(model, *tokenizer, labels, templates, progress));
  }
  double scale = 0, bias = 0;
  if (compares) {
    ANEMONE_ASSIGN(const double own_scale, model.LogitScale());
    scale = options.logit_scale.value_or(own_scale);
    ANEMONE_ASSIGN(bias, model.LogitBias());
  }

  ClipFeatures all_images;
  ConfigNode pictures = ConfigNode::List();
  for (size_t at = 0; at < options.images.size(); at += options.batch) {
    const size_t count = std::min<size_t>(options.batch, options.images.size() - at);
    const auto first = options.images.begin() + static_cast<ptrdiff_t>(at);
    ANEMONE_ASSIGN(const std::vector<float> pixels,
                   LoadPixels(std::vector<std::string>(first, first + static_cast<ptrdiff_t>(count)), model.spec()));
    ANEMONE_ASSIGN(ClipFeatures features, model.EncodeImages(pixels));
    features.Normalize();
    if (texts.count > 0) {
      ANEMONE_ASSIGN(const std::vector<float> probabilities,
                     ClipProbabilities(features, texts, scale, model.spec().siglip, bias));
      for (size_t i = 0; i < count; ++i) {
        const std::span<const float> row(probabilities.data() + i * texts.count, texts.count);
        const std::string& image = options.images[at + i];
        if (options.json) {
          Print(JsonLine(image, labels, row, scale));
        } else {
          Print((options.images.size() > 1 ? image + ": " : "") + ProbabilityLine(labels, row) + "\n");
        }
        if (!options.html.empty()) {
          ANEMONE_ASSIGN(ConfigNode picture, PictureNode(image, row));
          pictures.list.push_back(std::move(picture));
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
  if (!options.html.empty()) ANEMONE_TRY(WriteInferPage(options, labels, scale, std::move(pictures)));
  if (!options.embeddings.empty()) return WriteEmbeddings(options.embeddings, all_images, texts, options.force);
  return {};
}

std::function<int()> DeclareInfer(CLI::App& app) {
  auto options = std::make_shared<InferOptions>();
  app.add_option("MODEL", options->model, "A CLIP: anything that convert reads")->required();
  app.add_option("--image", options->images, "A JPEG, PNG or WebP file, or a directory of them; may be repeated")
      ->type_name("FILE")
      ->allow_extra_args(false);
  app.add_option("--image-list", options->image_list, "Pictures' paths, one a line")->type_name("FILE");
  app.add_option("--text", options->texts, "A label; may be repeated")->type_name("TEXT")->allow_extra_args(false);
  app.add_option("--labels", options->labels, "Labels, one a line")->type_name("FILE");
  app.add_option("--templates", options->templates,
                 "Prompts, one a line, {} being the label: a label's features are the mean over them")
      ->type_name("FILE");
  app.add_option("--dataset", options->dataset,
                 "A folder a class: print the zero-shot accuracy (labels: the folders' names, or --labels)")
      ->type_name("DIR");
  app.add_flag("--imagenet", options->imagenet, "With --dataset: ImageNet's 1,000 names and 80 templates, as OpenAI's");
  app.add_option("--preset", options->preset, "The size by name (ViT-L-14 …), for a CLIP without a config")
      ->type_name("NAME");
  app.add_option("--logit-scale", options->logit_scale, "Instead of the checkpoint's own (NeMo's script uses 100)")
      ->type_name("X");
  app.add_option("--embeddings", options->embeddings,
                 "Write the normalised features: .safetensors with `image` and `text`, or .npy")
      ->type_name("FILE");
  app.add_option("--compute", options->compute, "Products in fp32 (default) or of bf16 factors")
      ->check(CLI::IsMember({"fp32", "bf16"}).description(""))
      ->type_name("fp32|bf16");
  app.add_option("--html", options->html, "Write a page that shows each picture, its labels and their bars")
      ->type_name("FILE.html");
  app.add_flag("--force", options->force, "Replace an existing --embeddings or --html file");
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
