// Every file-system call of what inspect and report tell of a checkpoint fails in turn: the answer is an error, or the
// same, or names the error. It never leaves out what could not be read.
#include <filesystem>
#include <string>

#include "base/read_at_most.h"
#include "format/format.h"
#include "inspect/report.h"
#include "inspect/sizes.h"
#include "source/source.h"
#include "testing/faulty_sys.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"
#include "unit/container/zip_records.h"

namespace anemone {
namespace {

using ::anemone::testing::Fault;
using ::anemone::testing::FaultySys;
using ::anemone::testing::IsOk;
using ::anemone::testing::TempDir;
using ::anemone::testing::WriteFile;

Result<std::string> Described(const std::string& path) {
  ANEMONE_ASSIGN(const Checkpoint checkpoint, OpenPlace(path));
  ANEMONE_ASSIGN(const std::optional<uint64_t> size, SizeOnDisk(path));
  std::string text = std::to_string(size.value_or(0)) + "\n";
  JsonStream json([&text](std::string_view part) { text += part; });
  json.BeginMap();
  ANEMONE_TRY(DescribeForReport({&checkpoint}, {.threads = 1}, json));
  json.End();
  return text;
}

// A pickle of {"state_dict": {}, "pytorch-lightning_version": "2", "x": a tensor}.
std::string LightningFile() {
  const std::string tensor =
      "ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI1\ntQI0\n(I1\nt(I1\nt"
      "I00\nccollections\nOrderedDict\n)RtR";
  const std::string pickle =
      "\x80\x02}(S'pytorch-lightning_version'\nS'2.0'\nS'state_dict'\n}S'a.weight'\n" + tensor + "su.";
  return testing::ZipFile({{.name = "x/data.pkl", .content = pickle},
                           {.name = "x/version", .content = "3\n"},
                           {.name = "x/data/0", .content = std::string(4, '\1')}},
                          {});
}

TEST(InspectFault, WhatIsNotReadIsNotLeftOut) {
  const TempDir dir;
  for (const char* folder : {"hf", "run", "run/mp_rank_00", "run/mp_rank_01", "nemo", "nemo/mp_rank_00",
                             "nemo/mp_rank_01", "top", "top/one", "top/two"})
    std::filesystem::create_directory(dir / folder);
  const std::string header = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  WriteFile(dir / "hf/model.safetensors",
            std::string(1, static_cast<char>(header.size())) + std::string(7, '\0') + header + "0123");
  WriteFile(dir / "hf/config.json", R"({"a": 1})");
  std::filesystem::copy_file(dir / "hf/model.safetensors", dir / "top/one/model.safetensors");
  WriteFile(dir / "run/mp_rank_00/x.ckpt", LightningFile());
  WriteFile(dir / "run/mp_rank_01/x.ckpt", LightningFile());
  WriteFile(dir / "run/hparams.yaml", "cfg: {tensor_model_parallel_size: 2}\n");
  WriteFile(dir / "nemo/model_config.yaml", "tensor_model_parallel_size: 2\n");
  for (const char* rank : {"nemo/mp_rank_00", "nemo/mp_rank_01"})
    WriteFile(dir / rank + "/model_weights.ckpt", LightningFile());
  for (const std::string& path : {dir / "hf", dir / "hf/model.safetensors", dir / "run", dir / "run/mp_rank_00/x.ckpt",
                                  dir / "nemo", dir / "top"}) {
    ANEMONE_ASSERT_ASSIGN(const std::string whole, Described(path));
    int failures = 0;
    for (int n = 0;; ++n) {
      ASSERT_LT(n, 5000);
      const FaultySys faulty(Fault::kIoError, n);
      const Result<std::string> text = Described(path);
      const std::string moment = path + ": call " + std::to_string(n) + " (" + faulty.call() + ")";
      if (text.ok() && text->find("Input/output error") == std::string::npos) {
        ASSERT_EQ(*text, whole) << moment;
      } else {
        ++failures;
        if (text.ok()) continue;  // the report says so
        ASSERT_EQ(text.status().kind(), ErrorKind::kIo) << moment << ": " << text.status().message();
      }
      if (!faulty.reached()) break;
    }
    EXPECT_GT(failures, 10) << path;
  }
}

}  // namespace
}  // namespace anemone
