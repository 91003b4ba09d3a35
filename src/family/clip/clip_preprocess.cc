#include "family/clip/clip_preprocess.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "config/nodes.h"
#include "family/clip/clip_fields.h"
#include "family/clip/config_languages.h"
#include "family/words/json_artifact.h"

namespace anemone {
namespace {

constexpr const char* kPreprocessorFile = "preprocessor_config.json";
constexpr const char* kProcessorFile = "processor_config.json";
constexpr double kByte = 1.0 / 255;

Status Expected(std::string_view field, std::string_view expected, const ConfigNode& found) {
  return Corrupt(fmt::format("{}: expected {}, found {}", field, expected, Config(found).ToJson(-1)));
}

// A field's value; nullptr where it is absent or null.
const ConfigNode* Value(const ConfigNode& node, std::string_view key) {
  const ConfigNode* value = node.Get(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

Result<uint32_t> ReadSide(const ConfigNode& node, std::string_view field) {
  const std::optional<int64_t> side = node.AsInt();
  if (!side || *side < 1 || *side > 65535) return Expected(field, "a size from 1 to 65535", node);
  return static_cast<uint32_t>(*side);
}

struct Sides {
  uint32_t edge = 0;  // one number
  uint32_t height = 0, width = 0;
};

// A number, a pair, or a map of the keys that `edge_key` and height and width are.
Result<Sides> ReadSides(const ConfigNode& node, std::string_view field, std::string_view edge_key) {
  Sides sides;
  if (node.is_list() && node.list.size() == 2) {
    ANEMONE_ASSIGN(sides.height, ReadSide(node.list[0], field));
    ANEMONE_ASSIGN(sides.width, ReadSide(node.list[1], field));
    return sides;
  }
  if (!node.is_map()) {
    ANEMONE_ASSIGN(sides.edge, ReadSide(node, field));
    return sides;
  }
  for (const auto& [key, value] : node.map) {
    if (value.is_null()) continue;
    uint32_t* side = key == "height" ? &sides.height : key == "width" ? &sides.width : nullptr;
    if (!edge_key.empty() && key == edge_key) side = &sides.edge;
    if (side == nullptr) {
      return Unsupported(fmt::format("{}.{}: expected {}height and width, found {}", field, key,
                                     edge_key.empty() ? "" : fmt::format("{} or ", edge_key), value.ScalarText()));
    }
    ANEMONE_ASSIGN(*side, ReadSide(value, fmt::format("{}.{}", field, key)));
  }
  const bool pair = sides.height != 0 && sides.width != 0 && sides.edge == 0;
  const bool edge = sides.height == 0 && sides.width == 0 && sides.edge != 0;
  if (!pair && !edge) return Expected(field, edge_key.empty() ? "height and width" : "one size", node);
  return sides;
}

// Whether the class is SigLIP's: its defaults are others, and it does not crop.
Result<bool> IsSiglipProcessor(const ConfigNode& root, bool siglip_model) {
  for (const std::string_view key : {"image_processor_type", "feature_extractor_type"}) {
    const ConfigNode* node = Value(root, key);
    if (node == nullptr) continue;
    std::string name = node->AsString().value_or("");
    for (const std::string_view suffix : {"Fast", "Pil"}) {
      if (name.ends_with(suffix)) name.resize(name.size() - suffix.size());
    }
    if (name == "CLIPImageProcessor" || name == "CLIPFeatureExtractor") return false;
    if (name == "SiglipImageProcessor") return true;
    return Unsupported(
        fmt::format("{}: expected CLIPImageProcessor or SiglipImageProcessor, found {}", key, node->ScalarText()));
  }
  return siglip_model;
}

// What a file says of pictures: which steps are taken, and how.
struct Said {
  bool siglip = false;  // the image processor's class is SigLIP's
  bool resizes = true, crops = true, rescales = true, normalizes = true;
  Sides size = {}, crop = {};
  std::string mode = "shortest";  // OpenCLIP's, of resizing
  uint8_t fill = 0;
  Resample resample = Resample::kBicubic;
  double rescale_factor = kByte;
  Rgb mean = kClipMean, std = kClipDeviation;
};

}  // namespace

struct PixelRead {
  const ConfigNode& value;
  const ClipField& field;
  Said& said;
};
struct PixelWrite {
  const ClipPreprocess& from;
  bool siglip;
  uint64_t side;  // of the tower's pictures
};

namespace {

Status ReadSaid(std::span<const ClipField> fields, const ConfigNode& root, Said* said) {
  for (const ClipField& field : fields) {
    const ConfigNode* value = field.pixels.read == nullptr ? nullptr : Value(root, field.name);
    if (value != nullptr) ANEMONE_TRY(field.pixels.read({*value, field, *said}));
  }
  return {};
}

ConfigNode WriteSaid(std::span<const ClipField> fields, const PixelWrite& at) {
  ConfigNode node = ConfigNode::Map();
  for (const ClipField& field : fields) {
    if (field.pixels.write == nullptr) continue;
    if (std::optional<ConfigNode> value = field.pixels.write(at)) node[field.name] = *std::move(value);
  }
  return node;
}

template <bool Said::*flag>
Status ReadFlag(const PixelRead& at) {
  const std::optional<bool> value = at.value.AsBool();
  if (!value) return Expected(at.field.name, "true or false", at.value);
  at.said.*flag = *value;
  return {};
}
std::optional<ConfigNode> WriteTrue(const PixelWrite& /*at*/) { return ConfigNode::Bool(true); }

template <Rgb Said::*colors>
Status ReadColors(const PixelRead& at) {
  const std::optional<Rgb> value = ReadRgb(&at.value);
  if (!value) return Expected(at.field.name, "a number or three", at.value);
  at.said.*colors = *value;
  return {};
}
template <Rgb ClipPreprocess::*colors>
std::optional<ConfigNode> WriteColors(const PixelWrite& at) {
  return RgbNode(at.from.*colors);
}

ConfigNode PairNode(uint32_t height, uint32_t width) {
  ConfigNode node = ConfigNode::Map();
  node["height"] = ConfigNode::Int(height);
  node["width"] = ConfigNode::Int(width);
  return node;
}

// ---- preprocessor_config.json ----

Status ReadSize(const PixelRead& at) {
  ANEMONE_ASSIGN(at.said.size, ReadSides(at.value, at.field.name, "shortest_edge"));
  return {};
}
std::optional<ConfigNode> WriteSize(const PixelWrite& at) {
  if (at.from.resize_height != 0) return PairNode(at.from.resize_height, at.from.resize_width);
  if (at.from.shortest_edge == 0) return std::nullopt;
  ConfigNode node = ConfigNode::Map();
  node["shortest_edge"] = ConfigNode::Int(at.from.shortest_edge);
  return node;
}
std::optional<ConfigNode> WriteResizes(const PixelWrite& at) {
  return ConfigNode::Bool(at.from.shortest_edge != 0 || at.from.resize_height != 0);
}

Status ReadCropSize(const PixelRead& at) {
  Sides& crop = at.said.crop;
  ANEMONE_ASSIGN(crop, ReadSides(at.value, at.field.name, ""));
  if (crop.edge != 0) crop.height = crop.width = crop.edge;
  return {};
}
std::optional<ConfigNode> WriteCropSize(const PixelWrite& at) {
  if (at.from.crop_height == 0) return std::nullopt;
  return PairNode(at.from.crop_height, at.from.crop_width);
}
// SigLIP's class crops nothing where nothing is said.
std::optional<ConfigNode> WriteCrops(const PixelWrite& at) {
  if (at.from.crop_height != 0) return ConfigNode::Bool(true);
  return at.from.resize_height != 0 && !at.siglip ? std::optional(ConfigNode::Bool(false)) : std::nullopt;
}

Status ReadResample(const PixelRead& at) {
  const std::optional<int64_t> filter = at.value.AsInt();
  if (filter != static_cast<int64_t>(Resample::kBicubic) && filter != static_cast<int64_t>(Resample::kBilinear)) {
    return Unsupported(fmt::format("resample: expected 2 (bilinear) or 3 (bicubic), found {}", at.value.ScalarText()));
  }
  at.said.resample = static_cast<Resample>(*filter);
  return {};
}
std::optional<ConfigNode> WriteResample(const PixelWrite& at) {
  return ConfigNode::Int(static_cast<int64_t>(at.from.resample));
}

Status ReadFactor(const PixelRead& at) {
  const std::optional<double> factor = at.value.AsDouble();
  if (!factor) return Expected(at.field.name, "a number", at.value);
  at.said.rescale_factor = *factor;
  return {};
}
std::optional<ConfigNode> WriteFactor(const PixelWrite& at) { return ConfigNode::Float(at.from.rescale_factor); }

std::optional<ConfigNode> WriteClass(const PixelWrite& at) {
  return TextNode(at.siglip ? "SiglipImageProcessor" : "CLIPImageProcessor");
}

using enum FieldUse;

constexpr ClipField kPreprocessorFields[] = {
    {"do_convert_rgb", kNoEffect, "without it transformers fails on all but RGB, and RGB stays as it is",
     PixelCodec{nullptr, WriteTrue}},
    {"do_normalize", kHonored, "whether mean and deviation are applied",
     PixelCodec{ReadFlag<&Said::normalizes>, WriteTrue}},
    {"do_rescale", kHonored, "whether pixels are multiplied by rescale_factor",
     PixelCodec{ReadFlag<&Said::rescales>, WriteTrue}},
    {"do_resize", kHonored, "whether the picture is resized", PixelCodec{ReadFlag<&Said::resizes>, WriteResizes}},
    {"size", kHonored, "to what: a number or shortest_edge, or height and width; other keys are refused",
     PixelCodec{ReadSize, WriteSize}},
    {"do_center_crop", kHonored, "whether the center is cut out", PixelCodec{ReadFlag<&Said::crops>, WriteCrops}},
    {"crop_size", kHonored, "to what: a number, or height and width; other keys are refused",
     PixelCodec{ReadCropSize, WriteCropSize}},
    {"image_mean", kHonored, "mean of pixels", PixelCodec{ReadColors<&Said::mean>, WriteColors<&ClipPreprocess::mean>}},
    {"image_std", kHonored, "deviation of pixels",
     PixelCodec{ReadColors<&Said::std>, WriteColors<&ClipPreprocess::std>}},
    // Read before the others, whose defaults it decides.
    {"image_processor_type", kHonored, "CLIP's or SigLIP's, which have other defaults; others are refused",
     PixelCodec{nullptr, WriteClass}},
    {"feature_extractor_type", kHonored, "the same, in older files"},
    {"resample", kHonored, "2 (bilinear) or 3 (bicubic); others are refused", PixelCodec{ReadResample, WriteResample}},
    {"rescale_factor", kHonored, "by what pixels are multiplied", PixelCodec{ReadFactor, WriteFactor}},
    {"do_pad", kOnly, "pads pictures", "[false]"},
    {"pad_size", kOnly, "pads pictures", "[]"},
    {"default_to_square", kOnly, "reads a number in size as height and width", "[false]"},
    {"use_square_size", kOnly, "squashes to the shorter side", "[false]"},
    {"auto_map", kOnly, "pictures are prepared by code of its own", "[]"},
    {"processor_class", kNoEffect, "which class holds this one"},
    {"data_format", kNoEffect, "the order of the answer's axes"},
    {"input_data_format", kNoEffect, "the order of an array's axes"},
    {"return_tensors", kNoEffect, "the form of the answer"},
    {"device", kNoEffect, "where it is computed"},
    {"disable_grouping", kNoEffect, "computes the same in parts"},
};

// A step of the preprocessor: the key that switches it on, and those that it needs.
struct Step {
  std::string_view flag;
  bool Said::*is_taken;
  std::array<std::string_view, 2> needs;
};
constexpr Step kSteps[] = {
    {"do_resize", &Said::resizes, {"size", "resample"}},
    {"do_center_crop", &Said::crops, {"crop_size"}},
    {"do_rescale", &Said::rescales, {"rescale_factor"}},
    {"do_normalize", &Said::normalizes, {"image_mean", "image_std"}},
};

// transformers 5 takes no step whose flag is null, and refuses a step without its values.
Status ReadNulls(const ConfigNode& root, Said* said) {
  const auto is_null = [&root](std::string_view key) {
    const ConfigNode* node = root.Get(key);
    return node != nullptr && node->is_null();
  };
  for (const Step& step : kSteps) {
    if (is_null(step.flag)) said->*step.is_taken = false;
    if (!(said->*step.is_taken)) continue;
    const auto* const missing = std::ranges::find_if(step.needs, is_null);
    if (missing != step.needs.end())
      return Corrupt(fmt::format("{}: expected a value, as {} is true, found null", *missing, step.flag));
  }
  return {};
}

Status ReadHuggingFace(const ConfigNode& root, bool siglip_model, ClipPreprocess* out) {
  Said said{.resample = out->resample};
  ANEMONE_ASSIGN(said.siglip, IsSiglipProcessor(root, siglip_model));
  said.crops = !said.siglip;
  said.crop.height = said.crop.width = 224;
  if (said.siglip) {
    said.size.height = said.size.width = 224;
    said.mean = said.std = {0.5, 0.5, 0.5};
  } else {
    said.size.edge = 224;
  }
  ANEMONE_TRY(ReadSaid(kPreprocessorFields, root, &said));
  ANEMONE_TRY(ReadNulls(root, &said));
  if (said.siglip && said.crops)
    return Unsupported("do_center_crop: expected false for SigLIP's image processor, found true");
  const Sides size = said.resizes ? said.size : Sides{}, crop = said.crops ? said.crop : Sides{};
  out->shortest_edge = size.edge;
  out->resize_height = size.height;
  out->resize_width = size.width;
  out->crop_height = crop.height;
  out->crop_width = crop.width;
  out->resample = said.resample;
  out->rescale_factor = said.rescales ? said.rescale_factor : 1;
  out->mean = said.normalizes ? said.mean : Rgb{0, 0, 0};
  out->std = said.normalizes ? said.std : Rgb{1, 1, 1};
  return {};
}

// ---- OpenCLIP's preprocess_cfg ----

// A model's mean and deviation, which NeMo has, too; those of pictures are read below.
void ReadMean(const FieldRead& at) { at.spec.mean = ReadRgb(at.in.Get(at.field.name)); }
std::optional<ConfigNode> WriteMean(const FieldWrite& at) { return RgbNode(at.spec.mean.value_or(kClipMean)); }
void ReadDeviation(const FieldRead& at) { at.spec.deviation = ReadRgb(at.in.Get(at.field.name)); }
std::optional<ConfigNode> WriteDeviation(const FieldWrite& at) {
  return RgbNode(at.spec.deviation.value_or(kClipDeviation));
}

bool Crops(const PixelWrite& at) { return at.from.crop_height == at.side && at.from.crop_width == at.side; }
bool IsShortest(const PixelWrite& at) { return at.from.shortest_edge == at.side && Crops(at); }
bool IsLongest(const PixelWrite& at) { return at.from.longest_edge == at.side && Crops(at); }
bool IsSquash(const PixelWrite& at) {
  return at.from.resize_height == at.side && at.from.resize_width == at.side && (Crops(at) || at.from.crop_height == 0);
}

Status ReadMode(const PixelRead& at) {
  at.said.mode = at.value.AsString().value_or("");
  if (at.said.mode == "shortest" || at.said.mode == "longest" || at.said.mode == "squash") return {};
  return Unsupported(
      fmt::format("resize_mode: expected shortest, longest or squash, found {}", Config(at.value).ToJson(-1)));
}
std::optional<ConfigNode> WriteMode(const PixelWrite& at) {
  if (IsLongest(at)) return TextNode("longest");
  return IsSquash(at) ? std::optional(TextNode("squash")) : std::nullopt;
}

Status ReadFill(const PixelRead& at) {
  if (at.said.mode != "longest") return {};
  const std::optional<int64_t> color = at.value.AsInt();
  if (!color || *color < 0 || *color > 255) return Expected(at.field.name, "a number from 0 to 255", at.value);
  at.said.fill = static_cast<uint8_t>(*color);
  return {};
}
std::optional<ConfigNode> WriteFill(const PixelWrite& at) {
  return IsLongest(at) ? std::optional(ConfigNode::Int(at.from.fill)) : std::nullopt;
}

Status ReadInterpolation(const PixelRead& at) {
  const std::string word = at.value.AsString().value_or("");
  if (word != "bicubic" && word != "bilinear" && word != "random") {
    return Unsupported(
        fmt::format("interpolation: expected bicubic, bilinear or random, found {}", at.value.ScalarText()));
  }
  if (word == "bilinear") at.said.resample = Resample::kBilinear;
  return {};
}
std::optional<ConfigNode> WriteInterpolation(const PixelWrite& at) {
  return at.from.resample == Resample::kBilinear ? std::optional(TextNode("bilinear")) : std::nullopt;
}

constexpr ClipField kOpenClipFields[] = {
    {"mean",
     kHonored,
     "mean of pixels",
     PixelCodec{ReadColors<&Said::mean>, WriteColors<&ClipPreprocess::mean>},
     {ReadMean, WriteMean}},
    {"std",
     kHonored,
     "deviation of pixels",
     PixelCodec{ReadColors<&Said::std>, WriteColors<&ClipPreprocess::std>},
     {ReadDeviation, WriteDeviation}},
    {"resize_mode", kHonored, "shortest (and cut), longest (and padded) or squash", PixelCodec{ReadMode, WriteMode}},
    {"fill_color", kHonored, "what resize_mode longest pads with", PixelCodec{ReadFill, WriteFill}},
    {"interpolation", kHonored, "bicubic or bilinear; random is bicubic outside training",
     PixelCodec{ReadInterpolation, WriteInterpolation}},
    {"mode", kOnly, "color channels", R"(["RGB"])"},
    {"size", kNoEffect, "OpenCLIP takes the image tower's size"},
};

Status ReadOpenClip(const ConfigNode& node, uint32_t side, ClipPreprocess* out) {
  Said said{.fill = out->fill, .resample = out->resample, .mean = out->mean, .std = out->std};
  ANEMONE_TRY(ReadSaid(kOpenClipFields, node, &said));
  out->mean = said.mean;
  out->std = said.std;
  out->resample = said.resample;
  out->fill = said.fill;
  if (said.mode == "squash") {
    out->shortest_edge = out->crop_height = out->crop_width = 0;
    out->resize_height = out->resize_width = side;
  } else if (said.mode == "longest") {
    out->shortest_edge = 0;
    out->longest_edge = side;
  }
  return {};
}

// transformers 5 writes the image processor into processor_config.json, which then wins.
Status ReadFiles(const Checkpoint& checkpoint, bool siglip, bool strict, std::vector<std::string>* notes,
                 ClipPreprocess* out) {
  constexpr ClipSection kProcessor[] = {ClipSection::kProcessor};
  constexpr ClipSection kPreprocessor[] = {ClipSection::kPreprocessor};
  const auto read = [&](const ConfigNode& node, std::string_view where) -> Status {
    ANEMONE_TRY(CheckClipFields(node, kPreprocessor, where, strict, notes));
    return ReadHuggingFace(node, siglip, out);
  };
  ANEMONE_ASSIGN(const std::optional<Config> outer, ReadJsonArtifact(checkpoint, kProcessorFile));
  if (outer) {
    ANEMONE_TRY(CheckClipFields(outer->root(), kProcessor, "", strict, notes).In(kProcessorFile));
    const ConfigNode* inner = Value(outer->root(), "image_processor");
    if (inner != nullptr && inner->is_map()) return read(*inner, "image_processor.").In(kProcessorFile);
  }
  ANEMONE_ASSIGN(const std::optional<Config> own, ReadJsonArtifact(checkpoint, kPreprocessorFile));
  return own ? read(own->root(), "").In(kPreprocessorFile) : Status();
}

std::string ResizeText(const ClipPreprocess& p) {
  if (p.shortest_edge != 0) return fmt::format("the shorter side to {}", p.shortest_edge);
  if (p.longest_edge != 0) return fmt::format("the longer side to {}", p.longest_edge);
  if (p.resize_height != 0) return fmt::format("to {}×{} whatever the aspect", p.resize_height, p.resize_width);
  return "not at all";
}

// NeMo's own for this model: the shorter side resized to the tower's, the center cut out.
ClipPreprocess NemoPreprocess(const ClipArchitecture& spec) {
  ClipPreprocess out;
  out.shortest_edge = out.crop_height = out.crop_width = static_cast<uint32_t>(spec.image_height);
  out.crop_rule = CropRule::kRoundHalfEven;
  out.mean = spec.mean.value_or(kClipMean);
  out.std = spec.deviation.value_or(kClipDeviation);
  return out;
}

}  // namespace

Result<ClipPreprocess> ClipPreprocessOf(const Checkpoint& checkpoint, const ClipArchitecture& spec, PixelRules rules,
                                        bool strict, std::vector<std::string>* notes) {
  ClipPreprocess out = NemoPreprocess(spec);
  const auto side = static_cast<uint32_t>(spec.image_height);
  if (rules == PixelRules::kOpenClip) {
    const ConfigNode* node = checkpoint.config ? checkpoint.config->root().Get("preprocess_cfg") : nullptr;
    if (node != nullptr) ANEMONE_TRY(ReadOpenClip(*node, side, &out).In("preprocess_cfg"));
    return out;
  }
  if (rules == PixelRules::kNemo && !spec.siglip) return out;
  out.crop_rule = rules == PixelRules::kNemo ? CropRule::kRoundHalfEven : CropRule::kFloor;
  if (spec.siglip) {
    // Squash, no crop, mean and deviation 0.5.
    out.shortest_edge = out.crop_height = out.crop_width = 0;
    out.resize_height = out.resize_width = side;
    out.mean = out.std = {0.5, 0.5, 0.5};
  }
  ANEMONE_TRY(ReadFiles(checkpoint, spec.siglip, strict, notes, &out));
  return out;
}

std::span<const ClipField> PreprocessorFields() { return kPreprocessorFields; }
std::span<const ClipField> OpenClipPreprocessFields() { return kOpenClipFields; }

Result<ConfigNode> HuggingFacePreprocess(const ClipPreprocess& p, bool siglip) {
  if (p.longest_edge != 0) {
    return Unsupported(
        "preprocess_cfg.resize_mode: expected shortest or squash for Hugging Face's image processor, found longest");
  }
  ConfigNode root = WriteSaid(kPreprocessorFields, {p, siglip, 0});
  // A shortest edge comes after what is cut, as in the files of OpenAI's CLIPs.
  const auto at = [&](std::string_view key) {
    return std::ranges::find(root.map, key, [](const auto& entry) { return std::string_view(entry.first); });
  };
  if (const auto size = at("size"), crop = at("crop_size"); p.shortest_edge != 0 && crop != root.map.end())
    std::rotate(size, size + 1, crop + 1);
  return root;
}

Result<ConfigNode> OpenClipPreprocess(const ClipPreprocess& p, uint64_t side) {
  const PixelWrite at{p, false, side};
  if (!IsShortest(at) && !IsLongest(at) && !IsSquash(at)) {
    return Unsupported(
        fmt::format("size: expected the tower's own {} for OpenCLIP, found pictures resized {} and cut to {}×{}", side,
                    ResizeText(p), p.crop_height, p.crop_width));
  }
  if (p.rescale_factor != kByte) {
    return Unsupported(fmt::format("rescale_factor: expected 1/255 for OpenCLIP, found {}", p.rescale_factor));
  }
  return WriteSaid(kOpenClipFields, at);
}

std::vector<std::string> BeyondNemo(const ClipPreprocess& p, const ClipArchitecture& spec, PixelRules rules) {
  // Its pictures are whole patches, as its config says (nemo_config.cc).
  ClipArchitecture whole = spec;
  if (spec.patch > 0) {
    whole.image_height -= spec.image_height % spec.patch;
    whole.image_width -= spec.image_width % spec.patch;
  }
  const ClipPreprocess nemo = NemoPreprocess(whole);
  const bool open = rules == PixelRules::kOpenClip;
  std::vector<std::string> lines;
  if (ResizeText(p) != ResizeText(nemo)) {
    lines.push_back(fmt::format("{}: the model's pictures are resized {}, NeMo resizes {}",
                                open ? "preprocess_cfg.resize_mode" : "preprocessor_config.json: size", ResizeText(p),
                                ResizeText(nemo)));
  } else if (p.crop_height != nemo.crop_height || p.crop_width != nemo.crop_width) {
    lines.push_back(
        fmt::format("preprocessor_config.json: crop_size: the model's pictures are cut to {}×{}, NeMo's to "
                    "{}×{}",
                    p.crop_height, p.crop_width, nemo.crop_height, nemo.crop_width));
  }
  if (p.resample != nemo.resample) {
    lines.push_back(fmt::format("{}: the model's pictures are resized bilinearly, NeMo resizes bicubically",
                                open ? "preprocess_cfg.interpolation" : "preprocessor_config.json: resample"));
  }
  if (p.rescale_factor != nemo.rescale_factor) {
    lines.push_back(
        fmt::format("preprocessor_config.json: rescale_factor: the model's pixels are multiplied by {}, "
                    "NeMo divides by 255",
                    p.rescale_factor));
  }
  return lines;
}

}  // namespace anemone
