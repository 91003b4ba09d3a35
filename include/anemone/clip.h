// CLIP (and SigLIP) zero-shot inference on the CPU, in fp32 or with bf16 or int8 products.
//
// Contents:  ClipPreprocess, ClipTower, ClipSpec, ClipModel.
// Use when:  a checkpoint is to be validated end to end by classifying an image.
#ifndef ANEMONE_CLIP_H_
#define ANEMONE_CLIP_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/status.h"
#include "anemone/tensor.h"

namespace anemone {

// What becomes of transparency. Pillow's convert("RGB"), NeMo and transformers 4 drop it; transformers 5 lays the
// picture over white.
enum class AlphaRule : uint8_t { kDrop, kOverWhite };

// Where an odd remainder goes when the centre is cut out: transformers (s − c) // 2, torchvision (NeMo, OpenCLIP)
// round((s − c) / 2) to even.
enum class CropRule : uint8_t { kFloor, kRoundHalfEven };

// Pillow's numbers [PIL.Image.Resampling].
enum class Resample : uint8_t { kBilinear = 2, kBicubic = 3 };

// From a picture to the tower's input. Defaults are CLIP's own.
struct ClipPreprocess {
  // Shorter side after resizing, the other following by int(s · long / short); 0: to resize_height × resize_width
  // whatever the aspect ("squashing"), or to longest_edge, the longer side, the other following; all 0: no resizing.
  uint32_t shortest_edge = 224;
  uint32_t resize_height = 0;
  uint32_t resize_width = 0;
  uint32_t longest_edge = 0;
  Resample resample = Resample::kBicubic;
  uint32_t crop_height = 224;  // 0: no crop. Larger than the picture: `fill` around
  uint32_t crop_width = 224;
  uint8_t fill = 0;  // of all three colors
  CropRule crop_rule = CropRule::kFloor;
  AlphaRule alpha = AlphaRule::kDrop;
  double rescale_factor = 1.0 / 255;
  std::array<double, 3> mean = {0.48145466, 0.4578275, 0.40821073};
  std::array<double, 3> std = {0.26862954, 0.26130258, 0.27577711};
};

enum class Activation : uint8_t {
  kQuickGelu,  // x · sigmoid(1.702 x)
  kGelu,       // exact, by erf
  kGeluTanh,   // the tanh approximation
};

// One transformer. Sizes in elements.
struct ClipTower {
  uint64_t layers = 0;
  uint64_t width = 0;
  uint64_t ffn = 0;
  uint64_t heads = 0;
  Activation activation = Activation::kQuickGelu;
  double norm_epsilon = 1e-5;
};

// Which token of a text stands for it.
enum class TextPooling : uint8_t {
  kArgmax,    // the first of the highest ids (old configs: eos_token_id 2; NeMo)
  kFirstEos,  // the first eos_id, or position 0 where there is none (as transformers)
  kLast,      // the last position (SigLIP)
};

struct ClipSpec {
  ClipTower text;
  ClipTower vision;
  bool has_text = true;  // false: an image tower alone; what is said of the other one is not looked at
  bool has_vision = true;
  bool projects = true;     // false: a tower alone whose features are its pooled token after the last norm
  uint64_t projection = 0;  // width of the features
  uint64_t vocab = 0;       // rows of the embedding table; may be padded
  uint64_t context = 77;    // positions of a text
  uint64_t image_size = 224;
  uint64_t patch_size = 32;
  TextPooling pooling = TextPooling::kArgmax;
  int32_t eos_id = 49407;
  bool siglip = false;  // no class token, no causal mask, an attention-pooling head, biases, sigmoid instead of softmax
  ClipPreprocess preprocess;
};

// Answers a canonical name (docs/inference.md lists them) with its tensor: any floating dtype, shape as the spec says.
using ClipWeights = std::function<Result<Tensor>(const std::string& name)>;

// Called with hidden states as they come, for comparing two models: "vision.embeddings", "vision.layers.0", …,
// "vision.features", the same for text. `values` holds `rows` of `width`, valid during the call. A batch comes in
// parts, in order.
using ClipTrace =
    std::function<void(std::string_view name, std::span<const float> values, uint64_t rows, uint64_t width)>;

// The precision of the products of linear layers; everything between them is fp32 in all cases.
enum class ClipCompute : uint8_t {
  kFp32,
  kBf16,  // both factors rounded to bf16, summed in fp32: faster and half the memory where ClipHasBf16(), the same
          // numbers up to the order of summation, and no faster, elsewhere
  kInt8,  // both factors of the layers' products rounded to integers of 8 bits, times a number a row and a column: for
          // search and labels, where features may be off by some percent (docs/inference.md); faster and a quarter of
          // the memory where ClipHasInt8(), the same numbers up to rounding, and no faster, elsewhere
};
// True where the processor has instructions for such numbers, and this build uses them: AVX-512 BF16 or AMX; AVX-512
// VNNI.
bool ClipHasBf16();
bool ClipHasInt8();

struct ClipOptions {
  ClipCompute compute = ClipCompute::kFp32;
  int threads = 0;            // 0: as many as this process may use
  bool keep_weights = false;  // false: each call reads a layer at a time into the same memory, and forgets it; true:
                              // the first call of each tower reads all of it, later ones nothing
  ClipTrace trace;            // when set, every token of the last layer is computed, too
  // Asked many times a second, from any thread, from several at once: true stops a call, which answers kInterrupted.
  std::function<bool()> cancelled = {};
};

// Rows of fp32.
struct ClipFeatures {
  uint64_t count = 0;
  uint64_t width = 0;
  std::vector<float> values;

