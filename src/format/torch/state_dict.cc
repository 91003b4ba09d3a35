#include "format/torch/state_dict.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "format/torch/extra_state.h"
#include "format/torch/pickled.h"
#include "format/torch/rebuild.h"
#include "format/torch/storage_id.h"
#include "format/values.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

// A module of a TorchScript archive: its attributes are its BUILD state.
const ValueNode* ScriptAttributes(const ValueNode& node) {
  return Callee(node).starts_with("__torch__") && node.state != nullptr && DictEntries(*node.state) ? node.state
                                                                                                    : nullptr;
}

constexpr int kMaxNesting = 100;
constexpr size_t kMaxNames = 10'000'000;

// Whether a tensor lies anywhere in a value. `seen` holds what is known to have none.
bool ContainsTensor(const ValueNode& node, std::unordered_set<const ValueNode*>& seen) {
  std::vector<const ValueNode*> open = {&node};
  while (!open.empty()) {
    const ValueNode* next = open.back();
    open.pop_back();
    if (next == nullptr || !seen.insert(next).second) continue;
    if (next->kind == Kind::kTensor || (next->kind == Kind::kPersistent && !IsModuleClass(*next))) return true;
    for (const ValueList* below : {&next->items, &next->appended, &next->entries})
      open.insert(open.end(), below->begin(), below->end());
    open.push_back(next->state);
  }
  return false;
}

// A call that makes a tensor of a class of its own is called by the class.
std::string_view DescribeTensor(const ValueNode& value) {
  const bool has_class = Callee(value).starts_with("torch._tensor _rebuild_from_type") && value.items.size() == 4;
  return has_class ? Describe(value.items[1]) : Describe(&value);
}

bool IsSharded(const ValueNode& value) {
  const std::string_view what = DescribeTensor(value);
  return what.find("DTensor") != std::string_view::npos || what.find("ShardedTensor") != std::string_view::npos;
}

// Of a tensor on PyTorch's meta device, a file holds the shape alone.
bool IsMeta(const ValueNode& value) {
  const ValueNode* node = &value;
  for (int depth = 0; depth < 16 && IsWrapper(Callee(*node)) && !node->items.empty(); ++depth) node = node->items[0];
  return Callee(*node) == "torch._utils _rebuild_meta_tensor_no_storage";
}

// Tensors that are no elements in rows: what makes one of them that is, by the end of the function that rebuilds it.
constexpr struct {
  std::string_view rebuilt_by, what, hint;
} kOtherTensors[] = {
    {"_rebuild_sparse_tensor", "a sparse one", "save to_dense() of it"},
    {"_rebuild_qtensor", "one of torch.quantization", "save dequantize() of it"},
    {"_rebuild_nested_tensor", "a nested one", "save to_padded_tensor(0) of it, or its parts"},
};

// What a value is called where a tensor was expected, and what to do about it.
Status NotATensor(const ValueNode* value) {
  const std::string_view what = DescribeTensor(*value);
  if (IsSharded(*value)) {
    return Unsupported(
        fmt::format("[TZ-23] expected a whole tensor, found a shard of a distributed one ({})", what),
        "save it whole: full_tensor() of each, FSDP's FULL_STATE_DICT, or the folder of torch.distributed.checkpoint");
  }
  if (IsMeta(*value)) {
    return Unsupported("[TZ-23] expected a tensor with its elements, found one of the meta device, which has none",
                       "save the model after its weights are loaded");
  }
  if (what.starts_with("torchao.")) {
    return Unsupported(fmt::format("[TZ-21] expected a dense tensor, found a quantized one ({})", what),
                       "save dequantize() of it");
  }
  for (const auto& other : kOtherTensors) {
    if (what.ends_with(other.rebuilt_by))
      return Unsupported(fmt::format("[TZ-21] expected a dense tensor, found {} ({})", other.what, what),
                         std::string(other.hint));
  }
  return Unsupported(fmt::format("[TZ-21] expected a tensor, found {}", what));
}

struct Flattener {
  const Value& owner;
  std::vector<std::string>* left_out;
  StateDict state = {};
  size_t entries_seen = 0;  // dicts that are shared are read wherever they are: their number is bounded, too
  std::unordered_set<const ValueNode*> plain = {};

  Status CountEntries(size_t count) {
    entries_seen += count + 1;
    return entries_seen <= 4 * kMaxNames ? Status() : LimitExceeded(fmt::format("more than {} entries", 4 * kMaxNames));
  }

