// What is beside each format, by one table: its page, an input of the fuzz target that reads it, and a file that its
// own writer made. Whatever happens to that file, it is never read as something else.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <set>

#include "../../../fuzz/folder.h"
#include "support.h"

namespace anemone {
namespace {

namespace fs = std::filesystem;
using testing::ExpectSameTensor;
using testing::Golden;
using testing::IsOk;
using testing::ReadFile;
using testing::TempDir;
using testing::WriteFile;

struct Beside {
  std::string_view format;  // by its name
  std::string page;         // in docs/formats
  std::string seed;         // in fuzz/corpus; of "folder/": files as fuzz/folder.h reads them
  std::string example;      // a golden file; empty: the seed, as no software that writes the format can be installed
};
const Beside kBeside[] = {
    {"nemo", "nemo.md", "nemo/single", "gpt/A.nemo"},
    {"nemo-dir", "nemo.md", "folder/nemo", "dist/torch_dist_small/nemo_extracted"},
    {"ckpt", "lightning.md", "torch_file/lightning.pt", "torch/2.15/lightning.pt"},
    {"pytorch", "pytorch.md", "torch_file/views.pt", "torch/2.15/views.pt"},
    {"safetensors", "safetensors.md", "safetensors/one", "clip/hf/model.safetensors"},
    {"hf", "huggingface.md", "folder/huggingface", "clip/hf"},
    {"openclip", "huggingface.md", "folder/openclip", ""},
    {"peft", "huggingface.md", "folder/peft", "lora/gpt2/adapter"},
    {"diffusers", "diffusers.md", "folder/diffusers", ""},
    {"torch_dist", "torch_dist.md", "folder/mcore_torch_dist", "dist/mcore_direct_torch_dist"},
    {"zarr", "zarr.md", "folder/mcore_zarr", "dist/mcore_direct_zarr"},
    {"nemo2", "nemo2.md", "folder/nemo2", "dist/nemo2_llama/nemo"},
    {"deepspeed", "pytorch.md", "folder/deepspeed", ""},
    {"megatron", "megatron.md", "folder/megatron_tp2", "megatron/mlm20-torch-pp2vpp2-llama/ckpt"},
    {"megatron-bridge", "megatron.md", "folder/megatron_bridge", "megatron/mb031-provider-llama/ckpt"},
};

std::string SeedPath(const Beside& of) { return std::string(ANEMONE_SOURCE_DIR) + "/fuzz/corpus/" + of.seed; }

// The example in a folder of its own, to be damaged.
std::string CopyTo(const Beside& of, const TempDir& dir) {
  std::string target = dir / "example";
  if (of.example.empty()) {
    const std::string seed = ReadFile(SeedPath(of));
    for (const fuzz::File& file : fuzz::FilesOf(reinterpret_cast<const uint8_t*>(seed.data()), seed.size())) {
      fs::create_directories(fs::path(target + "/" + file.name).parent_path());
      WriteFile(target + "/" + file.name, file.content);
    }
    return target;
  }
  target += fs::path(of.example).extension();
  fs::copy(Golden(of.example), target, fs::copy_options::recursive);
  return target;
}

// Two formats are told apart by what is in a torch file, once it is open.
bool IsOf(const Probe& probe, std::string_view format) {
  const Result<bool> matches = FindFormat(format)->matches(probe);
  if (matches.ok() && *matches) return true;
  const Result<Checkpoint> checkpoint = OpenCheckpoint(probe.path);
  return checkpoint.ok() && checkpoint->format != nullptr && checkpoint->format->name == format;
}

using Content = std::vector<std::pair<std::string, Tensor>>;

Content ContentOf(const Checkpoint& checkpoint) {
  Content content;
  for (size_t i = 0; i < checkpoint.shards.size(); ++i) {
    const Shard& shard = checkpoint.shards[i];
    std::vector<const StateDict*> dicts = {&shard.weights};
    for (const StateDict& chunk : shard.chunks) dicts.push_back(&chunk);
    for (size_t d = 0; d < dicts.size(); ++d) {
      for (const StateDict::Item& item : dicts[d]->items()) {
        if (item.tensor() != nullptr)
          content.emplace_back(fmt::format("rank {}, dict {}: {}", i, d, item.name), *item.tensor());
      }
    }
  }
  return content;
}

class BesideTest : public ::testing::TestWithParam<Beside> {};

TEST(BesideTableTest, EveryFormatIsInTheTable) {
  std::vector<std::string_view> formats, table;
  for (const Format* format : Formats()) formats.push_back(format->name);
  for (const Beside& of : kBeside) table.push_back(of.format);
  EXPECT_THAT(table, ::testing::ElementsAreArray(formats));
}

TEST_P(BesideTest, APageAndASeedAreThere) {
  EXPECT_TRUE(fs::is_regular_file(fmt::format("{}/docs/formats/{}", ANEMONE_SOURCE_DIR, GetParam().page)));
  const std::string target = GetParam().seed.substr(0, GetParam().seed.find('/'));
  EXPECT_TRUE(fs::is_regular_file(fmt::format("{}/fuzz/{}_fuzz.cc", ANEMONE_SOURCE_DIR, target)));
  const std::string seed = ReadFile(SeedPath(GetParam()));
  ASSERT_FALSE(seed.empty());
  const auto files = fuzz::FilesOf(reinterpret_cast<const uint8_t*>(seed.data()), seed.size());
  const fuzz::FuzzFolder folder(files);
  ANEMONE_ASSERT_ASSIGN(const Probe probe, ProbePath({target == "folder" ? folder.path() : SeedPath(GetParam())}));
  EXPECT_TRUE(IsOf(probe, GetParam().format));
}

TEST_P(BesideTest, TheExampleIsOfTheFormat) {
  const TempDir dir;
  ANEMONE_ASSERT_ASSIGN(const Probe probe, ProbePath({CopyTo(GetParam(), dir)}));
  EXPECT_TRUE(IsOf(probe, GetParam().format));
}

TEST_P(BesideTest, RandomSlicesReadWhatTheWholeSays) {
  const TempDir dir;
  ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(CopyTo(GetParam(), dir)));
  std::mt19937 random(7);
  for (const auto& [name, tensor] : ContentOf(checkpoint)) {
    if (tensor.num_elements() == 0) continue;
    ANEMONE_ASSERT_ASSIGN(std::string bytes, tensor.Read());
    ANEMONE_ASSERT_ASSIGN(const Tensor whole, Tensor::FromBytes(tensor.dtype(), tensor.shape(), std::move(bytes)));
    Tensor expected = whole, found = tensor;
    for (size_t axis = 0; axis < tensor.shape().size(); ++axis) {
      const uint64_t start = random() % tensor.shape()[axis], length = 1 + random() % (tensor.shape()[axis] - start);
      expected = *expected.Narrow(axis, start, length);
      found = *found.Narrow(axis, start, length);
    }
    ExpectSameTensor(found, expected, name);
  }
}

TEST_P(BesideTest, DamageIsNeverReadAsSomethingElse) {
  const TempDir dir;
  const std::string path = CopyTo(GetParam(), dir);
  Content before;
  std::vector<std::string> bytes;
  {
    ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(path));
    before = ContentOf(checkpoint);
    for (const auto& [name, tensor] : before) bytes.push_back(*tensor.Read());
  }
  ASSERT_FALSE(before.empty());
  const auto is_as_it_was = [&]() -> Result<bool> {
    ANEMONE_ASSIGN(const Checkpoint found, OpenCheckpoint(path));
    const Content now = ContentOf(found);
    if (now.size() != before.size()) return false;
    for (size_t i = 0; i < now.size(); ++i) {
      ANEMONE_ASSIGN(const std::string read, now[i].second.Read());
      if (now[i].first != before[i].first || now[i].second.shape() != before[i].second.shape() || read != bytes[i])
        return false;
    }
    return true;
  };
  std::vector<std::string> files = {path};
  if (fs::is_directory(path)) {
    files.clear();
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
    std::ranges::sort(files);
  }
  size_t refused = 0;
  for (const std::string& file : files) {
    const std::string whole = ReadFile(file);
    for (const size_t cut :
         std::set<size_t>{0, 1, whole.size() / 2, whole.size() - std::min<size_t>(whole.size(), 1)}) {
      if (cut >= whole.size()) continue;
      WriteFile(file, whole.substr(0, cut));
      const Result<bool> same = is_as_it_was();
      refused += same.ok() ? 0 : 1;
      EXPECT_TRUE(!same.ok() || *same) << file << " of " << cut << " bytes";
    }
    fs::remove(file);
    const Result<bool> same = is_as_it_was();
    refused += same.ok() ? 0 : 1;
    EXPECT_TRUE(!same.ok() || *same) << "without " << file;
    WriteFile(file, whole);
  }
  EXPECT_GT(refused, 2u);
  EXPECT_TRUE(*is_as_it_was());
}

INSTANTIATE_TEST_SUITE_P(Formats, BesideTest, ::testing::ValuesIn(kBeside), [](const auto& of) {
  std::string name(of.param.format);
  std::ranges::replace(name, '-', '_');
  return name;
});

}  // namespace
}  // namespace anemone