  // Every row divided by its Euclidean norm.
  void Normalize();
};

// The two towers.
//
// Ownership:  keeps `weights` (and by it the files).
// Threads:    this class's own. Where fp32 products are OpenBLAS's (docs/inference.md), OpenBLAS is told to use one
//             thread a call, process-wide.
//             One call at a time.
// Errors:     those of `weights`; Corrupt (a shape that the spec does not give); InvalidArgument (below); Interrupted;
//             OutOfMemory where OpenBLAS would wait for memory for ever.
class ClipModel {
 public:
  // Checks the spec (sizes positive, heads dividing widths, image a multiple of the patch). Reads nothing yet.
  static Result<ClipModel> Create(const ClipSpec& spec, ClipWeights weights, ClipOptions options = {});
  ~ClipModel();
  ClipModel(ClipModel&&) noexcept;
  ClipModel& operator=(ClipModel&&) noexcept;

  const ClipSpec& spec() const;

  // `pixels`: n pictures of 3 × image_size × image_size, preprocessed. Features are as the projection gives them, not
  // normalised. Errors: InvalidArgument (not a multiple of a picture, no image tower).
  Result<ClipFeatures> EncodeImages(std::span<const float> pixels);
  // Ids of each text, start and end included, at most spec().context of them. For CLIP tokens after the pooled one are
  // ignored, so padding may be there or not; for SigLIP shorter texts are padded with `eos_id` to the context.
  // Errors: InvalidArgument (empty, too long, an id outside the vocabulary, no text tower).
  Result<ClipFeatures> EncodeTexts(std::span<const std::vector<int32_t>> texts);

  // The stored logit scale, exp(logit_scale), and SigLIP's logit_bias (0 for CLIP). Errors: InvalidArgument (a tower
  // alone compares nothing).
  Result<double> LogitScale() const;
  Result<double> LogitBias() const;

 private:
  struct Impl;
  explicit ClipModel(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// For each image, the probability of each text: softmax over the texts of scale · cos, or for SigLIP sigmoid(scale ·
// cos + bias) for each text alone. Features are normalised here. Result: images.count · texts.count numbers.
Result<std::vector<float>> ClipProbabilities(const ClipFeatures& images, const ClipFeatures& texts, double scale,
                                             bool siglip = false, double bias = 0);

}  // namespace anemone

#endif  // ANEMONE_CLIP_H_