  // In the order of state_dict() [pytorch torch/nn/modules/module.py].
  Status AddModule(const std::string& prefix, const ValueNode& module, int depth) {
    if (depth > kMaxNesting)
      return LimitExceeded(fmt::format("modules nested more than {} deep", kMaxNesting)).In(prefix);
    const ValueNode* unsaved = Lookup(module, "_non_persistent_buffers_set");
    const auto is_unsaved = [&](const ValueNode& key) {
      return unsaved != nullptr &&
             std::ranges::any_of(unsaved->items, [&](ValueRef name) { return name->text == key.text; });
    };
    for (const std::string_view part : {"_parameters", "_buffers", "_modules"}) {
      const ValueNode* dict = Lookup(module, part);
      const ValueList* entries = dict != nullptr ? DictEntries(*dict) : nullptr;
      ANEMONE_TRY(CountEntries(entries != nullptr ? entries->size() : 0));
      for (size_t i = 0; entries != nullptr && i + 1 < entries->size(); i += 2) {
        const ValueNode& key = *(*entries)[i];
        ValueNode* value = (*entries)[i + 1];
        if (value->kind == Kind::kNone || (part == "_buffers" && is_unsaved(key))) continue;
        const std::string name = prefix.empty() ? key.text : prefix + "." + key.text;
        const ValueNode* child = part == "_modules" ? ModuleState(*value) : nullptr;
        if (child != nullptr) {
          ANEMONE_TRY(AddModule(name, *child, depth + 1));
        } else if (part != "_modules" && value->kind == Kind::kTensor) {
          ANEMONE_TRY(state.Add(name, *value->tensor));
        } else {
          return NotATensor(value).In(name);
        }
      }
    }
    return {};
  }

  Status Add(const std::string& prefix, const ValueNode& dict, bool script, int depth) {
    if (depth > kMaxNesting)
      return LimitExceeded(fmt::format("dictionaries nested more than {} deep", kMaxNesting)).In(prefix);
    const auto& entries = *DictEntries(dict);
    ANEMONE_TRY(CountEntries(entries.size()));
    for (size_t i = 0; i + 1 < entries.size(); i += 2) {
      if (entries[i]->kind != Kind::kString && entries[i]->kind != Kind::kBytes) {
        return Corrupt(fmt::format("[TZ-20] expected strings as keys of a state dict, found {}", Describe(entries[i])),
                       "save the tensors under names: {str(key): tensor for key, tensor in …}")
            .In(prefix);
      }
      const std::string name = prefix.empty() ? entries[i]->text : prefix + "." + entries[i]->text;
      ValueNode* value = entries[i + 1];
      if (state.size() > kMaxNames) return LimitExceeded(fmt::format("more than {} tensors", kMaxNames));
      if (name.ends_with("_extra_state")) {
        ANEMONE_TRY(state.Add(name, ToOpaque(owner, value)));
      } else if (value->kind == Kind::kTensor) {
        ANEMONE_TRY(state.Add(name, *value->tensor));
      } else if (const ValueNode* attributes = ScriptAttributes(*value)) {
        ANEMONE_TRY(Add(name, *attributes, true, depth + 1));
      } else if (script) {
        continue;  // an int, a flag, a string of a module: no parameter
      } else if (const ValueNode* module = ModuleState(*value)) {
        ANEMONE_TRY(AddModule(name, *module, depth + 1));
      } else if (DictEntries(*value)) {
        ANEMONE_TRY(Add(name, *value, false, depth + 1));
      } else if (left_out != nullptr && !IsSharded(*value) && !IsMeta(*value) && !ContainsTensor(*value, plain)) {
        left_out->push_back(name);
      } else {
        return NotATensor(value).In(name);
      }
    }
    return {};
  }
};

}  // namespace

const ValueNode* ModuleState(const ValueNode& node) {
  if (node.kind != Kind::kObject || node.state == nullptr) return nullptr;
  const ValueNode* state = node.state;
  const bool is_module = DictEntries(*state) != nullptr && Lookup(*state, "_parameters") != nullptr &&
                         Lookup(*state, "_modules") != nullptr;
  return is_module ? state : nullptr;
}

Result<StateDict> ToStateDict(const Value& value, std::vector<std::string>* left_out) {
  if (value.node == nullptr) return Corrupt("[TZ-20] expected a dict of tensors, found nothing");
  Flattener flattener{value, left_out};
  if (const ValueNode* attributes = ScriptAttributes(*value.node)) {
    ANEMONE_TRY(flattener.Add("", *attributes, true, 0));
  } else if (const ValueNode* module = ModuleState(*value.node)) {
    ANEMONE_TRY(flattener.AddModule("", *module, 0));
  } else if (DictEntries(*value.node)) {
    ANEMONE_TRY(flattener.Add("", *value.node, false, 0));
  } else {
    return Corrupt(fmt::format("[TZ-20] expected a dict of tensors, found {}", Describe(value.node)),
                   "save the model's state_dict()");
  }
  return std::move(flattener.state);
}

Value FromStateDict(const StateDict& state) {
  Value value{std::make_shared<ValueGraph>(), nullptr};
  ValueGraph& graph = *value.graph;
  ValueRef dict = NewCall(graph, "collections OrderedDict");
  const ValueRef none = graph.New(Kind::kNone);  // of many
  for (const StateDict::Item& item : state.items()) {
    dict->entries.push_back(NewString(graph, item.name));
    if (const Tensor* tensor = item.tensor()) {
      dict->entries.push_back(NewTensor(graph, *tensor));
    } else {
      const Opaque& opaque = *item.opaque();
      dict->entries.push_back(opaque.value.node != nullptr ? opaque.value.node : none);
    }
  }
  graph.root = value.node = dict;
  return value;
}

}  // namespace anemone
