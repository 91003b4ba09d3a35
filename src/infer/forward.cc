#include "infer/forward.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

#include "base/cancel.h"
#include "base/progress.h"
#include "clip/image.h"
#include "edit/rewrite.h"
#include "infer/clip_facts.h"
#include "source/source.h"

namespace anemone {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

// The same numbers on every machine and in every run.
class Noise {
 public:
  uint32_t Next() {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<uint32_t>(state_ >> 33);
  }

 private:
  uint64_t state_ = 20250101;
};

// Twice the tower's size and half as wide again, coarse and fine noise, so that resizing is seen, too. The width is
// such that nothing is left over when the center is cut out, where transformers and torchvision differ.
Image BuiltInImage(uint64_t side) {
  Image image;
  image.height = static_cast<uint32_t>(2 * side);
  image.width = static_cast<uint32_t>(2 * side + 4 * (side / 4 + 1));
  image.rgb.resize(size_t{3} * image.width * image.height);
  Noise noise;
  constexpr uint32_t kBlock = 16;
  std::vector<uint32_t> coarse(size_t{3} * (image.width / kBlock + 1) * (image.height / kBlock + 1));
  for (uint32_t& value : coarse) value = noise.Next() % 192;
  for (size_t y = 0; y < image.height; ++y) {
    for (size_t x = 0; x < image.width; ++x) {
      for (size_t c = 0; c < 3; ++c) {
        const size_t block = ((y / kBlock) * (image.width / kBlock + 1) + x / kBlock) * 3 + c;
        image.rgb[(y * image.width + x) * 3 + c] = static_cast<uint8_t>(coarse[block] + noise.Next() % 64);
      }
    }
  }
  return image;
}

// One text that fills the context, so that every position counts, and a short one.
std::vector<std::vector<int32_t>> BuiltInTexts(const ClipSpec& first, const ClipSpec& second) {
  const uint64_t vocab = std::min(first.vocab, second.vocab);
  const uint64_t context = std::min(first.context, second.context);
  const bool finds_end = first.pooling == TextPooling::kFirstEos && static_cast<uint64_t>(first.eos_id) < vocab;
  const int32_t end = finds_end ? first.eos_id : static_cast<int32_t>(vocab - 1);
  Noise noise;
  std::vector<std::vector<int32_t>> texts;
  for (const uint64_t length : {context, std::min<uint64_t>(context, 7)}) {
    std::vector<int32_t>& text = texts.emplace_back();
    while (text.size() + 1 < length) {
      const auto id = static_cast<int32_t>(noise.Next() % vocab);
      text.push_back(id != end ? id : 0);
    }
    text.push_back(end);
  }
  return texts;
}

Result<std::vector<float>> Pixels(const ClipSpec& spec, const std::vector<std::string>& paths) {
  if (paths.empty()) {
    ANEMONE_ASSIGN(const Image image, ResizeAndCrop(BuiltInImage(spec.image_size), spec.preprocess));
    return Normalize(image, spec.preprocess);
  }
  std::vector<float> pixels;
  for (const std::string& path : paths) {
    ANEMONE_ASSIGN(const std::vector<float> one, LoadPixels(path, spec));
    pixels.insert(pixels.end(), one.begin(), one.end());
  }
  return pixels;
}

LayerDifference Compare(std::string name, std::span<const float> a, std::span<const float> b) {
  LayerDifference difference{std::move(name), "", 0, 0};
  if (a.size() != b.size()) {
    difference.detail = fmt::format("{} values in the first, {} in the second", a.size(), b.size());
    difference.max_abs = difference.relative = kInfinite;
    return difference;
  }
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double distance = std::abs(double{a[i]} - double{b[i]});
    if (!std::isfinite(distance)) {
      difference.detail = "a value that is not finite";
      difference.max_abs = difference.relative = kInfinite;
      return difference;
    }
    difference.max_abs = std::max(difference.max_abs, distance);
    largest = std::max(largest, std::abs(double{a[i]}));
  }
  if (difference.max_abs > 0) difference.relative = largest > 0 ? difference.max_abs / largest : kInfinite;
  return difference;
}

