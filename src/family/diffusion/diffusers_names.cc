// Facts: diffusers v0.42.1 loaders/single_file_utils.py, models/unets/unet_2d_blocks.py, models/modeling_utils.py
// (_convert_deprecated_attention_blocks).
#include "family/diffusion/diffusers_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "family/diffusion/diffusion_symbols.h"
#include "family/diffusion/stored_names.h"

namespace anemone {
namespace {

// The beginnings of LDM's names, and of diffusers' in the models for which `only` holds.
struct Place {
  std::string ldm, diffusers;
  std::string only = {};
};

// The parts of a module, and diffusers' words for them.
using Word = std::pair<std::string_view, std::string_view>;
constexpr Word kUnetWords[] = {{"in_layers.0.", "norm1."},          {"in_layers.2.", "conv1."},
                               {"emb_layers.1.", "time_emb_proj."}, {"out_layers.0.", "norm2."},
                               {"out_layers.3.", "conv2."},         {"skip_connection.", "conv_shortcut."}};
constexpr Word kVaeWords[] = {
    {"nin_shortcut.", "conv_shortcut."},       {"attentions.0.norm.", "attentions.0.group_norm."},
    {"attentions.0.q.", "attentions.0.to_q."}, {"attentions.0.k.", "attentions.0.to_k."},
    {"attentions.0.v.", "attentions.0.to_v."}, {"attentions.0.proj_out.", "attentions.0.to_out.0."}};
// Before version 0.17.
constexpr Word kOldVaeWords[] = {
    {".to_q.", ".query."}, {".to_k.", ".key."}, {".to_v.", ".value."}, {".to_out.0.", ".proj_attn."}};

std::string Replaced(std::string name, std::span<const Word> words) {
  for (const auto& [from, to] : words) {
    if (const size_t at = name.find(from); at != std::string::npos) return name.replace(at, from.size(), to);
  }
  return name;
}

std::vector<Place> UnetPlaces() {
  std::vector<Place> places = {{"time_embed.0.", "time_embedding.linear_1."},
                               {"time_embed.2.", "time_embedding.linear_2."},
                               {"input_blocks.0.0.", "conv_in."},
                               {"out.0.", "conv_norm_out."},
                               {"out.2.", "conv_out."},
                               {"middle_block.0.", "mid_block.resnets.0."},
                               {"middle_block.1.", "mid_block.attentions.0."},
                               {"middle_block.2.", "mid_block.resnets.1."}};
  for (int level = 0; level < kLevels; ++level) {
    const std::string down = fmt::format("down_blocks.{}.", level), up = fmt::format("up_blocks.{}.", level);
    const std::string attends = UpBlock(level) + ".attn";
    const int next = kUpLayers * (level + 1);
    places.push_back({fmt::format("input_blocks.{}.0.op.", next), down + "downsamplers.0.conv."});
    places.push_back({fmt::format("output_blocks.{}.1.conv.", next - 1), up + "upsamplers.0.conv.", "!" + attends});
    places.push_back({fmt::format("output_blocks.{}.2.conv.", next - 1), up + "upsamplers.0.conv.", attends});
    for (const auto& [number, kind] : {std::pair{0, "resnets"}, {1, "attentions"}}) {
      for (int i = 0; i < kDownLayers; ++i)
        places.push_back({fmt::format("input_blocks.{}.{}.", kUpLayers * level + 1 + i, number),
                          fmt::format("{}{}.{}.", down, kind, i)});
      for (int i = 0; i < kUpLayers; ++i)
        places.push_back(
            {fmt::format("output_blocks.{}.{}.", kUpLayers * level + i, number), fmt::format("{}{}.{}.", up, kind, i)});
    }
  }
  return places;
}

// The condition that a VAE has so many levels; of two such conditions, one says what the other denies.
std::string HasLevels(int count) {
  std::string when = count > 1 ? VaeLevelName(count - 1) : "";
  for (int level = count; level < kLevels; ++level) when = Both(when, "!" + VaeLevelName(level));
  return when;
}

std::vector<Place> VaePlaces() {
  std::vector<Place> places = {{"quant_conv.", "quant_conv."}, {"post_quant_conv.", "post_quant_conv."}};
  for (const std::string side : {"encoder.", "decoder."}) {
    places.push_back({side + "conv_in.", side + "conv_in."});
    places.push_back({side + "conv_out.", side + "conv_out."});
    places.push_back({side + "norm_out.", side + "conv_norm_out."});
    places.push_back({side + "mid.block_1.", side + "mid_block.resnets.0."});
    places.push_back({side + "mid.attn_1.", side + "mid_block.attentions.0."});
    places.push_back({side + "mid.block_2.", side + "mid_block.resnets.1."});
  }
  for (int level = 0; level < kLevels; ++level) {
    const std::string ldm = fmt::format("encoder.down.{}.", level), own = fmt::format("encoder.down_blocks.{}.", level);
    places.push_back({ldm + "block.", own + "resnets."});
    places.push_back({ldm + "downsample.conv.", own + "downsamplers.0.conv."});
  }
  // diffusers counts the decoder's levels from the top.
  for (int count = 1; count <= kLevels; ++count) {
    for (int level = 0; level < count; ++level) {
      const std::string ldm = fmt::format("decoder.up.{}.", level),
                        own = fmt::format("decoder.up_blocks.{}.", count - 1 - level);
      places.push_back({ldm + "block.", own + "resnets.", HasLevels(count)});
      places.push_back({ldm + "upsample.conv.", own + "upsamplers.0.conv.", HasLevels(count)});
    }
  }
  return places;
}

// `rest`: the canonical name without the part's.
void AddUnet(const CanonicalRow& row, const std::string& rest, const Place& place, std::vector<StoredRow>* rows) {
  StoredRow stored{.name = "unet." + place.diffusers + Replaced(rest.substr(place.ldm.size()), kUnetWords),
                   .canonical = row.name,
                   .tower = row.tower,
                   .only = place.only};
  // A projection is linear, or a convolution of one pixel.
  constexpr std::string_view kConv = ".conv";
  const bool is_projection = rest.find(".proj_") != std::string::npos;
  if (is_projection && rest.ends_with(kConv)) {
    stored.name.replace(stored.name.size() - kConv.size(), kConv.size(), ".weight");
    stored.only = "!unet.linear";
  } else if (is_projection && rest.ends_with(".weight")) {
    stored.only = "unet.linear";
  }
  rows->push_back(std::move(stored));
}

void AddVae(const CanonicalRow& row, const std::string& rest, const Place& place, std::vector<StoredRow>* rows) {
  StoredRow stored{.name = "vae." + Replaced(place.diffusers + rest.substr(place.ldm.size()), kVaeWords),
                   .canonical = row.name,
                   .tower = row.tower,
                   .only = place.only};
  const bool is_of_attention = stored.name.find(".to_") != std::string::npos;
  if (is_of_attention && stored.name.ends_with(".weight")) {
    stored.transform = &kReshape;
    stored.shape = "vae.top, vae.top";
  }
  rows->push_back(stored);
  if (!is_of_attention) return;
  stored.name = Replaced(stored.name, kOldVaeWords);
  stored.when = kReadOnly;
  rows->push_back(std::move(stored));
}

}  // namespace

std::vector<StoredRow> DiffusersRows(const std::vector<CanonicalRow>& canonical) {
  const std::vector<Place> unet = UnetPlaces(), vae = VaePlaces();
  std::vector<StoredRow> rows;
  for (const CanonicalRow& row : canonical) {
    const bool is_unet = row.name.starts_with(kUnetNames), is_vae = row.name.starts_with(kVaeNames);
    if (!is_unet && !is_vae) continue;
    const std::string rest = row.name.substr((is_unet ? kUnetNames : kVaeNames).size());
    size_t taken = 0;  // of the place before, which is the same one in models of other sizes
    for (const Place& place : is_unet ? unet : vae) {
      if (!rest.starts_with(place.ldm) || (taken > 0 && place.ldm.size() != taken)) continue;
      taken = place.ldm.size();
      const auto add = is_unet ? AddUnet : AddVae;
      add(row, rest, place, &rows);
    }
  }
  return rows;
}

}  // namespace anemone
