// What a test of conversion asks of the files it made.
#ifndef ANEMONE_TESTS_UNIT_CONVERT_MODEL_FILES_H_
#define ANEMONE_TESTS_UNIT_CONVERT_MODEL_FILES_H_

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "anemone/convert.h"
#include "base/hasher.h"
#include "engine/execute.h"
#include "engine/plan.h"
#include "format/format.h"
#include "testing/matchers.h"

namespace anemone {

// A folder of transformers' at `path`: float32 tensors that count on, element by element.
inline void WriteHfModel(const std::string& path, const std::string& config_json,
                         const std::vector<std::pair<std::string, Shape>>& tensors) {
  Checkpoint model;
  model.shards.emplace_back();
  const auto config = Config::ParseJson(config_json, "config.json");
  ASSERT_THAT(config, testing::IsOk());
  model.config = *config;
  float next = 0;
  for (const auto& [name, shape] : tensors) {
    std::string bytes;
    for (uint64_t i = 0; i < *NumElements(shape); ++i, next += 0.25F)
      bytes.append(reinterpret_cast<const char*>(&next), sizeof(next));
    ASSERT_THAT(model.weights().Add(name, *Tensor::FromBytes(DType::kF32, shape, bytes)), testing::IsOk());
  }
  const auto plan = FindFormat("hf")->lay_out(model, {});
  ASSERT_THAT(plan, testing::IsOk());
  ASSERT_THAT(Execute(*plan, path, {}), testing::IsOk());
}

inline void Convert(const std::string& source, const std::string& destination, const ConvertOptions& options) {
  const auto conversion = PlanConversion(source, destination, options);
  ASSERT_THAT(conversion, testing::IsOk()) << source;
  ASSERT_THAT(RunConversion(*conversion, {}), testing::IsOk()) << destination;
}

// "dtype shape digest" by name.
using Digests = std::map<std::string, std::string>;

inline Digests DigestsOf(const StateDict& weights) {
  Digests digests;
  for (const StateDict::Item& item : weights.items()) {
    if (item.tensor() == nullptr) continue;
    const auto bytes = item.tensor()->Read();
    EXPECT_THAT(bytes, testing::IsOk()) << item.name;
    if (!bytes.ok()) continue;
    Hasher hasher(Hasher::Kind::kSha256);
    hasher.Add(std::string_view(*bytes));
    digests[item.name] = fmt::format("{} {} {}", Info(item.tensor()->dtype()).safetensors,
                                     fmt::join(item.tensor()->shape(), ","), hasher.Hex());
  }
  return digests;
}

inline Digests DigestsOf(const std::string& path) {
  const auto checkpoint = OpenCheckpoint(path);
  EXPECT_THAT(checkpoint, testing::IsOk());
  return checkpoint.ok() ? DigestsOf(checkpoint->weights()) : Digests();
}

inline Digests Listed(const std::string& path) {
  Digests digests;
  std::ifstream file(path);
  EXPECT_TRUE(file.good()) << path;
  for (std::string line; std::getline(file, line);)
    digests[line.substr(0, line.find(' '))] = line.substr(line.find(' ') + 1);
  return digests;
}

inline Config JsonOf(const std::string& path) {
  std::ifstream file(path);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const auto config = Config::ParseJson(text, path);
  EXPECT_THAT(config, testing::IsOk());
  return config.ok() ? *config : Config();
}

// A copy of `folder` at `copy`, one key of whose JSON file is another.
inline std::string WithKey(const std::string& folder, const std::string& copy, const std::string& file, const char* key,
                           const char* yaml) {
  std::filesystem::copy(folder, copy);
  const std::string path = copy + "/" + file;
  Config config = JsonOf(path);
  const auto value = Config::ParseYaml(fmt::format("v: {}", yaml), "test");
  EXPECT_THAT(value, testing::IsOk());
  config.root()[key] = *value->root().Get("v");
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  std::ofstream(path) << config.ToJson();
  return copy;
}

inline std::set<std::string> FilesIn(const std::string& folder) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    names.insert(std::filesystem::relative(entry.path(), folder).string());
  return names;
}

}  // namespace anemone

#endif  // ANEMONE_TESTS_UNIT_CONVERT_MODEL_FILES_H_
