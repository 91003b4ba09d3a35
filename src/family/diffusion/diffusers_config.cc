// Facts: diffusers v0.42.1 loaders/single_file_utils.py (create_unet_diffusers_config_from_ldm,
// create_vae_diffusers_config_from_ldm), models/unets/unet_2d_condition.py; NeMo v2.0.0 openaimodel.py, ddpm.py,
// encoders/modules.py, samplers/ddim.py.
#include "family/diffusion/diffusers_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "config/nodes.h"
#include "family/diffusion/diffusers_fields.h"
#include "family/diffusion/diffusion_config.h"
#include "family/diffusion/diffusion_symbols.h"
#include "family/megatron/megatron_layer.h"
#include "family/words/model_words.h"

namespace anemone {
namespace {

constexpr std::string_view kAttends = "CrossAttnDownBlock2D", kAttendsUp = "CrossAttnUpBlock2D", kDown = "DownBlock2D",
                           kUp = "UpBlock2D", kEncodes = "DownEncoderBlock2D", kDecodes = "UpDecoderBlock2D";

// parameterization and prediction_type.
constexpr std::pair<std::string_view, std::string_view> kPredictions[] = {
    {"eps", "epsilon"}, {"v", "v_prediction"}, {"x0", "sample"}};

// Numbers that have one name in each.
struct NumberPair {
  std::string_view nemo, at, diffusers;
  std::string_view silent;       // what diffusers takes
  std::string_view silent_nemo;  // what NeMo takes
};
constexpr NumberPair kNumbers[] = {
    {"unet_config.in_channels", "unet", "in_channels", "4", "null"},
    {"unet_config.out_channels", "unet", "out_channels", "4", "null"},
    {"unet_config.use_linear_in_transformer", "unet", "use_linear_projection", "false", "false"},
    {"image_size", "unet", "sample_size", "64", "64"},
    {"first_stage_config.ddconfig.in_channels", "vae", "in_channels", "3", "null"},
    {"first_stage_config.ddconfig.out_ch", "vae", "out_channels", "3", "null"},
    {"first_stage_config.ddconfig.z_channels", "vae", "latent_channels", "4", "null"},
    {"scale_factor", "vae", "scaling_factor", "0.18215", "1.0"},
    {"timesteps", "scheduler", "num_train_timesteps", "1000", "1000"},
    {"linear_start", "scheduler", "beta_start", "0.0001", "0.0001"},
    {"linear_end", "scheduler", "beta_end", "0.02", "0.02"},
};

// One size for all levels: a number, or a list of equal ones.
Result<ConfigNode> OneSize(const ConfigNode& map, std::string_view key, std::string_view silent) {
  const ConfigNode none = ParseWord(silent);
  const ConfigNode& value = OneForAllLevels(WordOr(map, key, none));
  if (!value.is_list()) return value;
  return Unsupported(fmt::format("{}: expected one value for all levels, found {}", key, InOneLine(value)));
}

// ---- reading ----

Result<std::vector<uint64_t>> Widths(const ConfigNode& map, const ConfigNode& silent) {
  const ConfigNode& value = WordOr(map, "block_out_channels", silent);
  std::vector<uint64_t> widths;
  for (const ConfigNode& one : value.list) widths.push_back(static_cast<uint64_t>(one.AsInt().value_or(0)));
  const bool makes_sense = !widths.empty() && widths.size() <= kLevels &&
                           std::ranges::all_of(widths, [](uint64_t width) { return width > 0 && width <= UINT32_MAX; });
  if (!makes_sense)
    return Unsupported(
        fmt::format("block_out_channels: expected channels of 1 to {} levels, found {}", kLevels, InOneLine(value)));
  return widths;
}

Result<ConfigNode> MultiplesOf(const std::vector<uint64_t>& widths) {
  ConfigNode multiples = ConfigNode::List();
  for (const uint64_t width : widths) {
    if (width % widths.front() != 0)
      return Unsupported(fmt::format(
          "block_out_channels: expected multiples of {}, which NeMo's config lists, found {}", widths.front(), width));
    multiples.list.push_back(SizeNode(width / widths.front()));
  }
  return multiples;
}

// For each level, true if it attends. The way up mirrors the way down.
Result<std::vector<bool>> Attending(const ConfigNode& unet, size_t levels) {
  const ConfigNode down_silent =
      ParseWord("[CrossAttnDownBlock2D, CrossAttnDownBlock2D, CrossAttnDownBlock2D, DownBlock2D]");
  const ConfigNode up_silent = ParseWord("[UpBlock2D, CrossAttnUpBlock2D, CrossAttnUpBlock2D, CrossAttnUpBlock2D]");
  const ConfigNode &down = WordOr(unet, "down_block_types", down_silent),
                   &up = WordOr(unet, "up_block_types", up_silent);
  for (const auto& [key, types] : {std::pair{"down_block_types", &down}, {"up_block_types", &up}}) {
    if (types->list.size() != levels)
      return Corrupt(fmt::format("{}: expected one of each of {} levels, found {}", key, levels, types->list.size()));
  }
  std::vector<bool> attends;
  for (size_t level = 0; level < levels; ++level) {
    const std::string type = down.list[level].AsString().value_or("");
    attends.push_back(type == kAttends);
    if (type != kAttends && type != kDown)
      return Unsupported(
          fmt::format("down_block_types: expected {} or {}, found {}", kAttends, kDown, Shown(down.list[level])));
    const ConfigNode& mirrored = up.list[levels - 1 - level];
    const std::string_view wanted = attends.back() ? kAttendsUp : kUp;
    if (mirrored.AsString() != std::string(wanted))
      return Unsupported(fmt::format("up_block_types: expected {} for {}, found {}", wanted, type, Shown(mirrored)));
  }
  return attends;
}

// NeMo has a word for a number of heads, and one for the channels of each.
Status SetHeads(const ConfigNode& unet, const std::vector<uint64_t>& widths, const std::vector<bool>& attends,
                ConfigNode* to) {
  const ConfigNode silent = ConfigNode::Int(8);
  const ConfigNode& said = WordOr(unet, "attention_head_dim", silent);
  const size_t levels = widths.size();
  if (said.is_list() && said.list.size() != levels)
    return Corrupt(
        fmt::format("attention_head_dim: expected one of each of {} levels, found {}", levels, said.list.size()));
  std::vector<std::pair<uint64_t, uint64_t>> heads;  // how many, and their channels
  for (size_t level = 0; level < levels; ++level) {
    if (!attends[level] && level + 1 != levels) continue;  // the last one's are those of the middle
    const int64_t count = (said.is_list() ? said.list[level] : said).AsInt().value_or(0);
    if (count < 1 || widths[level] % static_cast<uint64_t>(count) != 0)
      return Corrupt(fmt::format("attention_head_dim: expected a number of heads that divides {}, found {}",
                                 widths[level], count));
    heads.emplace_back(count, widths[level] / static_cast<uint64_t>(count));
  }
  const auto& first = heads.front();
  if (std::ranges::all_of(heads, [&](const auto& head) { return head.first == first.first; })) {
    (*to)["num_heads"] = SizeNode(first.first);
  } else if (std::ranges::all_of(heads, [&](const auto& head) { return head.second == first.second; })) {
    (*to)["num_head_channels"] = SizeNode(first.second);
  } else {
    return Unsupported(
        fmt::format("attention_head_dim: expected as many heads in each level, or heads of as many channels, found {}",
                    InOneLine(said)));
  }
  return {};
}

Status SetUnet(const ConfigNode& unet, ConfigNode* to) {
  ANEMONE_ASSIGN(const std::vector<uint64_t> widths, Widths(unet, ParseWord("[320, 640, 1280, 1280]")));
  ANEMONE_ASSIGN(const std::vector<bool> attends, Attending(unet, widths.size()));
  (*to)["model_channels"] = SizeNode(widths.front());
  ANEMONE_ASSIGN((*to)["channel_mult"], MultiplesOf(widths));
  ConfigNode resolutions = ConfigNode::List();
  for (size_t level = widths.size(); level-- > 0;) {
    if (attends[level]) resolutions.list.push_back(ConfigNode::Int(int64_t{1} << level));
  }
  (*to)["attention_resolutions"] = std::move(resolutions);
  ANEMONE_ASSIGN((*to)["context_dim"], OneSize(unet, "cross_attention_dim", "1280"));
  ANEMONE_ASSIGN((*to)["transformer_depth"], OneSize(unet, "transformer_layers_per_block", "1"));
  return SetHeads(unet, widths, attends, to);
}

Status SetVae(const ConfigNode& vae, ConfigNode* to) {
  ANEMONE_ASSIGN(const std::vector<uint64_t> widths, Widths(vae, ParseWord("[64]")));
  for (const auto& [key, type] : {std::pair{"down_block_types", kEncodes}, {"up_block_types", kDecodes}}) {
    const ConfigNode silent = ConfigNode::List({TextNode(type)});
    const ConfigNode& types = WordOr(vae, key, silent);
    const bool fits =
        types.list.size() == widths.size() && std::ranges::all_of(types.list, [&, type = type](const ConfigNode& one) {
          return one.AsString() == std::string(type);
        });
    if (!fits)
      return Unsupported(
          fmt::format("{}: expected {} for each of {} levels, found {}", key, type, widths.size(), InOneLine(types)));
  }
  ConfigNode& sizes = (*to)["ddconfig"];
  sizes["ch"] = SizeNode(widths.front());
  ANEMONE_ASSIGN(sizes["ch_mult"], MultiplesOf(widths));
  (*to)["embed_dim"] = ConfigNode(sizes["z_channels"]);  // a copy: a new key may move the other
  return {};
}

Status SetPrediction(const ConfigNode& scheduler, ConfigNode* model) {
  const ConfigNode silent = ConfigNode::String("epsilon");
  const ConfigNode& said = WordOr(scheduler, "prediction_type", silent);
  const auto* found =
      std::ranges::find(kPredictions, said.AsString().value_or(""), [](const auto& pair) { return pair.second; });
  if (found == std::end(kPredictions))
    return Unsupported(fmt::format("prediction_type: expected epsilon, v_prediction or sample, found {}", Shown(said)));
  (*model)["parameterization"] = TextNode(found->first);
  return {};
}

// ---- writing ----

// Keys of NeMo's that have one value in whatever diffusers computes.
constexpr FixedWord kFixed[] = {{"conditioning_key", "crossattn", "null"},
                                {"beta_schedule", "linear", "linear"},
                                {"given_betas", "null", "null"},
                                {"scale_by_std", "false", "false"},
                                {"unet_config.resblock_gn_groups", "32", "32"},
                                {"unet_config.disable_self_attentions", "null", "null"},
                                {"unet_config.disable_middle_self_attn", "false", "false"},
                                {"cond_stage_config.max_length", "77", "77"},
                                {"cond_stage_config.always_return_pooled", "false", "false"}};

ConfigNode Repeated(size_t count, std::string_view type) {
  return ConfigNode::List(std::vector<ConfigNode>(count, TextNode(type)));
}

// Channels of each level; diffusers has no word for a first level that is not as wide as what comes in.
Result<ConfigNode> WidthsOf(const ConfigNode& node, std::string_view base, std::string_view multiples) {
  ConfigNode widths = ConfigNode::List();
  const ConfigNode& factors = WordAt(node, multiples);
  const int64_t channels = WordAt(node, base).AsInt().value_or(0);
  for (const ConfigNode& factor : factors.list)
    widths.list.push_back(ConfigNode::Int(channels * factor.AsInt().value_or(0)));
  if (!factors.list.empty() && factors.list.front().AsInt() == 1) return widths;
  return Unsupported(fmt::format("{}: expected 1 for the first level, found {}", multiples,
                                 factors.list.empty() ? "none" : Shown(factors.list.front())));
}

Result<ConfigNode> HeadsOf(const ConfigNode& unet, const ConfigNode& widths) {
  const ConfigNode &count = WordAt(unet, "num_heads"), &channels = WordAt(unet, "num_head_channels");
  const int64_t wide = channels.AsInt().value_or(-1);
  if (wide < 1 && count.AsInt().value_or(-1) >= 1) return count;
  ConfigNode heads = ConfigNode::List();
  for (const ConfigNode& width : widths.list) {
    if (wide < 1 || *width.AsInt() % wide != 0) {
      return Unsupported(fmt::format("num_head_channels: expected a number that divides {}, found {}", Shown(width),
                                     channels.is_null() ? "none" : Shown(channels)));
    }
    heads.list.push_back(ConfigNode::Int(*width.AsInt() / wide));
  }
  return heads;
}

Status WriteUnet(const ConfigNode& model, const ModelSymbols& symbols, ConfigNode* to) {
  const ConfigNode& unet = WordAt(model, "unet_config");
  ANEMONE_ASSIGN(const ConfigNode widths, WidthsOf(unet, "model_channels", "channel_mult"));
  const size_t levels = widths.list.size();
  ConfigNode down = ConfigNode::List(), up = ConfigNode::List();
  for (size_t level = 0; level < levels; ++level) {
    for (const bool is_down : {true, false}) {
      const size_t at = is_down ? level : levels - 1 - level;
      ANEMONE_ASSIGN(const bool attends, symbols.Holds(DownBlock(static_cast<int>(at)) + ".attn"));
      const std::string_view type = is_down ? (attends ? kAttends : kDown) : (attends ? kAttendsUp : kUp);
      (is_down ? down : up).list.push_back(TextNode(type));
    }
  }
  ANEMONE_ASSIGN((*to)["attention_head_dim"], HeadsOf(unet, widths));
  (*to)["block_out_channels"] = widths;
  (*to)["down_block_types"] = std::move(down);
  (*to)["up_block_types"] = std::move(up);
  ANEMONE_ASSIGN((*to)["cross_attention_dim"], OneSize(unet, "context_dim", "null"));
  ANEMONE_ASSIGN((*to)["transformer_layers_per_block"], OneSize(unet, "transformer_depth", "1"));
  // As the published models that predict v have it, without which fp16 overflows.
  (*to)["upcast_attention"] = ConfigNode::Bool(WordAt(model, "parameterization").AsString() == "v");
  return {};
}

Status WriteVae(const ConfigNode& vae, ConfigNode* to) {
  const ConfigNode& sizes = WordAt(vae, "ddconfig");
  ANEMONE_ASSIGN((*to)["block_out_channels"], WidthsOf(sizes, "ch", "ch_mult"));
  const size_t levels = (*to)["block_out_channels"].list.size();
  (*to)["down_block_types"] = Repeated(levels, kEncodes);
  (*to)["up_block_types"] = Repeated(levels, kDecodes);
  if (SameConfig(WordAt(vae, "embed_dim"), WordAt(sizes, "z_channels"))) return {};
  return Unsupported(fmt::format("embed_dim: expected that of z_channels, {}, found {}",
                                 Shown(WordAt(sizes, "z_channels")), Shown(WordAt(vae, "embed_dim"))));
}

Status WritePrediction(const ConfigNode& model, ConfigNode* scheduler) {
  const ConfigNode& said = WordAt(model, "parameterization");
  const auto* found =
      std::ranges::find(kPredictions, said.AsString().value_or("eps"), [](const auto& pair) { return pair.first; });
  if (found == std::end(kPredictions))
    return Unsupported(fmt::format("parameterization: expected eps, v or x0, found {}", Shown(said)));
  (*scheduler)["prediction_type"] = TextNode(found->second);
  return {};
}

Result<ConfigNode> WriteText(const TextEncoder& text, const ModelSymbols& symbols, DType dtype) {
  ClipArchitecture spec;
  spec.has_vision = spec.projects = false;
  spec.text = text.tower;
  ANEMONE_ASSIGN(spec.context, symbols.Get("text.positions"));
  ANEMONE_ASSIGN(spec.vocab, symbols.Get("text.vocab"));
  spec.projection = spec.text.width;
  if (spec.vocab == kClipVocab) spec.eos_token = static_cast<int64_t>(kClipVocab) - 1;
  ANEMONE_ASSIGN(const Config config, HuggingFaceConfig(spec, dtype));
  return config.root();
}

void Sort(ConfigNode* map) {
  std::ranges::sort(
      map->map, {}, [](const auto& entry) -> const auto& { return entry.first; });
}

std::string FileOf(std::string_view at) {
  return std::string(std::ranges::find(DiffusersFiles(), at, &DiffusersFile::at)->path);
}

}  // namespace

Result<ConfigNode> NemoOfDiffusers(const ConfigNode& config, bool strict, std::vector<std::string>* notes) {
  ANEMONE_TRY(CheckDiffusersFields(config, strict, notes));
  ConfigNode model = PublishedConfig();
  Config to(std::move(model));
  for (const NumberPair& number : kNumbers) {
    const ConfigNode& file = WordAt(config, number.at);
    const Result<ConfigNode> value = OneSize(file, number.diffusers, number.silent);
    if (!value.ok()) return value.status().In(FileOf(number.at));
    if (!value->AsDouble() && !value->AsBool())
      return Corrupt(fmt::format("{}: expected a number, found {}", number.diffusers, Shown(*value)))
          .In(FileOf(number.at));
    if (file.is_map()) ANEMONE_TRY(to.Set(number.nemo, *value));
  }
  model = std::move(to.root());
  const ConfigNode &unet = WordAt(config, "unet"), &vae = WordAt(config, "vae"),
                   &scheduler = WordAt(config, "scheduler");
  if (unet.is_map()) ANEMONE_TRY(SetUnet(unet, model.Get("unet_config")).In(FileOf("unet")));
  if (vae.is_map()) ANEMONE_TRY(SetVae(vae, model.Get("first_stage_config")).In(FileOf("vae")));
  if (scheduler.is_map()) ANEMONE_TRY(SetPrediction(scheduler, &model).In(FileOf("scheduler")));
  return model;
}

Result<ConfigNode> DiffusersOfNemo(const ConfigNode& model, const TextEncoder& text, const ModelSymbols& symbols,
                                   DType dtype) {
  ANEMONE_TRY(CheckFixed(model, kFixed, "a pipeline of diffusers"));
  ConfigNode config = ConfigNode::Map();
  for (const DiffusersFile& file : DiffusersFiles()) {
    config[file.at] = ConfigNode::Map();
    WriteDiffusersFields(file.at, &config[file.at]);
  }
  for (const NumberPair& number : kNumbers) {
    const ConfigNode& value = WordAt(model, number.nemo);
    config[number.at][number.diffusers] = value.is_null() ? ParseWord(number.silent_nemo) : value;
  }
  ANEMONE_TRY(WriteUnet(model, symbols, &config["unet"]).In("unet_config"));
  ANEMONE_TRY(WriteVae(WordAt(model, "first_stage_config"), &config["vae"]).In("first_stage_config"));
  ANEMONE_TRY(WritePrediction(model, &config["scheduler"]));
  config["vae"]["sample_size"] = ConfigNode::Int(
      (config["unet"]["sample_size"].AsInt().value_or(64) << (config["vae"]["block_out_channels"].list.size() - 1)));
  ANEMONE_ASSIGN(config["text_encoder"], WriteText(text, symbols, dtype));
  for (auto& [key, file] : config.map) Sort(&file);
  return config;
}

Status CheckSameModel(const ConfigNode& own, const ConfigNode& given, const std::string& name) {
  constexpr std::pair<std::string_view, std::string_view> kKeys[] = {{"unet_config.model_channels", "null"},
                                                                     {"unet_config.channel_mult", "null"},
                                                                     {"unet_config.context_dim", "null"},
                                                                     {"unet_config.transformer_depth", "1"},
                                                                     {"first_stage_config.embed_dim", "null"},
                                                                     {"first_stage_config.ddconfig.ch", "null"},
                                                                     {"first_stage_config.ddconfig.ch_mult", "null"},
                                                                     {"parameterization", "eps"},
                                                                     {"beta_schedule", "linear"}};
  std::vector<std::string> unlike;
  const auto compare = [&](std::string_view key, std::string_view silent) {
    const auto word = [&](const ConfigNode& model) {
      const ConfigNode& value = WordAt(model, key);
      if (value.is_null()) return ParseWord(silent);
      return value.is_list() && key.ends_with("_dim") && value.list.size() == 1 ? value.list.front() : value;
    };
    const ConfigNode a = word(own), b = word(given);
    if (!SameConfig(a, b)) unlike.push_back(fmt::format("{}: expected {}, found {}", key, InOneLine(a), InOneLine(b)));
  };
  for (const auto& [key, silent] : kKeys) compare(key, silent);
  for (const NumberPair& number : kNumbers) {
    if (number.nemo != "image_size") compare(number.nemo, number.silent_nemo);
  }
  const auto heads = [](const ConfigNode& model) {
    const ConfigNode& unet = WordAt(model, "unet_config");
    const Result<ConfigNode> widths = WidthsOf(unet, "model_channels", "channel_mult");
    const Result<ConfigNode> count = widths.ok() ? HeadsOf(unet, *widths) : widths;
    if (!count.ok() || count->is_list()) return count.ok() ? *count : ConfigNode::Null();
    return ConfigNode::List(std::vector<ConfigNode>(widths->list.size(), *count));
  };
  if (!SameConfig(heads(own), heads(given))) {
    unlike.push_back(
        fmt::format("unet_config.num_heads or num_head_channels: expected heads of each level {}, found {}",
                    InOneLine(heads(own)), InOneLine(heads(given))));
  }
  const auto resolutions = [](const ConfigNode& model) {
    std::vector<int64_t> all;
    for (const ConfigNode& one : WordAt(model, "unet_config.attention_resolutions").list)
      all.push_back(one.AsInt().value_or(0));
    std::ranges::sort(all);
    return all;
  };
  if (resolutions(own) != resolutions(given)) compare("unet_config.attention_resolutions", "null");
  if (unlike.empty()) return {};
  return Corrupt(fmt::format("as the folder says: {}", fmt::join(unlike, "; "))).In(name);
}

}  // namespace anemone
