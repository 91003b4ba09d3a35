#include "cli/tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include "anemone/tensor.h"
#include "cli/text.h"
#include "tensor/layout_text.h"

namespace anemone::cli {
namespace {

struct Module {
  std::string name;
  const Tensor* tensor = nullptr;  // of a leaf; null for a module, and for an entry that is no tensor
  uint64_t parameters = 0;
  std::vector<Module> children = {};  // in stored order
};

Module& ChildOf(Module& module, std::string_view name) {
  const auto found = std::ranges::find(module.children, name, &Module::name);
  return found != module.children.end() ? *found : module.children.emplace_back(Module{.name = std::string(name)});
}

void Insert(Module& root, std::string_view path, const Tensor& tensor) {
  Module* module = &root;
  module->parameters += tensor.num_elements();
  while (!path.empty()) {
    const size_t dot = std::min(path.find('.'), path.size());
    module = &ChildOf(*module, path.substr(0, dot));
    module->parameters += tensor.num_elements();
    path.remove_prefix(std::min(dot + 1, path.size()));
  }
  module->tensor = &tensor;
}

std::optional<uint64_t> Number(const std::string& name) {
  constexpr size_t kMostDigits = 9;
  if (name.empty() || name.size() > kMostDigits || name.find_first_not_of("0123456789") != std::string::npos) return {};
  return std::stoull(name);
}

// The same tensors below, whatever the two are called.
bool IsAlike(const Module& a, const Module& b) {
  if ((a.tensor == nullptr) != (b.tensor == nullptr) || a.children.size() != b.children.size()) return false;
  if (a.tensor != nullptr && (a.tensor->dtype() != b.tensor->dtype() || a.tensor->shape() != b.tensor->shape()))
    return false;
  return std::ranges::equal(a.children, b.children,
                            [](const Module& x, const Module& y) { return x.name == y.name && IsAlike(x, y); });
}

// How many of `modules` from `first` on are numbered one after the other and alike.
size_t CountAlike(const std::vector<Module>& modules, size_t first) {
  const std::optional<uint64_t> number = Number(modules[first].name);
  size_t count = 1;
  if (!number) return count;
  while (first + count < modules.size() && Number(modules[first + count].name) == *number + count &&
         IsAlike(modules[first], modules[first + count]))
    ++count;
  return count;
}

void AddRows(const std::vector<Module>& modules, const std::string& indent,
             std::vector<std::vector<std::string>>& rows) {
  for (size_t at = 0; at < modules.size();) {
    const size_t count = CountAlike(modules, at);
    const Module* module = &modules[at];
    std::string name = OneLine(module->name);
    if (count > 1) name += "–" + modules[at + count - 1].name;
    at += count;
    // A module that only holds another is no line of its own.
    while (module->tensor == nullptr && module->children.size() == 1) {
      module = &module->children.front();
      name += "." + OneLine(module->name);
    }
    const bool is_last = at == modules.size();
    const std::string times = count > 1 ? fmt::format("{} × ", count) : "";
    std::string what;
    if (module->tensor != nullptr)
      what = fmt::format("{} {}", Name(module->tensor->dtype()), ToString(module->tensor->shape()));
    rows.push_back(
        {fmt::format("{}{} {}", indent, is_last ? "└─" : "├─", name), times + HumanCount(module->parameters), what});
    AddRows(module->children, indent + (is_last ? "   " : "│  "), rows);
  }
}

}  // namespace

std::string ModuleTree(const Checkpoint& checkpoint) {
  std::vector<std::vector<std::string>> rows;
  for (const Shard& shard : checkpoint.shards) {
    Module root;
    const auto add = [&root](const StateDict& state, const std::string& prefix) {
      for (const StateDict::Item& item : state.items()) {
        if (const Tensor* tensor = item.tensor()) Insert(root, prefix + item.name, *tensor);
      }
    };
    add(shard.weights, "");
    for (size_t i = 0; i < shard.chunks.size(); ++i) add(shard.chunks[i], fmt::format("model{}.", i));
    const std::string title = checkpoint.shards.size() > 1 ? RankText(shard) : OneLine(checkpoint.path);
    rows.push_back({title, HumanCount(root.parameters), ""});
    AddRows(root.children, "", rows);
  }
  return Columns(rows);
}

}  // namespace anemone::cli
