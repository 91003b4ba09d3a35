// Layers behind a decoder's that predict the tokens after the next one (multi-token prediction): a tower "mtp" of
// GPT's. Each joins the embedding of a later token with what the layer before it gives, and is a decoder's layer
// otherwise; the embedding and the output layer are the decoder's own.
//
// Facts: Megatron-LM core_v0.16.1 and d98e8a6 multi_token_prediction.py; NeMo v2.3.0 deepseek.py; Megatron-Bridge
// 067f987 deepseek/common.py; deepseek-ai/DeepSeek-V3 README_WEIGHTS.md.
#ifndef ANEMONE_FAMILY_GPT_MTP_H_
#define ANEMONE_FAMILY_GPT_MTP_H_

#include <vector>

#include "anemone/checkpoint.h"
#include "family/megatron/megatron_layer.h"
#include "schema/table.h"

namespace anemone {

// How many there are: 0 in most models.
inline constexpr std::string_view kMtpLayers = "mtp.layers";

std::vector<Symbol> MtpSymbols(const LayerParts& parts);
std::vector<CanonicalRow> MtpCanonical(const LayerParts& parts);
std::vector<StoredRow> McoreMtp(const LayerParts& parts);
// As DeepSeek stores them: `layer` are the rows of a decoder's layer, "model.layers.{i}.…", whose numbers go on.
std::vector<StoredRow> HfMtp(std::vector<StoredRow> layer);

// Sets the tower's symbols by `mtp_num_layers` and the last of the decoder's layers, which are set.
Status SetMtpSymbols(const ConfigNode& model, const LayerParts& parts, ModelSymbols* symbols);
// transformers keeps the number of such layers in config.json, and not the layers: takes the number out of `model`,
// NeMo 1's words of that config, where the checkpoint has none.
void LeaveAbsentMtp(const Checkpoint& checkpoint, ConfigNode* model);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_GPT_MTP_H_