// Hidden states by name; a batch comes in parts.
struct Recording {
  std::vector<std::pair<std::string, std::vector<float>>> steps;
  void Add(std::string_view name, std::span<const float> values) {
    if (steps.empty() || steps.back().first != name) steps.emplace_back(std::string(name), std::vector<float>());
    steps.back().second.insert(steps.back().second.end(), values.begin(), values.end());
  }
};

// The coarsest dtype of the checkpoint's matrices.
DType CoarsestDType(const Checkpoint& checkpoint) {
  DType coarsest = DType::kF32;
  for (const StateDict::Item& item : checkpoint.weights().items()) {
    if (item.tensor() == nullptr || item.tensor()->shape().size() < 2) continue;
    const DType dtype = item.tensor()->dtype();
    if (dtype == DType::kBF16 || (dtype == DType::kF16 && coarsest == DType::kF32)) coarsest = dtype;
  }
  return coarsest;
}

double ToleranceFor(DType first, DType second) {
  if (first == second) return 1e-5;
  return first == DType::kBF16 || second == DType::kBF16 ? 1e-1 : 2e-2;
}

// Every token's id of every text, by one checkpoint's own tokenizer.
Result<std::vector<std::vector<int32_t>>> Ids(const Checkpoint& checkpoint, const ClipSpec& spec,
                                              const std::vector<std::string>& texts) {
  ANEMONE_ASSIGN(const TextEncoder encode, LoadTokenizer(checkpoint, spec));
  std::vector<std::vector<int32_t>> ids;
  for (const std::string& text : texts) {
    ANEMONE_ASSIGN(std::vector<int32_t> one, encode(text));
    ids.push_back(std::move(one));
  }
  return ids;
}

LayerDifference CompareIds(const std::vector<std::string>& texts, const std::vector<std::vector<int32_t>>& a,
                           const std::vector<std::vector<int32_t>>& b) {
  LayerDifference difference{"text.tokens", "", 0, 0};
  for (size_t i = 0; i < texts.size(); ++i) {
    if (a[i] == b[i]) continue;
    difference.detail = fmt::format("other tokens for '{}'", texts[i]);
    difference.max_abs = difference.relative = kInfinite;
    break;
  }
  return difference;
}

// What the models' own files say differently.
Status CompareFacts(const Checkpoint& first, const Checkpoint& second, std::vector<LayerDifference>* layers) {
  const auto facts_of = [](const Checkpoint& checkpoint) {
    Result<ClipFacts> facts = ClipFactsOf(checkpoint);
    return facts.ok() ? std::move(facts) : Result<ClipFacts>(facts.status().In(checkpoint.path));
  };
  ANEMONE_ASSIGN(const ClipFacts facts, facts_of(first));
  ANEMONE_ASSIGN(const ClipFacts other_facts, facts_of(second));
  for (const auto& [fact, value] : facts) {
    const auto other = other_facts.find(fact);
    if (other == other_facts.end() || other->second == value) continue;
    layers->push_back(
        {fact, fmt::format("{} in the first, {} in the second", value, other->second), kInfinite, kInfinite});
  }
  return {};
}

LayerDifference CompareNumber(std::string name, double a, double b) {
  const float x = static_cast<float>(a);
  const float y = static_cast<float>(b);
  return Compare(std::move(name), {&x, 1}, {&y, 1});
}

}  // namespace

const LayerDifference* ForwardDifference::first_divergence() const {
  const auto found =
      std::find_if(layers.begin(), layers.end(), [this](const LayerDifference& d) { return d.relative > tolerance; });
  return found == layers.end() ? nullptr : &*found;
}

