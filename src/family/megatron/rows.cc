#include "family/megatron/rows.h"

#include <fmt/format.h>

#include <utility>

namespace anemone {

StoredRow PlainRow(std::string name, std::string_view canonical, Stage stage, std::string_view only) {
  StoredRow row{.name = std::move(name), .canonical = std::string(canonical), .stage = stage};
  row.only = only;
  return row;
}

std::vector<StoredRow> WeightAndBias(std::string_view name, std::string_view canonical, Stage stage,
                                     std::string_view only) {
  return {PlainRow(fmt::format("{}.weight", name), fmt::format("{}.weight", canonical), stage, only),
          PlainRow(fmt::format("{}.bias", name), fmt::format("{}.bias", canonical), stage, only)};
}

std::vector<CanonicalRow> CanonicalNorm(std::string_view name, std::string_view when) {
  return {{fmt::format("{}.weight", name), "width", std::string(when), ""},
          {fmt::format("{}.bias", name), "width", std::string(when), ""}};
}

std::vector<CanonicalRow> CanonicalLinear(std::string_view name, std::string_view rows, std::string_view when) {
  return {{fmt::format("{}.weight", name), fmt::format("{}, width", rows), std::string(when), ""},
          {fmt::format("{}.bias", name), std::string(rows), std::string(when), ""}};
}

}  // namespace anemone
