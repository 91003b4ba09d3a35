// Every file-system call of a whole conversion fails in turn: those that read a checkpoint of each format and those
// that write one. Whatever happens: the destination is absent, or the old one, or complete; no temporary name is left;
// an error names a path, and a failed read is never taken for a checkpoint that holds less.
#include <filesystem>
#include <functional>

#include "anemone/convert.h"
#include "container/gzip.h"
#include "edit/archive.h"
#include "engine/execute.h"
#include "engine/plan.h"
#include "format/format.h"
#include "testing/faulty_sys.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone {
namespace {

using ::anemone::testing::Fault;
using ::anemone::testing::FaultySys;
using ::anemone::testing::IsOk;
using ::anemone::testing::TempDir;
using ::anemone::testing::Tree;
using ::anemone::testing::WriteFile;
using Files = std::map<std::string, std::string>;

Tensor SomeTensor(DType dtype, Shape shape, char fill) {
  uint64_t bytes = SizeBytes(dtype);
  for (const uint64_t size : shape) bytes *= size;
  std::string content(bytes, fill);
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(fill + i % 3);
  return *Tensor::FromBytes(dtype, std::move(shape), std::move(content));
}

// A model of no known family, on `ranks` tensor ranks, with a config and two artifacts.
Checkpoint SomeCheckpoint(int ranks, char fill = 1) {
  Checkpoint checkpoint;
  checkpoint.flavour = "nemo";
  checkpoint.layout.tp = ranks;
  checkpoint.config =
      *Config::ParseYaml("target: somebody.Model\nlr: 1e-5\ntokenizer: {model: nemo:0123_spm.model}\n", "test");
  for (int rank = 0; rank < ranks; ++rank) {
    Shard& shard = checkpoint.shards.emplace_back();
    shard.tp_rank = rank;
    EXPECT_THAT(shard.weights.Add("net.a.weight", SomeTensor(DType::kF32, {70, 30}, fill)), IsOk());
    EXPECT_THAT(shard.weights.Add("net.a.bias", SomeTensor(DType::kBF16, {7}, 2)), IsOk());
    EXPECT_THAT(shard.weights.Add("net.a._extra_state", Opaque{}), IsOk());
  }
  checkpoint.artifacts.push_back({"0123_spm.model", Whole(MemorySource(std::string(5000, 's'), "spm"))});
  checkpoint.artifacts.push_back({"notes/README", Whole(MemorySource("by hand", "README"))});
  return checkpoint;
}

void WriteAs(std::string_view format, const Checkpoint& checkpoint, const std::string& path) {
  const Format* found = FindFormat(format);
  ASSERT_NE(found, nullptr);
  ANEMONE_ASSERT_ASSIGN(const Plan plan, found->lay_out(checkpoint, {}));
  ASSERT_THAT(Check(plan), IsOk());
  ASSERT_THAT(Execute(plan, path, {}), IsOk());
}

struct Route {
  const char* name;
  std::string source;  // made below
  std::string destination;
  std::string to;
  bool replace = false;
};
void PrintTo(const Route& route, std::ostream* out) { *out << route.name; }

class FormatSweep : public ::testing::TestWithParam<Route> {
 protected:
  void SetUp() override {
    const std::string& source = GetParam().source;
    const std::string path = dir_ / source;
    if (source == "golden-zarr") {
      source_ = testing::Golden("dist/zarr_small/nemo_extracted");
      return;
    }
    source_ = path;
    const Checkpoint checkpoint = SomeCheckpoint(source.starts_with("ranks") ? 2 : 1);
    WriteAs(source.ends_with(".nemo")   ? "nemo"
            : source.ends_with(".ckpt") ? "ckpt"
            : source.ends_with("-ckpt") ? "ckpt"
            : source.ends_with("-dist") ? "torch_dist"
            : source.ends_with("-2")    ? "nemo2"
                                        : "nemo-dir",
            checkpoint, path);
    if (source.ends_with(".ckpt"))
      WriteFile(dir_ / "hparams.yaml", "cfg: {target: somebody.Model, beside: 1, tokenizer: 2}\n");
  }
  TempDir dir_;
  std::string source_;
};

TEST_P(FormatSweep, LeavesTheDestinationAbsentOldOrComplete) {
  const Route& route = GetParam();
  std::filesystem::create_directory(dir_ / "place");
  const std::string destination = dir_ / ("place/" + route.destination);
  ConvertOptions convert;
  convert.to = route.to;
  if (route.source.ends_with("ckpt")) convert.unset = {"tokenizer"};  // a .ckpt carries no artifacts
  RunOptions run;
  run.threads = 1;
  const auto prepare = [&] {
    std::filesystem::remove_all(destination);
    if (!route.replace) return;
    if (route.destination.find('.') != std::string::npos) {
      WriteFile(destination, "old");
    } else {
      WriteAs(route.to, SomeCheckpoint(1, 5), destination);
    }
  };
  const auto whole_run = [&]() -> Status {
    if (route.to == "extract" || route.to == "pack" || route.to == "edit") {
      ANEMONE_ASSIGN(const Plan plan, route.to == "extract" ? PlanExtract(source_, {})
                                      : route.to == "pack"  ? PlanPack(source_)
                                                            : PlanEdit(source_, {{{"lr", "2"}}, {}, {}}));
      ANEMONE_TRY(Check(plan));
      ExecuteOptions execute;
      execute.threads = 1;
      execute.replace = run.force;
      return Execute(plan, destination, execute);
    }
    ANEMONE_ASSIGN(const Conversion conversion, PlanConversion(source_, destination, convert));
    return RunConversion(conversion, run);
  };
  prepare();
  const Files before = Tree(dir_ / "place");
  run.force = route.replace;
  ASSERT_THAT(whole_run(), IsOk());
  const Files complete = Tree(dir_ / "place");
  ASSERT_NE(before, complete);

  for (const Fault fault : {Fault::kIoError, Fault::kDiskFull, Fault::kShort, Fault::kEndOfFile}) {
    int failures = 0;
    for (int n = 0;; ++n) {
      ASSERT_LT(n, 5000);
      prepare();
      Status status;
      bool reached;
      std::string call;
      {
        const FaultySys faulty(fault, n);
        status = whole_run();
        reached = faulty.reached();
        call = faulty.call();
      }
      const std::string moment = std::string(route.name) + ": fault " + std::to_string(static_cast<int>(fault)) +
                                 " in call " + std::to_string(n) + " (" + call + "): " + status.message();
      const Files now = Tree(dir_ / "place");
      if (status.ok()) {
        ASSERT_TRUE(now == complete) << moment;
      } else {
        ++failures;
        ASSERT_TRUE(now == before || now == complete) << moment;
        ASSERT_TRUE(status.message().find('/') != std::string::npos) << moment;
        ASSERT_NE(status.kind(), ErrorKind::kInternal) << moment;
        if (fault == Fault::kIoError) {
          ASSERT_EQ(status.kind(), ErrorKind::kIo) << moment;
        }
      }
      if (!reached) {
        ASSERT_THAT(status, IsOk());
        break;
      }
    }
    if (fault == Fault::kIoError) {
      EXPECT_GT(failures, 10);
    }
    if (fault == Fault::kShort) {
      EXPECT_EQ(failures, 0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    , FormatSweep,
    ::testing::Values(
        Route{"NemoToNemo", "x.nemo", "out.nemo", "", true}, Route{"NemoToFolder", "x.nemo", "out", "nemo-dir"},
        Route{"NemoToOldFolder", "x.nemo", "out", "nemo-dir", true},
        Route{"NemoToOldTorchDist", "x.nemo", "out", "torch_dist", true},
        Route{"FolderToNemo", "folder", "out.nemo", ""}, Route{"RanksToNemo", "ranks.nemo", "out.nemo", ""},
        Route{"RanksToFolder", "ranks-folder", "out", "nemo-dir"}, Route{"NemoToCkpt", "x.nemo", "out.ckpt", "", true},
        Route{"CkptToNemo", "x.ckpt", "out.nemo", ""}, Route{"RanksToCkpts", "ranks.nemo", "out", "ckpt"},
        Route{"CkptsToNemo", "ranks-ckpt", "out.nemo", ""}, Route{"NemoToTorchDist", "x.nemo", "out", "torch_dist"},
        Route{"TorchDistToCkpt", "x-dist", "out.ckpt", ""},
        Route{"ZarrToTorchDist", "golden-zarr", "out", "torch_dist"}, Route{"Nemo2ToNemo2", "x-2", "out", "nemo2"},
        Route{"Nemo2ToSafetensors", "x-2", "out.safetensors", ""},
        Route{"NemoToSafetensors", "x.nemo", "out.safetensors", ""}, Route{"Extract", "x.nemo", "out", "extract"},
        Route{"Pack", "folder", "out.nemo", "pack"}, Route{"Edit", "x.nemo", "out.nemo", "edit", true}),
    [](const auto& route) { return std::string(route.param.name); });

}  // namespace
}  // namespace anemone
