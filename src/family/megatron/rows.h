// Rows of modules that have a weight and a bias.
#ifndef ANEMONE_FAMILY_MEGATRON_ROWS_H_
#define ANEMONE_FAMILY_MEGATRON_ROWS_H_

#include <string>
#include <string_view>
#include <vector>

#include "schema/table.h"

namespace anemone {

// A tensor that is stored as it is, and the model's condition (StoredRow::only).
StoredRow PlainRow(std::string name, std::string_view canonical, Stage stage, std::string_view only = "");
// `name`.weight and `name`.bias.
std::vector<StoredRow> WeightAndBias(std::string_view name, std::string_view canonical, Stage stage,
                                     std::string_view only = "");

// A norm of "width", and a linear layer of so many rows from it.
std::vector<CanonicalRow> CanonicalNorm(std::string_view name, std::string_view when = "");
std::vector<CanonicalRow> CanonicalLinear(std::string_view name, std::string_view rows, std::string_view when = "");

}  // namespace anemone

#endif  // ANEMONE_FAMILY_MEGATRON_ROWS_H_
