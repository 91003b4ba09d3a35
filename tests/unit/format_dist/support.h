// What the tests of distributed checkpoints share.
#ifndef ANEMONE_TESTS_UNIT_FORMAT_DIST_SUPPORT_H_
#define ANEMONE_TESTS_UNIT_FORMAT_DIST_SUPPORT_H_

#include <filesystem>
#include <string>

#include "anemone/checkpoint.h"
#include "anemone/value.h"
#include "engine/execute.h"
#include "engine/plan.h"
#include "format/dist/dist.h"
#include "format/format.h"
#include "testing/matchers.h"

namespace anemone::testing {

inline const char* const kFusedAdam =
    "gpt_fused_adam_dist/megatron_gpt--val_loss=5.10-step=2-consumed_samples=8.0-last";
inline const char* const kDistOptim =
    "gpt_mcore_dist_optim/megatron_gpt--val_loss=5.35-step=2-consumed_samples=8.0-last";
inline const char* const kChained = "dist_megatron_0.16/dist";
inline const char* const kTorchDist = "dist/torch_dist_small/nemo_extracted/model_weights";
inline const char* const kZarr = "dist/zarr_small/nemo_extracted/model_weights";

inline Result<Checkpoint> OpenFolder(const std::string& path) {
  ANEMONE_ASSIGN(const std::vector<Artifact> members, ListFiles(path));
  return OpenDistributed(members, "folder");
}

inline std::string Bytes(const Tensor& tensor) {
  auto bytes = tensor.Read();
  EXPECT_TRUE(bytes.ok()) << bytes.status().message();
  return bytes.ok() ? *std::move(bytes) : std::string();
}

// Dtype, shape and every bit.
inline void ExpectSame(const Tensor& found, const Tensor& expected, const std::string& name) {
  EXPECT_EQ(Name(found.dtype()), Name(expected.dtype())) << name;
  ASSERT_EQ(found.shape(), expected.shape()) << name;
  EXPECT_TRUE(Bytes(found) == Bytes(expected)) << name << ": values differ";
}

inline const Tensor* TensorAt(const StateDict& state, const std::string& name) {
  const StateDict::Item* item = state.Find(name);
  return item == nullptr ? nullptr : item->tensor();
}

inline size_t CountTensors(const StateDict& state) {
  size_t count = 0;
  for (const auto& item : state.items()) count += item.tensor() != nullptr ? 1 : 0;
  return count;
}

// The value at keys of nested dicts; null when absent.
inline ValueRef At(const Value& value, std::initializer_list<std::string_view> path) {
  ValueRef node = value.node;
  for (const std::string_view key : path) {
    if (node == nullptr) return nullptr;
    node = node->kind == ValueNode::Kind::kList && key == "0" ? node->items[0] : Lookup(*node, key);
  }
  return node;
}

// A folder that is removed with the object.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "anemone_dist_XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  // A copy of a golden folder, to be damaged.
  std::string CopyOf(const std::string& golden) const {
    std::filesystem::copy(Golden(golden), path_ + "/copy", std::filesystem::copy_options::recursive);
    return path_ + "/copy";
  }

 private:
  std::string path_;
};

}  // namespace anemone::testing

#endif  // ANEMONE_TESTS_UNIT_FORMAT_DIST_SUPPORT_H_
