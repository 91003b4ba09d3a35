#include "family/family.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <list>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "family/families.h"
#include "family/registry.h"

namespace anemone {
namespace {

// A family and the patterns of its dialects, made and parsed when first asked for: most runs need those of one family
// and of the ones tried before it.
class Registered {
 public:
  Registered(std::function<const Family&()> family, std::vector<std::string_view> parts)
      : make_(std::move(family)), parts_(std::move(parts)) {}

  // One of them is in some name of each of its models: the tables of a large family are not made for others. None: not
  // known.
  const std::vector<std::string_view>& parts() const { return parts_; }

  const Family& family() const { return make_(); }
  std::span<const NameMatcher> matchers() {
    std::call_once(parsed_, [this] {
      for (const Dialect& dialect : family().dialects) matchers_.emplace_back(dialect);
    });
    return matchers_;
  }

 private:
  std::function<const Family&()> make_;
  std::vector<std::string_view> parts_;
  std::once_flag parsed_;
  std::vector<NameMatcher> matchers_;
};

// One word a family; tried in this order. The entries keep their addresses.
std::list<Registered>& Registry() {
  static std::list<Registered> registry = [] {
    std::list<Registered> all;
    for (const auto& family : {ClipFamily, SiglipFamily, GptFamily, T5Family, NevaFamily, BertFamily, VitFamily}) {
      all.emplace_back(family, std::vector<std::string_view>());
    }
    all.emplace_back(StableDiffusionFamily, std::vector<std::string_view>{"_model.", "unet.", "vae."});
    all.emplace_back(MambaFamily, std::vector<std::string_view>{".mixer."});
    all.emplace_back(GriffinFamily, std::vector<std::string_view>{".rg_lru."});
    return all;
  }();
  return registry;
}

}  // namespace

NameMatcher MatcherOf(const Dialect& dialect) {
  for (Registered& entry : Registry()) {
    const std::vector<Dialect>& dialects = entry.family().dialects;
    for (size_t d = 0; d < dialects.size(); ++d) {
      if (&dialects[d] == &dialect) return entry.matchers()[d];
    }
  }
  return NameMatcher(dialect);
}

void TryFamilies(const std::function<bool(std::string_view part)>& has_name_with,
                 const std::function<bool(const Family& family, std::span<const NameMatcher> dialects)>& visit) {
  for (Registered& entry : Registry()) {
    if (!entry.parts().empty() && std::ranges::none_of(entry.parts(), has_name_with)) continue;
    if (!visit(entry.family(), entry.matchers())) return;
  }
}

Status CheckCounts(const Checkpoint& checkpoint, const Family& family, const ModelSymbols& symbols) {
  constexpr uint64_t kWithoutNames = 10'000, kPerName = 64, kMost = 100'000, kMostExperts = 1'000'000;
  const uint64_t most = std::min(kMost, kWithoutNames + kPerName * CountNames(checkpoint));
  std::set<std::string_view> towers = {""};
  for (const CanonicalRow& row : family.canonical) towers.insert(row.tower);
  for (const std::string_view tower : towers) {
    const auto find = [&](std::string_view key) {
      const auto found = symbols.Find(tower, key);
      return found.ok() ? found->value_or(0) : 0;  // not every family has experts
    };
    const uint64_t layers = find("layers"), experts = find("experts");
    const std::string where(tower.empty() ? "the model" : tower);
    if (layers > most) {
      return LimitExceeded(fmt::format("{}: expected at most {} layers beside {} tensors, found {}", where, most,
                                       CountNames(checkpoint), layers));
    }
    if (experts > kMostExperts / std::max<uint64_t>(layers, 1)) {
      return LimitExceeded(fmt::format("{}: expected at most {} experts in all layers, found {} layers of {}", where,
                                       kMostExperts, layers, experts));
    }
  }
  return {};
}

size_t CountNames(const Checkpoint& checkpoint) {
  size_t count = 0;
  checkpoint.ForEachDict([&](const StateDict& dict) { count += dict.size(); });
  return count;
}

Result<ModelSymbols> Family::SymbolsOf(const Checkpoint& checkpoint, const Dialect& dialect,
                                       const TranslateOptions& options) const {
  ModelSymbols model(symbols);
  ANEMONE_TRY(read_symbols(checkpoint, dialect, options, &model));
  ANEMONE_TRY(model.CheckSet().In(name));
  ANEMONE_TRY(CheckCounts(checkpoint, *this, model).In(checkpoint.config_name));
  return model;
}

const Dialect* Family::FindDialect(std::string_view dialect) const {
  const auto it = std::find_if(dialects.begin(), dialects.end(), [&](const Dialect& d) { return d.name == dialect; });
  return it == dialects.end() ? nullptr : &*it;
}

std::vector<const Family*> Families() {
  std::vector<const Family*> families;
  for (const Registered& entry : Registry()) families.push_back(&entry.family());
  return families;
}

void RegisterFamily(const Family& family) {
  Registry().emplace_back([&family]() -> const Family& { return family; }, std::vector<std::string_view>());
}

const Family* FindFamily(std::string_view name) {
  for (const Registered& entry : Registry()) {
    if (entry.family().name == name) return &entry.family();
  }
  return nullptr;
}

}  // namespace anemone
