// A CLIP checkpoint of any format and dialect, ready to answer questions.
#ifndef ANEMONE_INFER_CLIP_SOURCE_H_
#define ANEMONE_INFER_CLIP_SOURCE_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <future>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/clip.h"
#include "anemone/config.h"
#include "anemone/status.h"
#include "base/cancel.h"
#include "family/family.h"

namespace anemone {

// What a checkpoint without a config needs to be understood.
struct ClipLoad {
  ModelIdentity model = {};                   // what it is, where that is known; else its names tell
  std::string preset = {};                    // a size by name ("ViT-L-14")
  std::optional<Config> hparams = {};         // NeMo's YAML
  std::string hparams_name = {};              // for messages
  bool strict = true;                         // fields and tensors that nobody knows are errors
  std::vector<std::string>* notes = nullptr;  // gets what is left out of account
};

// Merges and translates the checkpoint, reads its architecture from the config and its preprocessing from
// preprocessor_config.json (Hugging Face), preprocess_cfg (OpenCLIP) or NeMo's rules. Errors: Unsupported (no CLIP),
// NotFound (no config and no preset), Corrupt (sizes that disagree), as Canonical.
Result<ClipModel> LoadClip(const Checkpoint& checkpoint, const ClipOptions& options = {}, const ClipLoad& load = {});

// A text's ids, start and end included, cut to the model's context. Errors: as Tokenizer, as SentencePiece.
using TextEncoder = std::function<Result<std::vector<int32_t>>(std::string_view text)>;

// The tokenizer, from the files that travel with the model: vocab.json and merges.txt, or tokenizer.json; for SigLIP
// spiece.model, tokenizer.model or tokenizer.json. A CLIP's .nemo without them, as NeMo writes it, gets CLIP's public
// vocabulary. Errors: NotFound (a SigLIP without), Corrupt (damaged files, more tokens than the embedding has rows),
// Unsupported. For an image tower alone it refuses every text (InvalidArgument).
Result<TextEncoder> LoadTokenizer(const Checkpoint& checkpoint, const ClipSpec& spec);
// Whether it can be loaded. CLIP's public vocabulary, which can, is not read for that.
Status CheckTokenizer(const Checkpoint& checkpoint, const ClipSpec& spec);

// One picture file → fp32 pixels [3, image_size, image_size]. Errors carry the path.
Result<std::vector<float>> LoadPixels(const std::string& path, const ClipSpec& spec);

// Several, side by side, decoded by all threads.
struct Pictures {
  std::vector<float> pixels;     // of those that could be read
  std::vector<size_t> loaded;    // which these are
  std::vector<Status> failures;  // of the others
};
// Errors: kInterrupted once CancelRequested; then no further one is begun.
Result<Pictures> LoadPictures(const std::vector<std::string>& paths, const ClipSpec& spec);

// Many, `batch` at a time, in order: the next ones are read while the caller works on those it has, the first ones from
// the beginning on. One thread reads them all: oneTBB keeps something of each thread that comes to it, and looks
// through these. Where there is none, Next reads. Threads: one call at a time. What reading throws, Next throws. It is
// cancelled by the scopes that it is made in.
class PictureReader {
 public:
  PictureReader(std::vector<std::string> paths, size_t batch, const ClipSpec& spec);
  PictureReader(const PictureReader&) = delete;
  PictureReader& operator=(const PictureReader&) = delete;
  ~PictureReader();  // waits for the pictures that are being decoded, not for their batch

  // As LoadPictures of the next `batch` paths, or of those that are left. REQUIRES: there are some.
  Result<Pictures> Next();

 private:
  void ReadAhead();
  void ReadBatches();  // the thread

  std::vector<std::string> paths_;
  size_t batch_;
  ClipSpec spec_;
  const CancelScope* scope_of_caller_;
  size_t read_ = 0;  // paths, those of `ahead_` among them
  std::atomic<bool> stop_ = false;
  std::mutex mutex_;  // of what follows, but the thread
  std::condition_variable is_due_;
  std::packaged_task<Result<Pictures>()> batch_to_read_;
  std::future<Result<Pictures>> ahead_;
  std::thread thread_;
};

}  // namespace anemone

#endif  // ANEMONE_INFER_CLIP_SOURCE_H_
