// Every published size of the architectures that are carried, from its public config.json (data/published.json, with
// where each was read): planned from Hugging Face to NeMo 1, for as many tensor ranks as divide its heads, and to
// NeMo 2.
#include <fstream>
#include <iterator>
#include <numeric>
#include <set>

#include "anemone/save.h"
#include "engine/plan.h"
#include "unit/convert/hollow_model.h"
#include "unit/convert/model_files.h"

namespace anemone {
namespace {

using testing::IsOk;
using testing::StatusIs;

// Layers that predict several tokens have copies of the embedding and the output layer, which NeMo does not store.
bool IsCopy(std::string_view name) {
  return name.starts_with("model.layers.") && (name.ends_with(".embed_tokens.weight") || name.ends_with("head.weight"));
}

uint64_t BytesOf(const Checkpoint& checkpoint) {
  uint64_t bytes = 0;
  for (const Shard& shard : checkpoint.shards) {
    for (const StateDict::Item& item : shard.weights.items()) {
      if (item.tensor() != nullptr && !IsCopy(item.name))
        bytes += item.tensor()->num_elements() * Info(item.tensor()->dtype()).size_bytes;
    }
  }
  return bytes;
}

// As many ranks as divide what each head and group needs, 8 at most.
int RanksOf(const ConfigNode& config) {
  int64_t ranks = 8;
  for (const char* key : {"num_attention_heads", "num_key_value_heads", "num_kv_heads", "n_head",
                          "multi_query_group_num", "intermediate_size", "n_embd", "num_heads", "d_ff"}) {
    if (const ConfigNode* node = config.Get(key); node != nullptr && node->AsInt())
      ranks = std::gcd(ranks, *node->AsInt());
  }
  const ConfigNode* one_group = config.Get("multi_query");
  return one_group != nullptr && one_group->AsBool().value_or(false) ? 1 : static_cast<int>(ranks);
}

// Layers with experts are alike; a few of them stand for all where each has hundreds of tensors.
ConfigNode WithFewLayers(ConfigNode config) {
  for (const char* key : {"num_experts", "n_routed_experts"}) {
    constexpr int64_t kMany = 32, kFew = 6;
    const ConfigNode* experts = config.Get(key);
    if (experts != nullptr && experts->AsInt().value_or(0) > kMany) config["num_hidden_layers"] = ConfigNode::Int(kFew);
  }
  return config;
}

class Published : public ::testing::TestWithParam<ConfigNode> {};

std::vector<ConfigNode> Models() {
  std::ifstream file("tests/unit/convert/data/published.json");
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const auto models = Config::ParseJson(fmt::format("{{\"models\": {}}}", text), "published.json");
  return models.ok() ? models->root().Get("models")->list : std::vector<ConfigNode>();
}

TEST_P(Published, Plans) {
  const ConfigNode config = WithFewLayers(*GetParam().Get("config"));
  const auto model = Hollow(config);
  std::set<std::string> formats;
  for (const ConfigNode& to : GetParam().Get("to")->list) formats.insert(to.AsString().value_or(""));
  if (formats.empty() && !model.ok()) {  // its config tells no model of NeMo's
    ASSERT_THAT(model, StatusIs(ErrorKind::kUnsupported, GetParam().Get("refused")->AsString().value_or("")));
    return;
  }
  ASSERT_THAT(model, IsOk());
  for (const char* to : {"nemo", "nemo2"}) {
    const bool is_split = std::string_view(to) == "nemo";  // NeMo 2's tensors are whole for every split
    const auto plan = PlanSave(*model, "/no/such/folder/out", {.to = to, .tp = is_split ? RanksOf(config) : 1});
    if (!formats.contains(to)) {
      const ConfigNode* key = GetParam().Get("refused");
      ASSERT_NE(key, nullptr) << to;
      EXPECT_THAT(plan, StatusIs(ErrorKind::kUnsupported, key->AsString().value_or(""))) << to;
      continue;
    }
    ASSERT_THAT(plan, IsOk()) << to;
    EXPECT_GE(BytesOf(plan->result), BytesOf(*model)) << to;
    EXPECT_GE(plan->plan->bytes_written(), BytesOf(*model)) << to;
  }
}

std::string NameOf(const ::testing::TestParamInfo<ConfigNode>& model) {
  std::string name = model.param.Get("name")->AsString().value_or("");
  for (char& c : name) c = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ? c : '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(Sizes, Published, ::testing::ValuesIn(Models()), NameOf);

TEST(PublishedSizes, AreRead) { EXPECT_GE(Models().size(), 150U); }

}  // namespace
}  // namespace anemone
