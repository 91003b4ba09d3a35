// Converting what is stored, and saving what is in memory.
#include "anemone/convert.h"
#include "base/lower_case.h"
#include "config/nodes.h"

#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "anemone/save.h"
#include "c_api/c_checkpoint.h"
#include "c_api/c_progress.h"
#include "c_api/call.h"
#include "c_api/dtype_words.h"
#include "c_api/options.h"
#include "convert/option_words.h"
#include "edit/destination.h"
#include "edit/save.h"
#include "engine/plan.h"
#include "format/format.h"
#include "inspect/json_nodes.h"

using anemone::ConfigNode;
using anemone::Conversion;
using anemone::ConvertOptions;
using anemone::Result;
using anemone::RunOptions;
using anemone::Status;
using namespace anemone::c_api;  // NOLINT(google-build-using-namespace)

namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

// A value's text as --set takes it: a string as it is, everything else as JSON.
std::string ValueText(const ConfigNode& value) { return value.AsString().value_or(anemone::Config(value).ToJson(-1)); }

Status SetPairs(std::string_view key, const ConfigNode& value, Pairs* pairs) {
  if (!value.is_map()) return WrongType(key, "an object of config paths", value);
  for (const auto& [path, child] : value.map) pairs->emplace_back(path, ValueText(child));
  return {};
}

Status SetPaths(std::string_view key, const ConfigNode& value, std::vector<std::string>* paths) {
  for (const ConfigNode& item : value.list) {
    if (item.kind == ConfigNode::Kind::kString) paths->push_back(item.text);
  }
  if (value.is_list() && paths->size() == value.list.size()) return {};
  return WrongType(key, "a list of paths", value);
}

// One of a few words.
template <typename T, size_t N>
Status SetWord(std::string_view key, const std::pair<std::string_view, T> (&words)[N], const ConfigNode& value,
               T* out) {
  std::string expected;
  for (size_t i = 0; i < N; ++i) {
    expected += fmt::format("{}{}", i == 0 ? "" : i + 1 < N ? ", " : " or ", words[i].first);
    if (value.AsString() != words[i].first) continue;
    *out = words[i].second;
    return {};
  }
  return WrongType(key, expected, value);
}

Status SetDType(const ConfigNode& value, std::optional<anemone::DType>* dtype) {
  if (!value.AsString()) return WrongType("dtype", "a string", value);
  ANEMONE_ASSIGN(*dtype, DTypeOf(*value.AsString()));
  return {};
}

// A conversion's options, and the damage of its source that it was told to ignore.
struct Wishes {
  ConvertOptions convert;
  RunOptions run;
  std::vector<std::string> damage;  // of the source, with "verify_source": false
};

Status SetVerifySource(const ConfigNode& value, Wishes* wishes) {
  const std::optional<bool> verifies = value.AsBool();
  if (!verifies) return WrongType("verify_source", "true or false", value);
  wishes->convert.verify_source = *verifies;
  if (!*verifies) {
    wishes->run.on_damaged_source = [wishes](const Status& damage) { wishes->damage.push_back(damage.message()); };
  }
  return {};
}

std::vector<Option> OptionsOf(Wishes& wishes) {
  ConvertOptions& o = wishes.convert;
  RunOptions& run = wishes.run;
  return {{"to", &o.to},
          {"dialect", &o.dialect},
          {"hparams", &o.hparams},
          {"table", &o.table},
          {"preset", &o.preset},
          {"architecture", &o.architecture},
          {"model_class", &o.model_class},
          {"tokenizer", &o.tokenizer},
          {"tower", &o.tower},
          {"base", &o.base},
          {"model_id", &o.nemo2_model},
          {"nemo2_version", &o.nemo2_version},
          {"key", &o.key},
          {"tp", &o.tp},
          {"pp", &o.pp},
          {"vp", &o.vp},
          {"ep", &o.ep},
          {"split_rank", &o.split_rank},
          {"vocab_size", &o.vocab_size},
          {"max_shard_bytes", &o.max_shard_bytes},
          {"only_weights", &o.only_weights},
          {"use_ema", &o.use_ema},
          {"dequantize", &o.dequantize},
          {"strict", &o.strict},
          {"verify_source", [&wishes](const ConfigNode& value) { return SetVerifySource(value, &wishes); }},
          {"crc32", &o.crc32},
          {"reflink",
           [&o](const ConfigNode& value) { return SetWord("reflink", anemone::kReflinkWords, value, &o.reflink); }},
          {"set", [&o](const ConfigNode& value) { return SetPairs("set", value, &o.set); }},
          {"unset", [&o](const ConfigNode& value) { return SetPaths("unset", value, &o.unset); }},
          {"lora", [&o](const ConfigNode& value) { return SetPaths("lora", value, &o.lora); }},
          {"artifacts", [&o](const ConfigNode& value) { return SetPairs("artifacts", value, &o.artifacts); }},
          {"extra_state",
           [&o](const ConfigNode& value) {
             return SetWord("extra_state", anemone::kExtraStateWords, value, &o.extra_state);
           }},
          {"dtype", [&o](const ConfigNode& value) { return SetDType(value, &o.dtype); }},
          {"force", &run.force},
          {"threads", &run.threads}};
}