namespace {

// Two models, computed one tower after the other.
class Comparison {
 public:
  Comparison(const Checkpoint& first, const Checkpoint& second, const ForwardOptions& options)
      : first_(first), second_(second), options_(options) {}

  Result<ForwardDifference> Run() {
    const auto cancelled = CancelledBy(options_.progress, "computing", steps_, kSteps);
    const CancelScope scope(cancelled);
    Checkpoint rounded;
    if (options_.round_first) {
      rounded = first_;
      ANEMONE_TRY(Rewrite(options_.round_first, true, &rounded));
    }
    const Checkpoint& used = options_.round_first ? rounded : first_;
    ANEMONE_ASSIGN(ClipModel one, Load(used, options_.first, cancelled, &a_));
    ANEMONE_ASSIGN(ClipModel two, Load(second_, options_.second, cancelled, &b_));
    result_.tolerance = options_.tolerance.value_or(ToleranceFor(CoarsestDType(used), CoarsestDType(second_)));
    if (BothHave("vision", one.spec().has_vision, two.spec().has_vision)) ANEMONE_TRY(Images(one, two));
    if (BothHave("text", one.spec().has_text, two.spec().has_text)) ANEMONE_TRY(Texts(one, two));
    result_.layers.insert(result_.layers.end(), lacking_.begin(), lacking_.end());
    ANEMONE_TRY(CompareFacts(first_, second_, &result_.layers));
    if (lacking_.empty() && one.spec().has_vision && one.spec().has_text) ANEMONE_TRY(Logits(one, two));
    return std::move(result_);
  }

 private:
  static constexpr uint64_t kSteps = 4;

  Result<ClipModel> Load(const Checkpoint& checkpoint, const ClipLoad& how, const std::function<bool()>& cancelled,
                         Recording* recording) const {
    ClipOptions clip;
    clip.threads = options_.threads;
    clip.cancelled = cancelled;
    clip.trace = [recording](std::string_view name, std::span<const float> values, uint64_t, uint64_t) {
      recording->Add(name, values);
    };
    Result<ClipModel> model = LoadClip(checkpoint, clip, how);
    return model.ok() ? std::move(model) : Result<ClipModel>(model.status().In(checkpoint.path));
  }

  Status Step(uint64_t done) {
    *steps_ = done;
    const bool goes_on = !options_.progress || options_.progress("computing", done, kSteps);
    return goes_on ? Status() : Interrupted();
  }

  // A tower that only one of them has is a difference, after those of what both have.
  bool BothHave(const char* tower, bool in_first, bool in_second) {
    if (in_first != in_second)
      lacking_.push_back({tower, fmt::format("in the {} alone", in_first ? "first" : "second"), kInfinite, kInfinite});
    return in_first && in_second;
  }

  void AddOther(std::string name, std::string_view what, uint64_t first, uint64_t second) {
    const std::string unit = what.empty() ? "" : fmt::format(" {}", what);
    result_.layers.push_back({std::move(name), fmt::format("{}{} in the first, {} in the second", first, unit, second),
                              kInfinite, kInfinite});
  }

  // What both towers recorded, up to the first step that one of them lacks.
  void Take(std::string_view tower, uint64_t layers_a, uint64_t layers_b) {
    for (size_t i = 0; i < std::max(a_.steps.size(), b_.steps.size()); ++i) {
      if (i >= a_.steps.size() || i >= b_.steps.size() || a_.steps[i].first != b_.steps[i].first) {
        AddOther(fmt::format("{}.layers", tower), "layers", layers_a, layers_b);
        break;
      }
      result_.layers.push_back(Compare(a_.steps[i].first, a_.steps[i].second, b_.steps[i].second));
    }
    a_.steps.clear();
    b_.steps.clear();
  }

