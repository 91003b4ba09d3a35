// A language model's file, its name in the first line: config.json of a decoder, a BERT, a T5 or a LLaVA, or a
// tokenizer's. Nothing crashes, and a config.json that converts to NeMo's config converts back to one that means the
// same.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "anemone/bytes.h"
#include "anemone/config.h"
#include "family/bert/bert.h"
#include "family/tokenizer/check_artifact.h"
#include "family/tokenizer/tokenizer_files.h"
#include "family/tokenizer/tokenizer_size.h"
#include "family/words/hf_config.h"
#include "family/words/model_words.h"
#include "family/words/neva_config.h"
#include "family/words/t5_config.h"

namespace {

using anemone::ConfigNode;
using anemone::DType;

void CheckDecoder(const ConfigNode& json) {
  const auto model = anemone::Nemo1OfHf(json, nullptr);
  const auto words = model.ok() ? anemone::WordsOf(*model, nullptr) : anemone::Result<ConfigNode>(model.status());
  if (!words.ok()) return;
  const anemone::HfRequest request{.architecture = anemone::FindHfArchitecture(json), .kept = &json};
  const auto back = anemone::HfOfNemo1(*model, request, nullptr);
  if (!back.ok()) return;
  const auto again = anemone::Nemo1OfHf(*back, nullptr);
  const auto same = again.ok() ? anemone::WordsOf(*again, nullptr) : anemone::Result<ConfigNode>(again.status());
  if (!same.ok() || !anemone::DifferingWords(*words, *same).empty()) std::abort();
}

void CheckOthers(const ConfigNode& json) {
  if (anemone::IsBertJson(json)) {
    const auto model = anemone::NemoBertConfig(json, DType::kF32);
    if (model.ok()) (void)anemone::HfBertConfig(*model, &json, {}, 128, DType::kF32);
  }
  if (anemone::IsT5Json(json)) {
    const auto model = anemone::NemoT5Config(json, false, DType::kF32);
    if (model.ok()) (void)anemone::HfT5Config(*model, {.kept = &json, .rows = 128});
  }
  if (!anemone::IsLlavaJson(json)) return;
  const auto text = anemone::TextConfigOf(json);
  if (!text.ok()) return;
  CheckDecoder(*text);
  const auto model = anemone::NemoNevaConfig(json, ConfigNode::Map(), 128, nullptr);
  if (model.ok()) (void)anemone::LlavaJson(*model, {.kept = &json, .text = *text, .rows = 128}, nullptr);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t line = input.find('\n');
  if (line == std::string_view::npos) return 0;
  const std::string name(input.substr(0, line)), content(input.substr(line + 1));
  const anemone::Artifact file{name, anemone::Whole(anemone::MemorySource(content, name))};
  (void)anemone::CheckArtifact(file);
  (void)anemone::CountTokensIn(file.content, name);
  (void)anemone::CountTokenizer(nullptr, {file});
  (void)anemone::SpecialIdsOf({file});
  (void)anemone::TokenIdIn({file}, "<image>");
  const auto json = anemone::Config::ParseJson(content, name);
  if (!json.ok() || !json->root().is_map()) return 0;
  CheckDecoder(json->root());
  CheckOthers(json->root());
  return 0;
}