ConfigNode ResultNode(const std::string& destination, std::string_view format, uint64_t bytes_written,
                      const std::vector<std::string>& notes) {
  ConfigNode node = ConfigNode::Map();
  node["destination"] = ConfigNode::String(destination);
  node["format"] = anemone::TextNode(format);
  node["bytes_written"] = anemone::SizeNode(bytes_written);
  ConfigNode& list = node["notes"] = ConfigNode::List();
  for (const std::string& note : notes) list.list.push_back(ConfigNode::String(note));
  return node;
}

// Plans by `plan(options)` and runs it.
template <typename Plan>
Status Write(const char* options, anemone_progress* progress, char** result, Plan plan) {
  Wishes wishes;
  ANEMONE_TRY(ReadOptions(options, OptionsOf(wishes)));
  wishes.convert.progress = wishes.run.progress = ToProgressFn(progress);
  wishes.convert.keep_source = false;
  ANEMONE_ASSIGN(const Conversion conversion, plan(wishes.convert));
  ANEMONE_TRY(RunConversion(conversion, wishes.run));
  if (result == nullptr) return {};
  std::vector<std::string> notes = conversion.notes;
  notes.insert(notes.end(), wishes.damage.begin(), wishes.damage.end());
  return GiveJson(ResultNode(conversion.destination, conversion.format, conversion.plan->bytes_written(), notes),
                  result);
}

// An opened .nemo to be written as one, without another wish than a changed config.
bool IsCopy(const anemone_checkpoint& checkpoint, const std::string& destination, const char* options) {
  std::string to;
  RunOptions run;
  const Option known[] = {{"to", &to}, {"force", &run.force}, {"threads", &run.threads}};
  if (!ReadOptions(options, known).ok() || !TraitsOf(checkpoint.stored).is_nemo1_archive()) return false;
  const Result<const anemone::Format*> format = anemone::DestinationFormat(destination, to);
  return format.ok() && (*format)->traits.is_nemo1_archive() &&
         (*format)->is_directory != anemone::EndsWith(destination, ".nemo");
}

}  // namespace

anemone_status* anemone_save(const anemone_checkpoint* checkpoint, const char* destination, const char* options,
                             anemone_progress* progress, char** result) {
  return Guarded(progress, [&]() -> Status {
    if (checkpoint->stored.shards.empty()) return NoTensors(checkpoint->stored);
    if (!IsCopy(*checkpoint, destination, options)) {
      return Write(options, progress, result,
                   [&](const ConvertOptions& convert) { return PlanSave(checkpoint->stored, destination, convert); });
    }
    Wishes wishes;
    ANEMONE_TRY(ReadOptions(options, OptionsOf(wishes)));
    wishes.run.progress = ToProgressFn(progress);
    const ConfigNode* config = checkpoint->stored_config ? &*checkpoint->stored_config : nullptr;
    ANEMONE_ASSIGN(const anemone::Saved saved, SaveNemo(checkpoint->stored, {true, config}, destination, wishes.run));
    return result == nullptr
               ? Status()
               : GiveJson(ResultNode(destination, saved.format, saved.bytes_written, wishes.damage), result);
  });
}

anemone_status* anemone_convert(const char* source, const char* destination, const char* options,
                                anemone_progress* progress, char** result) {
  return Guarded(progress, [&] {
    return Write(options, progress, result,
                 [&](const ConvertOptions& convert) { return anemone::PlanConversion(source, destination, convert); });
  });
}
