// Small checkpoints in any dialect, made from the tables themselves: every element of every tensor is a different
// number.
#ifndef ANEMONE_TESTS_UNIT_FAMILY_SYNTHETIC_H_
#define ANEMONE_TESTS_UNIT_FAMILY_SYNTHETIC_H_

#include <cstring>
#include <string>

#include "anemone/checkpoint.h"
#include "family/family.h"
#include "testing/matchers.h"

namespace anemone::testing {

// Elements count up from `*next`, which moves on.
inline Tensor Counting(const Shape& shape, float* next) {
  std::string bytes(*NumElements(shape) * sizeof(float), '\0');
  for (size_t i = 0; i < bytes.size(); i += sizeof(float)) {
    std::memcpy(bytes.data() + i, next, sizeof(float));
    *next += 1;
  }
  return *Tensor::FromBytes(DType::kF32, shape, std::move(bytes));
}

// Sizes with these values, declared as such.
inline ModelSymbols Sizes(const std::vector<std::pair<std::string, uint64_t>>& values) {
  std::vector<Symbol> declared;
  for (const auto& [name, value] : values) declared.push_back(Symbol::Size(name, "of the test"));
  ModelSymbols symbols(declared);
  for (const auto& [name, value] : values) symbols.Set(name, value);
  return symbols;
}

// A canonical state dict for a model of these sizes.
inline StateDict SyntheticCanonical(const Family& family, const ModelSymbols& symbols) {
  StateDict result;
  float next = 1;
  const Status made = ForEachTensor(family.canonical, symbols, [&](std::string name, const Shape& shape) {
    return result.Add(std::move(name), Counting(shape, &next));
  });
  EXPECT_THAT(made, IsOk());
  return result;
}

inline Checkpoint WithWeights(StateDict weights, std::optional<Config> config, std::string config_name) {
  Checkpoint checkpoint;
  checkpoint.path = "synthetic";
  checkpoint.config = std::move(config);
  checkpoint.config_name = std::move(config_name);
  checkpoint.shards.emplace_back().weights = std::move(weights);
  return checkpoint;
}

// Both hold the same names with the same tensors, bit for bit; opaque entries only have to be opaque in both.
inline void ExpectSameTensors(const StateDict& actual, const StateDict& expected) {
  EXPECT_EQ(actual.size(), expected.size());
  for (const StateDict::Item& item : expected.items()) {
    const StateDict::Item* found = actual.Find(item.name);
    ASSERT_NE(found, nullptr) << item.name;
    ASSERT_EQ(found->tensor() == nullptr, item.tensor() == nullptr) << item.name;
    if (item.tensor() == nullptr) continue;
    EXPECT_EQ(found->tensor()->shape(), item.tensor()->shape()) << item.name;
    EXPECT_EQ(found->tensor()->dtype(), item.tensor()->dtype()) << item.name;
    EXPECT_TRUE(*found->tensor()->Read() == *item.tensor()->Read()) << item.name << " differs";
  }
}

inline std::vector<std::string> Names(const StateDict& dict) {
  std::vector<std::string> names;
  for (const StateDict::Item& item : dict.items()) names.push_back(item.name);
  return names;
}

}  // namespace anemone::testing

#endif  // ANEMONE_TESTS_UNIT_FAMILY_SYNTHETIC_H_
