// The answers of `infer`: lines, tables, JSON and CSV of pictures, a page, embeddings, and a data set's accuracy.
#ifndef ANEMONE_CLI_INFER_ANSWERS_H_
#define ANEMONE_CLI_INFER_ANSWERS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "anemone/clip.h"
#include "anemone/config.h"
#include "anemone/status.h"
#include "cli/infer.h"
#include "infer/zero_shot.h"

namespace anemone::cli {

// Compares pictures with texts and writes the answers. Ownership: options and labels outlive it.
class PictureAnswers {
 public:
  PictureAnswers(const InferOptions& options, const std::vector<std::string>& labels);

  void SetTexts(ClipFeatures texts) { texts_ = std::move(texts); }
  Status ReadScale(ClipModel& model);
  void PrintHead() const;
  // Of a batch that begins at this image: features of those that could be read.
  Status Add(size_t at, const std::vector<size_t>& loaded, const ClipFeatures& features);
  // The page and the embeddings that options ask for.
  Status Write(const ClipFeatures& images);

 private:
  void PrintRow(const std::string& image, std::span<const float> row) const;

  const InferOptions& options_;
  const std::vector<std::string>& labels_;
  uint64_t top_ = 0;
  ClipFeatures texts_;
  bool is_siglip_ = false;
  double scale_ = 0, bias_ = 0;
  ConfigNode pictures_ = ConfigNode::List();
};

// NeMo's line [megatron_clip_imagenet_zeroshot.py], or JSON.
void PrintAccuracy(const ImageFolder& folder, const std::vector<std::string>& labels, const Accuracy& accuracy,
                   bool json);

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_INFER_ANSWERS_H_
