#include "family/clip/clip_preprocess.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "family/clip/clip_fields.h"

namespace anemone {
namespace {

constexpr uint64_t kMaxBytes = uint64_t{1} << 20;
constexpr std::string_view kPreprocessorFile = "preprocessor_config.json";
constexpr std::string_view kProcessorFile = "processor_config.json";
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

Status ReadFlag(const ConfigNode& root, std::string_view key, bool* flag) {
  const ConfigNode* node = Value(root, key);
  if (node == nullptr) return {};
  const std::optional<bool> value = node->AsBool();
  if (!value) return Expected(key, "true or false", *node);
  *flag = *value;
  return {};
}

Status ReadColors(const ConfigNode& root, std::string_view key, std::array<double, 3>* colors) {
  const ConfigNode* node = Value(root, key);
  if (node == nullptr) return {};
  const std::optional<Rgb> value = ReadRgb(node);
  if (!value) return Expected(key, "a number or three", *node);
  *colors = *value;
  return {};
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

Status ReadHuggingFace(const ConfigNode& root, bool siglip_model, ClipPreprocess* out) {
  ANEMONE_ASSIGN(const bool siglip, IsSiglipProcessor(root, siglip_model));
  bool resizes = true, crops = !siglip, rescales = true, normalizes = true;
  ANEMONE_TRY(ReadFlag(root, "do_resize", &resizes));
  ANEMONE_TRY(ReadFlag(root, "do_center_crop", &crops));
  ANEMONE_TRY(ReadFlag(root, "do_rescale", &rescales));
  ANEMONE_TRY(ReadFlag(root, "do_normalize", &normalizes));
  if (siglip && crops) return Unsupported("do_center_crop: expected false for SigLIP's image processor, found true");

  Sides size, crop;
  (siglip ? size.height : size.edge) = 224;
  if (siglip) size.width = 224;
  crop.height = crop.width = 224;
  if (const ConfigNode* node = Value(root, "size")) {
    ANEMONE_ASSIGN(size, ReadSides(*node, "size", "shortest_edge"));
  }
  if (const ConfigNode* node = Value(root, "crop_size")) {
    ANEMONE_ASSIGN(crop, ReadSides(*node, "crop_size", ""));
    if (crop.edge != 0) crop.height = crop.width = crop.edge;
  }
  out->shortest_edge = resizes ? size.edge : 0;
  out->resize_height = resizes ? size.height : 0;
  out->resize_width = resizes ? size.width : 0;
  out->crop_height = crops ? crop.height : 0;
  out->crop_width = crops ? crop.width : 0;

  if (const ConfigNode* node = Value(root, "resample")) {
    const std::optional<int64_t> filter = node->AsInt();
    if (filter != static_cast<int64_t>(Resample::kBicubic) && filter != static_cast<int64_t>(Resample::kBilinear)) {
      return Unsupported(fmt::format("resample: expected 2 (bilinear) or 3 (bicubic), found {}", node->ScalarText()));
    }
    out->resample = static_cast<Resample>(*filter);
  }
  out->rescale_factor = kByte;
  if (const ConfigNode* node = Value(root, "rescale_factor")) {
    const std::optional<double> factor = node->AsDouble();
    if (!factor) return Expected("rescale_factor", "a number", *node);
    out->rescale_factor = *factor;
  }
  if (!rescales) out->rescale_factor = 1;
  constexpr Rgb kHalf = {0.5, 0.5, 0.5};
  out->mean = siglip ? kHalf : kClipMean;
  out->std = siglip ? kHalf : kClipDeviation;
  ANEMONE_TRY(ReadColors(root, "image_mean", &out->mean));
  ANEMONE_TRY(ReadColors(root, "image_std", &out->std));
  if (!normalizes) {
    out->mean = {0, 0, 0};
    out->std = {1, 1, 1};
  }
  return {};
}

Result<std::optional<Config>> ReadJson(const Checkpoint& checkpoint, std::string_view file) {
  const Artifact* artifact = checkpoint.FindArtifact(std::string(file));
  if (artifact == nullptr) return std::optional<Config>();
  auto text = artifact->content.ReadAll(kMaxBytes);
  if (!text.ok()) return text.status().In(file);
  ANEMONE_ASSIGN(Config config, Config::ParseJson(*text, file));
  if (!config.root().is_map()) return Corrupt("expected a JSON object").In(file);
  return std::optional<Config>(std::move(config));
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
  ANEMONE_ASSIGN(const std::optional<Config> outer, ReadJson(checkpoint, kProcessorFile));
  if (outer) {
    ANEMONE_TRY(CheckClipFields(outer->root(), kProcessor, "", strict, notes).In(kProcessorFile));
    const ConfigNode* inner = Value(outer->root(), "image_processor");
    if (inner != nullptr && inner->is_map()) return read(*inner, "image_processor.").In(kProcessorFile);
  }
  ANEMONE_ASSIGN(const std::optional<Config> own, ReadJson(checkpoint, kPreprocessorFile));
  return own ? read(own->root(), "").In(kPreprocessorFile) : Status();
}

Status ReadOpenClip(const ConfigNode& node, uint32_t side, ClipPreprocess* out) {
  ANEMONE_TRY(ReadColors(node, "mean", &out->mean));
  ANEMONE_TRY(ReadColors(node, "std", &out->std));
  if (const ConfigNode* value = Value(node, "interpolation")) {
    const std::string word = value->AsString().value_or("");
    if (word != "bicubic" && word != "bilinear" && word != "random") {
      return Unsupported(
          fmt::format("interpolation: expected bicubic, bilinear or random, found {}", value->ScalarText()));
    }
    if (word == "bilinear") out->resample = Resample::kBilinear;
  }
  const ConfigNode* mode = Value(node, "resize_mode");
  const std::string word = mode == nullptr ? "shortest" : mode->AsString().value_or("");
  if (word == "squash") {
    out->shortest_edge = out->crop_height = out->crop_width = 0;
    out->resize_height = out->resize_width = side;
  } else if (word == "longest") {
    out->shortest_edge = 0;
    out->longest_edge = side;
    if (const ConfigNode* fill = Value(node, "fill_color")) {
      const std::optional<int64_t> color = fill->AsInt();
      if (!color || *color < 0 || *color > 255) return Expected("fill_color", "a number from 0 to 255", *fill);
      out->fill = static_cast<uint8_t>(*color);
    }
  } else if (word != "shortest") {
    return Unsupported(
        fmt::format("resize_mode: expected shortest, longest or squash, found {}", Config(*mode).ToJson(-1)));
  }
  return {};
}

std::string ResizeText(const ClipPreprocess& p) {
  if (p.shortest_edge != 0) return fmt::format("the shorter side to {}", p.shortest_edge);
  if (p.longest_edge != 0) return fmt::format("the longer side to {}", p.longest_edge);
  if (p.resize_height != 0) return fmt::format("to {}×{} whatever the aspect", p.resize_height, p.resize_width);
  return "not at all";
}

}  // namespace

ClipPreprocess NemoPreprocess(const ClipArchitecture& spec) {
  ClipPreprocess out;
  out.shortest_edge = out.crop_height = out.crop_width = static_cast<uint32_t>(spec.image_height);
  out.crop_rule = CropRule::kRoundHalfEven;
  out.mean = spec.mean.value_or(kClipMean);
  out.std = spec.deviation.value_or(kClipDeviation);
  return out;
}

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

Result<ConfigNode> HuggingFacePreprocess(const ClipPreprocess& p, bool siglip) {
  if (p.longest_edge != 0) {
    return Unsupported(
        "preprocess_cfg.resize_mode: expected shortest or squash for Hugging Face's image processor, found longest");
  }
  const auto pair = [](uint32_t height, uint32_t width) {
    ConfigNode node = ConfigNode::Map();
    node["height"] = ConfigNode::Int(height);
    node["width"] = ConfigNode::Int(width);
    return node;
  };
  ConfigNode root = ConfigNode::Map();
  for (const char* step : {"do_convert_rgb", "do_normalize", "do_rescale"}) root[step] = ConfigNode::Bool(true);
  root["do_resize"] = ConfigNode::Bool(p.shortest_edge != 0 || p.resize_height != 0);
  if (p.resize_height != 0) {
    root["size"] = pair(p.resize_height, p.resize_width);
    if (!siglip && p.crop_height == 0) root["do_center_crop"] = ConfigNode::Bool(false);
  }
  if (p.crop_height != 0) {
    root["do_center_crop"] = ConfigNode::Bool(true);
    root["crop_size"] = pair(p.crop_height, p.crop_width);
  }
  if (p.shortest_edge != 0) {
    root["size"] = ConfigNode::Map();
    root["size"]["shortest_edge"] = ConfigNode::Int(p.shortest_edge);
  }
  root["image_mean"] = RgbNode(p.mean);
  root["image_std"] = RgbNode(p.std);
  root["image_processor_type"] = ConfigNode::String(siglip ? "SiglipImageProcessor" : "CLIPImageProcessor");
  root["resample"] = ConfigNode::Int(static_cast<int64_t>(p.resample));
  root["rescale_factor"] = ConfigNode::Float(p.rescale_factor);
  return root;
}

Result<ConfigNode> OpenClipPreprocess(const ClipPreprocess& p, uint64_t side) {
  const bool crops = p.crop_height == side && p.crop_width == side;
  const bool shortest = p.shortest_edge == side && crops;
  const bool longest = p.longest_edge == side && crops;
  const bool squash = p.resize_height == side && p.resize_width == side && (crops || p.crop_height == 0);
  if (!shortest && !longest && !squash) {
    return Unsupported(
        fmt::format("size: expected the tower's own {} for OpenCLIP, found pictures resized {} and cut to {}×{}", side,
                    ResizeText(p), p.crop_height, p.crop_width));
  }
  if (p.rescale_factor != kByte) {
    return Unsupported(fmt::format("rescale_factor: expected 1/255 for OpenCLIP, found {}", p.rescale_factor));
  }
  ConfigNode node = ConfigNode::Map();
  node["mean"] = RgbNode(p.mean);
  node["std"] = RgbNode(p.std);
  if (squash) node["resize_mode"] = ConfigNode::String("squash");
  if (longest) {
    node["resize_mode"] = ConfigNode::String("longest");
    node["fill_color"] = ConfigNode::Int(p.fill);
  }
  if (p.resample == Resample::kBilinear) node["interpolation"] = ConfigNode::String("bilinear");
  return node;
}

std::vector<std::string> BeyondNemo(const ClipPreprocess& p, const ClipArchitecture& spec, PixelRules rules) {
  const ClipPreprocess nemo = NemoPreprocess(spec);
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
