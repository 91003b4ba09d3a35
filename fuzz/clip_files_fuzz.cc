// The files beside a CLIP's weights: its config, preprocessor and tokenizer in every spelling. A model is loaded and a
// text becomes ids of its vocabulary, or the error names what is wrong.
#include "folder.h"

#include "format/format.h"
#include "infer/clip_facts.h"
#include "infer/clip_source.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace anemone;
  const std::vector<fuzz::File> files = fuzz::FilesOf(data, size);
  if (files.empty()) return 0;
  const fuzz::FuzzFolder folder(files);
  const Result<Checkpoint> checkpoint = OpenCheckpoint(folder.path());
  if (!checkpoint.ok()) return 0;
  static_cast<void>(ClipFactsOf(*checkpoint));
  const Result<ClipModel> model = LoadClip(*checkpoint);
  fuzz::Expect(model.status());
  if (!model.ok()) return 0;
  const ClipSpec& spec = model->spec();
  const Result<TextEncoder> encode = LoadTokenizer(*checkpoint, spec);
  fuzz::Expect(encode.status());
  if (!encode.ok()) return 0;
  const fuzz::File* text = fuzz::FindFile(files, "text");
  const Result<std::vector<int32_t>> ids = (*encode)(text != nullptr ? text->content : "low lower");
  fuzz::Expect(ids.status());
  if (!ids.ok()) return 0;
  if (ids->size() > spec.context) std::abort();
  for (const int32_t id : *ids) {
    if (id < 0 || static_cast<uint64_t>(id) >= spec.vocab) std::abort();
  }
  return 0;
}