  Status Images(ClipModel& one, ClipModel& two) {
    ANEMONE_ASSIGN(const std::vector<float> pixels, Pixels(one.spec(), options_.images));
    ANEMONE_ASSIGN(const std::vector<float> other_pixels, Pixels(two.spec(), options_.images));
    result_.layers.push_back(Compare("vision.pixels", pixels, other_pixels));
    if (pixels.size() != other_pixels.size()) return {};
    ANEMONE_TRY(Step(0));
    ANEMONE_TRY(one.EncodeImages(pixels).status().In(first_.path));
    ANEMONE_TRY(Step(1));
    ANEMONE_TRY(two.EncodeImages(pixels).status().In(second_.path));
    Take("vision", one.spec().vision.layers, two.spec().vision.layers);
    return {};
  }

  Status Texts(ClipModel& one, ClipModel& two) {
    std::vector<std::vector<int32_t>> ids;
    if (options_.texts.empty()) {
      ids = BuiltInTexts(one.spec(), two.spec());
      if (one.spec().context != two.spec().context)
        AddOther("text.positions", "", one.spec().context, two.spec().context);
    } else {
      ANEMONE_ASSIGN(ids, Ids(first_, one.spec(), options_.texts));
      ANEMONE_ASSIGN(const auto other, Ids(second_, two.spec(), options_.texts));
      result_.layers.push_back(CompareIds(options_.texts, ids, other));
    }
    ANEMONE_TRY(Step(2));
    ANEMONE_TRY(one.EncodeTexts(ids).status().In(first_.path));
    ANEMONE_TRY(Step(3));
    ANEMONE_TRY(two.EncodeTexts(ids).status().In(second_.path));
    Take("text", one.spec().text.layers, two.spec().text.layers);
    return Step(4);
  }

  Status Logits(ClipModel& one, ClipModel& two) {
    ANEMONE_ASSIGN(const double scale, one.LogitScale());
    ANEMONE_ASSIGN(const double other_scale, two.LogitScale());
    result_.layers.push_back(CompareNumber("logit_scale", scale, other_scale));
    if (!one.spec().siglip && !two.spec().siglip) return {};
    ANEMONE_ASSIGN(const double bias, one.LogitBias());
    ANEMONE_ASSIGN(const double other_bias, two.LogitBias());
    result_.layers.push_back(CompareNumber("logit_bias", bias, other_bias));
    return {};
  }

  const Checkpoint& first_;
  const Checkpoint& second_;
  const ForwardOptions& options_;
  const std::shared_ptr<std::atomic<uint64_t>> steps_ = std::make_shared<std::atomic<uint64_t>>(0);
  Recording a_, b_;
  ForwardDifference result_;
  std::vector<LayerDifference> lacking_;
};

}  // namespace

Result<ForwardDifference> DiffForward(const Checkpoint& first, const Checkpoint& second,
                                      const ForwardOptions& options) {
  return Comparison(first, second, options).Run();
}

namespace {

ClipLoad LoadOfSource(const Conversion& conversion, const ConvertOptions& convert) {
  ClipLoad load;
  load.preset = convert.preset;
  load.strict = convert.strict;
  if (convert.hparams.empty() || conversion.source.config) return load;
  load.hparams = conversion.result.config;
  load.hparams_name = convert.hparams;
  return load;
}

}  // namespace

Status CanCheck(const Conversion& conversion, const ConvertOptions& convert) {
  const ClipLoad load = LoadOfSource(conversion, convert);
  return LoadClip(conversion.source, {}, load).status().In(conversion.source.path);
}

Result<ForwardDifference> CheckConversion(const Conversion& conversion, const ConvertOptions& convert,
                                          ForwardOptions options) {
  ANEMONE_ASSIGN(const Checkpoint written, OpenSource(conversion.destination, {}));
  options.first = LoadOfSource(conversion, convert);
  options.round_first = convert.dtype;
  options.second.strict = convert.strict;
  if (!written.config) {  // a bare .safetensors
    options.second.hparams = conversion.result.config;
    options.second.hparams_name = conversion.destination;
    options.second.preset = convert.preset;
  }
  return DiffForward(conversion.source, written, options);
}

}  // namespace anemone
