#include "cli/infer_answers.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <string_view>

#include "cli/command.h"
#include "cli/page.h"
#include "cli/text.h"
#include "clip/python_repr.h"
#include "config/nodes.h"
#include "infer/embeddings.h"
#include "inspect/json_nodes.h"

namespace anemone::cli {
namespace {

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

// A field as RFC 4180 has it.
std::string CsvField(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == text.npos) return std::string(text);
  std::string field = "\"";
  for (const char c : text) field += c == '"' ? "\"\"" : std::string(1, c);
  return field + '"';
}

std::string CsvHead(const std::vector<std::string>& texts) {
  std::string line = "image";
  for (const std::string& text : texts) line += "," + CsvField(text);
  return line + "\n";
}

std::string CsvLine(const std::string& image, std::span<const float> probabilities) {
  std::string line = CsvField(image);
  for (const float p : probabilities) line += fmt::format(",{}", p);
  return line + "\n";
}

// The most likely labels of an image, a bar each.
std::string Table(const std::string& image, const std::vector<std::string>& texts, std::span<const float> probabilities,
                  uint64_t top) {
  constexpr size_t kBar = 24;
  std::vector<size_t> order(texts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const size_t shown = std::min<size_t>(top, order.size());
  std::ranges::partial_sort(order, order.begin() + static_cast<ptrdiff_t>(shown), std::ranges::greater(),
                            [&](size_t i) { return probabilities[i]; });
  std::vector<std::vector<std::string>> rows;
  for (const size_t i : std::span(order).first(shown)) {
    std::string bar;
    for (auto ticks = std::lround(probabilities[i] * kBar); ticks > 0; --ticks) bar += "█";
    rows.push_back({fmt::format("  {:7.3f} %", 100 * static_cast<double>(probabilities[i])), OneLine(texts[i]),
                    Paint(Style::kGreen, bar)});
  }
  std::string text = Paint(Style::kBold, OneLine(image)) + "\n" + Columns(rows);
  if (shown < order.size()) text += fmt::format("  … {} more\n", order.size() - shown);
  return text;
}

std::string AccuracyJson(const ImageFolder& folder, const std::vector<std::string>& labels, const Accuracy& accuracy) {
  const auto counts = [](ConfigNode node, const Accuracy::Class& c) {
    const auto rate = [&](uint64_t count) {
      return c.images == 0 ? ConfigNode::Null()
                           : ConfigNode::Float(static_cast<double>(count) / static_cast<double>(c.images));
    };
    node["images"] = SizeNode(c.images);
    node["top1"] = rate(c.top1);
    node["top5"] = rate(c.top5);
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
  ConfigNode texts = ConfigNode::List();
  for (const std::string& label : labels) texts.list.push_back(ConfigNode::String(label));
  const auto data = [&](JsonStream& map) -> Status {
    map.Add("model", ConfigNode::String(options.model));
    map.Add("logit_scale", ConfigNode::Float(scale));
    map.Add("texts", std::move(texts));
    map.Add("images", std::move(pictures));
    return {};
  };
  return WritePage(kInferPage, data, options.html, options.force, MakeProgress());
}

}  // namespace

PictureAnswers::PictureAnswers(const InferOptions& options, const std::vector<std::string>& labels)
    : options_(options), labels_(labels) {
  constexpr uint64_t kTopOnTerminal = 5;
  const bool for_people = options.top == 0 && !options.nemo && !options.csv && isatty(STDOUT_FILENO) == 1;
  top_ = for_people ? kTopOnTerminal : options.top;
}

Status PictureAnswers::ReadScale(ClipModel& model) {
  is_siglip_ = model.spec().siglip;
  ANEMONE_ASSIGN(const double own_scale, model.LogitScale());
  scale_ = options_.logit_scale.value_or(own_scale);
  ANEMONE_ASSIGN(bias_, model.LogitBias());
  return {};
}

void PictureAnswers::PrintHead() const {
  if (options_.csv) Print(CsvHead(labels_));
}

Status PictureAnswers::Add(size_t at, const std::vector<size_t>& loaded, const ClipFeatures& features) {
  if (texts_.count == 0 || features.count == 0) return {};
  ANEMONE_ASSIGN(const std::vector<float> probabilities,
                 ClipProbabilities(features, texts_, scale_, is_siglip_, bias_));
  for (size_t i = 0; i < features.count; ++i) {
    const std::span<const float> row(probabilities.data() + i * texts_.count, texts_.count);
    const std::string& image = options_.images[at + loaded[i]];
    PrintRow(image, row);
    if (options_.html.empty()) continue;
    ANEMONE_ASSIGN(ConfigNode picture, PictureNode(image, row));
    pictures_.list.push_back(std::move(picture));
  }
  return {};
}

Status PictureAnswers::Write(const ClipFeatures& images) {
  if (!options_.html.empty()) ANEMONE_TRY(WriteInferPage(options_, labels_, scale_, std::move(pictures_)));
  if (options_.embeddings.empty()) return {};
  return WriteEmbeddings(options_.embeddings, images, texts_, options_.force);
}

void PictureAnswers::PrintRow(const std::string& image, std::span<const float> row) const {
  if (options_.json) {
    Print(JsonLine(image, labels_, row, scale_));
  } else if (options_.csv) {
    Print(CsvLine(image, row));
  } else if (top_ > 0) {
    Print(Table(image, labels_, row, top_));
  } else {
    Print((options_.images.size() > 1 ? image + ": " : "") + ProbabilityLine(labels_, row) + "\n");
  }
}

void PrintAccuracy(const ImageFolder& folder, const std::vector<std::string>& labels, const Accuracy& accuracy,
                   bool json) {
  if (json) return Print(AccuracyJson(folder, labels, accuracy));
  const auto images = static_cast<double>(accuracy.total.images);
  Print(fmt::format("Zero-shot CLIP accuracy Top-1: {:.4f}; Top-5: {:.4f}\n",
                    static_cast<double>(accuracy.total.top1) / images,
                    static_cast<double>(accuracy.total.top5) / images));
}

}  // namespace anemone::cli
