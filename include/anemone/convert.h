// Convert: any checkpoint to any other, planned before a byte is written.
//
//   ANEMONE_ASSIGN(auto conversion, PlanConversion("clip-hf/", "clip.nemo", {}));
//   ANEMONE_TRY(RunConversion(conversion, {.force = true}));
#ifndef ANEMONE_CONVERT_H_
#define ANEMONE_CONVERT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/progress.h"
#include "anemone/status.h"

namespace anemone {

struct Plan;

// As `cp --reflink`. kAuto shares disk blocks with the source where the file system can, kAlways fails where it cannot,
// kNever copies every byte.
enum class Reflink : uint8_t { kAuto, kAlways, kNever };

struct ConvertOptions {
  std::string to = {};       // a format's name; empty: by DST's name
  std::string key = {};      // which dictionary of a torch file holds the weights; empty: what is in it decides
  std::string hparams = {};  // YAML file; empty: derived from the source
  // "mcore" (default for .nemo from a foreign dialect), "legacy", "hf", "openclip"; empty: by format.
  std::string dialect = {};
  // YAML file: names → split and stage, for a Megatron model no family knows (docs/resharding.md).
  std::string table = {};
  std::string preset = {};  // a CLIP's size by name ("ViT-L-14"), for sources without a config
  // NeMo's model class or type ("MegatronCLIPModel", "megatron_clip") that a training's config without `target`
  // becomes; one that says another is an error.
  std::string model_class = {};
  // To hf: how many rows the vocabulary has; empty: all, but for padding by the evidence of config and tokenizer.
  std::optional<int> vocab_size = {};
  std::string architecture = {};  // from or to hf: transformers' class ("LlamaForCausalLM"), whatever the config says
  // Adapters of low rank that become part of the weights: a PEFT folder, NeMo 1's .nemo, a NeMo 2 folder.
  std::vector<std::string> lora = {};
  // Of an adapter alone, from PEFT to NeMo: the model that it adapts, whose config NeMo wants; empty: where the adapter
  // says, if that is here.
  std::string base = {};
  // Of a NeVA that leaves parts out, or is to get another projector: a CLIP, a SigLIP, a GPT, a LLaVA or a projector
  // alone that has them.
  std::string tower = {};
  std::string tokenizer = {};      // from or to hf: a folder, or a SentencePiece model, in place of the source's own
  std::string nemo2_model = {};    // to nemo2: the model's id in NeMo's converter ("meta-llama/Llama-2-7b-hf")
  std::string nemo2_version = {};  // to nemo2: the NeMo that is to read it; empty: 2.0.0, or the first with the model
  // Empty: as the source (1 for foreign sources). In formats that hold tensors whole (torch_dist, nemo2) `tp` says for
  // how many ranks: how many chunks each is cut into, how vocabularies are padded, what the config says.
  std::optional<int> tp = {}, pp = {}, vp = {};
  // In those formats: how many ranks divide a mixture's experts, whose optimizer is then one of two.
  std::optional<int> ep = {};
  std::optional<int> split_rank = {};  // how many stages an encoder-decoder's encoder takes; empty: as the config says
  std::optional<DType> dtype = {};     // empty: keep
  // Weights that are stored in FP8 with a scale for each block are multiplied by their scales, to bf16.
  bool dequantize = false;
  std::vector<std::pair<std::string, std::string>> set = {};  // config path → value text
  std::vector<std::string> unset = {};
  std::vector<std::pair<std::string, std::string>> artifacts = {};  // config path → file
  // Patterns for the names of written tensors, applied in this order: keep matches only, drop matches, rename matches.
  // `*` matches any characters; in a new name it stands for what the pattern's `*` matched.
  std::vector<std::string> select = {}, drop = {};
  std::vector<std::pair<std::string, std::string>> rename = {};
  ExtraState extra_state = ExtraState::kKeep;
  bool only_weights = false;     // drop training state
  bool use_ema = false;          // weights from the EMA copy a .ckpt carries, or has beside it
  bool strict = true;            // missing and unexpected names are errors
  uint64_t max_shard_bytes = 0;  // of a file of hf and safetensors; 0: one file
  Reflink reflink = Reflink::kAuto;
  bool verify_source = false;  // shared bytes are read as well, and compared with what the source records of them
  bool crc32 = true;           // false: torch files state no checksum of tensors ("not computed")
  bool explain = false;        // fill Conversion::passes
  bool keep_source = true;     // false: Conversion::source loses its tensors as soon as the conversion can do without
  ProgressFn progress = {};    // of fetching a source from the hub
};

// The changes that one pass of a conversion made.
struct PassReport {
  std::string name;     // "translate"
  std::string purpose;  // in a few words
  uint64_t names = 0;   // of tensors and extra states, after it
  uint64_t names_added = 0, names_removed = 0;
  uint64_t recast = 0, reshaped = 0;     // of those that keep their name
  std::vector<std::string> config_keys;  // paths of values that are new, other, or gone, sorted
  std::vector<std::string> artifacts_added, artifacts_removed;
  std::optional<Layout> layout;  // where it is another
  bool drops_training = false;
  uint64_t files = 0;  // laid out by it
  std::vector<std::string> notes;

  bool changed() const;  // anything
};

// A conversion ready to run: what was read, what it became, and the plan.
struct Conversion {
  Checkpoint source;
  Checkpoint result;
  std::shared_ptr<const Plan> plan;
  std::string destination;
  std::string format;
  std::vector<std::string> notes;  // decisions worth a line to the user
  std::vector<PassReport> passes;  // every step in order, with ConvertOptions::explain
};

// Reads the headers of `source` (a path, a hub id or an address, as Open) and lays out what the options make of it;
// writes nothing. `destination` may exist: RunConversion decides about that. Ownership: the conversion keeps the
// source's files open. Threads: reentrant. Cost: in proportion to the number of tensors; reads no weights but for small
// copies that ranks share. Errors: as Open; NotFound (a file that an option names); InvalidArgument, with the option
// that is wrong; Corrupt naming what is missing or unexpected; Unsupported (what the target cannot say).
Result<Conversion> PlanConversion(const std::string& source, const std::string& destination,
                                  const ConvertOptions& options);

struct RunOptions {
  unsigned threads = 0;  // workers; 0: two for each core
  bool force = false;    // replace an existing output, if all of it is a checkpoint
  // Told of each record of a source whose bytes are not what its checksum says, and goes on; null: the first is an
  // error.
  std::function<void(const Status&)> on_damaged_source = {};
  bool resume = false;  // keep what is written when interrupted, and go on from what an earlier run has kept
  ProgressFn progress = {};
};

// Writes the plan. The output appears whole or not at all, under its name when it is synced. Threads: reentrant; other
// processes may write other outputs, one to the same output is refused. Cost: reads and writes each byte once; memory
// does not grow with tensors. Errors: AlreadyExists, CannotCreate; Corrupt (a source's checksum); Io (also a source
// that changed meanwhile); Interrupted; OutOfMemory.
Status RunConversion(const Conversion& conversion, const RunOptions& options);

}  // namespace anemone

#endif  // ANEMONE_CONVERT_H_
